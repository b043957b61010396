"""A detector whose threshold holds a false positive rate."""

from collections.abc import Iterator
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.callback import with_callbacks
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import roc_auc_score
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skadm._arrays import as_numbers
from skadm._failure import unchanged_on_failure
from skadm._pipelines import is_search, last_step, looks_at_abnormal, scored_unit
from skadm._sklearn import HasMethods, Interval, fit_context
from skadm._validation import check_labels, check_shape, normal_slices
from skadm.conformal import Calibration, CandidateLesions
from skadm.wrappers._base import MetaDetector
from skadm.wrappers._reading import Places, score_by_volume, score_maps


class ConformalDetector(MetaDetector):
    """Hold a false positive rate on normal slices of new patients.

    The normal slices of some of the patients train a detector; those of the others
    calibrate its threshold (split conformal). On a new patient, exchangeable with these,
    the expected share of normal pixels (or slices, for a detector of slices) that
    `predict` calls anomalous is at most `contamination`, in finite samples and whatever the
    detector is; with continuous scores it is more than contamination - 1 / (K + 1), for K
    patients to calibrate on. No lesion label is needed.

    Parameters
    ----------
    detector : detector or search
        A detector of pixels, or a `SliceDetector`. It is cloned and trained. A search, such
        as ``GridSearchCV(detector, ...)``, tunes it on the patients that train, and so on
        none that calibrates. One that is trained already can be given as
        ``sklearn.frozen.FrozenEstimator(detector)``: then all patients calibrate, which
        must be others than those it was trained, and its parameters chosen, on.
    contamination : float, default=0.05
        α, the rate to hold. At least 1 / (K + 1).
    calibration_fraction : float, default=0.5
        Share of the patients to calibrate on, rounded to whole ones; at least one patient
        trains.
    random_state : int, RandomState instance or None, default=None
        Draws them.

    Attributes
    ----------
    detector_ : detector
        The fitted detector; of a search, the best one.
    calibration_ : Calibration
        Scores of the calibration, and the p-values they give.
    calibration_groups_ : ndarray of shape (K,)
        The patients of the calibration.
    training_groups_ : ndarray or None
        The patients that trained the detector; empty for one that was trained already.
        None if slices are the units.
    %(offset_)s
    background_score_ : float
        Score of every background pixel, that of the detector.
    %(n_features_in_)s
    %(contrasts_)s

    Notes
    -----
    The guarantee is marginal: over patients, those of the calibration too. The rate of one
    patient can be far off; with few patients to calibrate on, so can that of one
    calibration. It is for normal slices, and does not hold on data of another scanner or
    with other preprocessing, which are not exchangeable. Nor does it hold if the patients
    of the calibration had a part in choosing the detector or its parameters.

    Detectors that look through slices are calibrated on the maps of whole volumes, of which
    the normal slices are taken: give those with an anomaly as well, and masks.

    Without patients (an array for X, and no `groups`) slices are the units. Their
    guarantee is weaker: slices of one patient are alike, so that a new patient's are not
    exchangeable with them.

    `skadm.save` does not write searches. After
    ``detector.set_params(detector=FrozenEstimator(detector.detector_))`` there is none.

    Examples
    --------
    >>> from skadm import ConformalDetector, PCADetector
    >>> from skadm.data import make_phantom
    >>> stack = make_phantom(n_patients=12, n_slices=6, size=32, random_state=0)
    >>> detector = ConformalDetector(PCADetector(), contamination=0.2, random_state=0)
    >>> detector.fit(stack, stack.y).p_values(stack).shape
    (72, 32, 32)
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "detector": [HasMethods(["fit", "score_samples"])],
        "contamination": [Interval(Real, 0, 1, closed="neither")],
        "calibration_fraction": [Interval(Real, 0, 1, closed="neither")],
        "random_state": ["random_state"],
    }
    _takes_units = ("pixel", "slice")
    _takes_searches = True

    def __init__(
        self,
        detector,
        *,
        contamination: float = 0.05,
        calibration_fraction: float = 0.5,
        random_state=None,
    ) -> None:
        self.detector = detector
        self.contamination = contamination
        self.calibration_fraction = calibration_fraction
        self.random_state = random_state

    @unchanged_on_failure
    @with_callbacks
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, groups=None):
        """Train the detector and calibrate the threshold.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices.
        y : array-like of shape (n_slices, H, W), default=None
            Masks: 0 normal, 1 anomaly, -1 outside the brain. Slices with any pixel 1 are
            left out; y is used for nothing else, but where the detector says so, and by a
            search: they see y of the patients that train. For a detector of slices also
            labels, +1 (normal) or -1 (anomaly). None: all slices are normal; a labelled
            `SliceStack` must agree.
        groups : array-like of shape (n_slices,), default=None
            Patient of each slice. None: those of a `SliceStack`; of an array, each slice
            is a unit of its own.

        Returns
        -------
        self : object
            The fitted detector.

        Raises
        ------
        ValueError
            If shapes do not fit, no slice is normal, there are not two patients, or too few
            to hold the rate: this is told before anything is trained. If y is None and X is
            a labelled stack that holds an anomaly.
        """
        self._check()
        X = self._images(self._for_training(X, y))
        patients = _patients(X, groups)
        normal = np.arange(len(X)) if y is None else self._normal(X, y)
        drawn = self._drawn(np.unique(patients[normal]))
        # Told at once, not after a training of hours.
        Calibration(np.zeros(len(drawn))).threshold(self.contamination)
        calibrates = np.isin(patients, drawn)
        training = np.flatnonzero(~calibrates)
        frozen = isinstance(self.detector, FrozenEstimator)
        if y is not None and looks_at_abnormal(self.detector) and not frozen:
            _require_abnormal(training, normal, patients)
        with self._training() as fit_detector:
            detector = clone(self.detector)
            if frozen:
                fit_detector(detector, X, normal)  # which it is not trained on
            elif is_search(detector):
                known = {"y": None if y is None else as_numbers(y, "y")[training]}
                known["groups"] = patients[training]
                fit_detector(detector, X[training], normal, **known)
                detector = detector.best_estimator_
            else:
                learned = np.flatnonzero(np.isin(training, normal))
                fit_detector(detector, X[training], learned)
        self.detector_ = detector
        self.calibration_groups_ = drawn
        self.training_groups_ = None
        if groups is not None or hasattr(X, "groups"):
            self.training_groups_ = np.unique(patients[[] if frozen else training])
        self._calibrate(X, normal[calibrates[normal]], patients)
        return self

    def _calibrate(self, X: Any, normal: NDArray[np.intp], patients: NDArray) -> None:
        """Find the threshold from normal slices, seen within their volumes."""
        rows = np.flatnonzero(np.isin(patients, patients[normal]))
        rows = rows if self._looks_through else normal
        scores, owners = [], []
        for places, some, shown in self._scored(X[rows]):
            counted = np.isin(rows[places], normal)
            shown = shown[counted]
            owner = patients[rows[places][counted]]
            owner = owner.reshape((-1,) + (1,) * (shown.ndim - 1))
            scores.append(some[counted][shown])
            owners.append(np.broadcast_to(owner, shown.shape)[shown])
        self.calibration_ = Calibration(np.concatenate(scores), np.concatenate(owners))
        self._remember(np.concatenate(scores))
        self.offset_ = self.calibration_.threshold(self.contamination)
        highest = float(max(some.max() for some in scores if some.size))
        inner = last_step(self.detector_)
        self.background_score_ = getattr(inner, "background_score_", highest)

    def score(self, X, y):
        """ROC AUC over brain pixels, or over slices for a detector of slices.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices.
        y : array-like of shape (n_slices, H, W)
            Masks, or labels of slices, as in `fit`.

        Returns
        -------
        auc : float
            The anomaly is the positive class.
        """
        if self._scored_unit == "slice":
            X = self._input(X)
            return roc_auc_score(self._labels(X, y), self.decision_function(X))
        return super().score(X, y)

    def p_values(self, X):
        """Compute the p-value of every pixel, or slice.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices.

        Returns
        -------
        p_values : ndarray of shape (n_slices, H, W), or (n_slices,)
            Small ones speak against normality; from 1 / (K + 1) to 1, and 1 where there is
            no brain.

        Notes
        -----
        Each p-value is right by itself. Where several are looked at, some are small by
        chance. `scipy.stats.false_discovery_control` (Benjamini-Hochberg) controls the
        false discovery rate of conformal p-values if the units are exchangeable one by one
        (Bates et al. 2023), as one slice of each patient is. Pixels or slices of the same
        patient are not: for them there is no such guarantee.

        References
        ----------
        S. Bates, E. Candès, L. Lei, Y. Romano, M. Sesia. Testing for outliers with
        conformal p-values. Annals of Statistics 51 (2023) 149-178.
        """
        check_is_fitted(self)
        X = self._input(X)
        p_values = np.ones(self._shape_and_type(X)[0])
        for places, scores, shown in self._scored(X):
            p_values[places] = np.where(shown, self.calibration_.p_values(scores), 1.0)
        return p_values

    def candidate_lesions(self, X, y=None, groups=None) -> CandidateLesions:
        """Learn how strong the false alarms of normal slices are; see `CandidateLesions`.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices of patients that neither trained nor calibrated this detector. Its
            threshold is from those of the calibration: their false alarms are weaker than
            those of new patients.
        y : array-like of shape (n_slices, H, W), default=None
            Masks. Slices with any pixel 1 are left out; detectors that look through slices
            see them beside the others. None: all slices are normal.
        groups : array-like of shape (n_slices,), default=None
            Patient of each slice. None: those of a `SliceStack`; of an array, each slice
            is a unit of its own.

        Returns
        -------
        candidates : CandidateLesions
            Finds candidates in other slices, with p-values.

        Raises
        ------
        ValueError
            If the detector is one of slices, not of pixels, or a patient trained or
            calibrated it.
        """
        check_is_fitted(self)
        X = self._input(X)
        shape = check_shape(X)
        groups = getattr(X, "groups", None) if groups is None else groups
        if groups is not None and self.training_groups_ is not None:
            known = {*self.training_groups_.tolist(), *self.calibration_groups_.tolist()}
            if seen := known & set(np.asarray(groups).tolist()):
                raise ValueError(
                    f"{_listed(seen)} trained or calibrated the detector: candidates need "
                    "other patients, whose false alarms are like those of new ones."
                )
        decision = self.decision_function(X)
        if y is not None:
            normal = normal_slices(check_labels(y, shape))
            decision = decision[normal]
            groups = None if groups is None else np.asarray(groups)[normal]
        return CandidateLesions(decision, groups)

    @property
    def _scored_unit(self) -> str:  # type: ignore[override]
        return scored_unit(self.detector)

    def _scored(self, X: Any) -> Iterator[tuple[Places, NDArray, NDArray[np.bool_]]]:
        if self._scored_unit == "pixel":
            yield from super()._scored(X)
            return
        for places, scores, brain in score_by_volume(self._slice_scores, X):
            yield places, scores, np.asarray(brain.any(axis=(1, 2)))

    def _maps(self, X: Any, brain: NDArray[np.bool_]) -> NDArray:
        return score_maps(self.detector_, X)

    def _slice_scores(self, X: Any, brain: NDArray[np.bool_]) -> NDArray:
        return self.detector_.score_samples(X)

    def _shape_and_type(self, X):
        if self._scored_unit == "pixel":
            return super()._shape_and_type(X)
        return check_shape(X)[:1], np.float64

    def _normal(self, X: Any, y: Any) -> NDArray[np.intp]:
        if self._scored_unit == "pixel":
            return super()._normal(X, y)
        return last_step(self.detector)._normal(X, y)

    def _labels(self, X: Any, y: Any) -> NDArray[np.int64]:
        """Labels +1 and -1 of slices."""
        return last_step(self.detector)._labels(X, y)

    def _drawn(self, names: NDArray) -> NDArray:
        """Patients of the calibration; all, if the detector is trained already."""
        if isinstance(self.detector, FrozenEstimator):
            return names
        if len(names) < 2:
            raise ValueError(
                f"{len(names)} patient with normal slices: expected one or more to train "
                "on, and others to calibrate on."
            )
        n_chosen = round(self.calibration_fraction * len(names))
        n_chosen = min(max(1, n_chosen), len(names) - 1)
        random = check_random_state(self.random_state)
        return np.sort(random.permutation(names)[:n_chosen])


def _patients(X: Any, groups: Any) -> NDArray:
    """Patient of each slice; without any, each slice is a unit."""
    groups = getattr(X, "groups", None) if groups is None else groups
    patients = np.arange(len(X)) if groups is None else np.asarray(groups)
    if patients.shape != (len(X),):
        raise ValueError(
            f"groups have shape {patients.shape}; expected ({len(X)},), one patient for "
            "each slice."
        )
    return patients


def _require_abnormal(
    training: NDArray[np.intp], normal: NDArray[np.intp], patients: NDArray
) -> None:
    if np.isin(training, normal).all():
        raise ValueError(
            "no slice with an anomaly, from which the detector is to learn, among the "
            f"patients drawn to train ({_listed(patients[training])}): draw others by "
            "random_state, or give more patients."
        )


def _listed(patients: Any) -> str:
    names = np.unique(list(patients)).tolist()
    return ", ".join(map(str, names[:8])) + (", ..." if len(names) > 8 else "")
