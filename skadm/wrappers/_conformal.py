"""Split conformal calibration of the threshold."""

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
from skadm._failure import restore_state_on_failure
from skadm._pipelines import is_search, last_step, looks_at_abnormal, scored_unit
from skadm._sklearn import HasMethods, Interval, fit_context
from skadm._validation import check_labels, check_shape, normal_slices
from skadm.conformal import Calibration, CandidateLesions
from skadm.wrappers._meta_detector import MetaDetector
from skadm.wrappers._reading import Places, score_by_volume, score_maps


class ConformalDetector(MetaDetector):
    """Control the false positive rate on normal slices of new patients.

    The normal slices of some patients train a detector; those of the other patients
    calibrate its threshold (split conformal prediction). For a new, exchangeable patient,
    the expected fraction of normal pixels (or slices, for a detector of slices) that
    `predict` calls anomalous is at most `contamination`, in finite samples and for any
    detector. With continuous scores it is more than contamination - 1 / (K + 1), for K
    calibration patients. No lesion label is needed.

    Parameters
    ----------
    detector : detector or search
        A detector of pixels, or a `SliceDetector`. It is cloned and trained. A search,
        such as ``GridSearchCV(detector, ...)``, is fitted on the training patients only.
        A fitted detector can be passed as ``sklearn.frozen.FrozenEstimator(detector)``:
        then all patients are used for calibration, so they must not have been used for
        training or parameter search.
    contamination : float, default=0.05
        α, the target false positive rate, at least 1 / (K + 1).
    calibration_fraction : float, default=0.5
        Fraction of calibration patients, rounded to whole patients; at least one patient
        is used for training.
    random_state : int, RandomState instance or None, default=None
        Controls the choice of calibration patients.

    Attributes
    ----------
    detector_ : detector
        The fitted detector; for a search, the best one.
    calibration_ : Calibration
        Calibration scores, from which p-values are computed.
    calibration_groups_ : ndarray of shape (K,)
        The calibration patients.
    training_groups_ : ndarray or None
        The training patients; empty for a frozen detector. None if slices are the units.
    %(offset_)s
    background_score_ : float
        Score of every background pixel, as in the detector.
    %(n_features_in_)s
    %(contrasts_)s

    Notes
    -----
    The guarantee is marginal over new patients and calibration patients. The rate of a
    single patient can differ considerably, and so can that of a single calibration with
    few patients. The guarantee is for normal slices. It does not hold for another scanner
    or other preprocessing, since such data are not exchangeable, nor if calibration
    patients were used to choose the detector or its parameters.

    Detectors that use neighbouring slices are calibrated on the normal slices of maps of
    whole volumes: pass all slices, with masks.

    Without patients (X is an array and `groups` is None) slices are the units. The
    guarantee is then weaker, since slices of a new patient are not exchangeable with
    those of the calibration patients.

    `skadm.save` cannot write searches. Remove the search with
    ``detector.set_params(detector=FrozenEstimator(detector.detector_))``.

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
        detector: Any,
        *,
        contamination: float = 0.05,
        calibration_fraction: float = 0.5,
        random_state: Any = None,
    ) -> None:
        self.detector = detector
        self.contamination = contamination
        self.calibration_fraction = calibration_fraction
        self.random_state = random_state

    @restore_state_on_failure
    @with_callbacks
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None, groups: Any = None) -> Any:
        """Train the detector and calibrate the threshold.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices.
        y : array-like of shape (n_slices, H, W), default=None
            Masks: 0 normal, 1 anomaly, -1 outside the brain. Slices with any pixel 1 are
            excluded from training. y has no other use unless the detector documents it,
            or for a search, which gets y of the training patients. A detector of slices
            also accepts labels, +1 (normal) or -1 (anomaly). None: all slices are normal;
            a labelled `SliceStack` must not contain anomalies.
        groups : array-like of shape (n_slices,), default=None
            Patient of each slice. None: taken from a `SliceStack`; for an array, each
            slice is a unit.

        Returns
        -------
        self : object
            The fitted detector.

        Raises
        ------
        ValueError
            If shapes do not match, there is no normal slice, there are fewer than two
            patients or too few for `contamination` (checked before training), or y is
            None and X is a labelled stack with an anomaly.
        """
        self._check()
        X = self._images(self._for_training(X, y))
        patients = _patients(X, groups)
        normal = np.arange(len(X)) if y is None else self._normal(X, y)
        drawn = self._drawn(np.unique(patients[normal]))
        # Checked before training.
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
        """Set the threshold from normal slices, scored within their volumes."""
        rows = np.flatnonzero(np.isin(patients, patients[normal]))
        rows = rows if self._needs_neighbours else normal
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

    def score(self, X: Any, y: Any) -> float:
        """Compute the ROC AUC over brain pixels, or over slices for a detector of slices.

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

    def p_values(self, X: Any) -> NDArray[np.float64]:
        """Compute the p-value of every pixel, or slice.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices.

        Returns
        -------
        p_values : ndarray of shape (n_slices, H, W), or (n_slices,)
            From 1 / (K + 1) to 1; small values are evidence of an anomaly. 1 in the
            background.

        Notes
        -----
        Each p-value is valid individually, without correction for multiple testing.
        `scipy.stats.false_discovery_control` (Benjamini-Hochberg) controls the false
        discovery rate of conformal p-values if the units are exchangeable (Bates et al.
        2023), such as one slice per patient. Pixels or slices of one patient are not, so
        this guarantee does not apply to them.

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

    def candidate_lesions(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> CandidateLesions:
        """Fit candidate lesions to the false positives of normal slices.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices of patients used neither for training nor for calibration. The
            threshold was set on the calibration patients, so their false positives are
            weaker than those of new patients.
        y : array-like of shape (n_slices, H, W), default=None
            Masks. Slices with any pixel 1 are excluded, but remain neighbours for
            detectors that use neighbouring slices. None: all slices are normal.
        groups : array-like of shape (n_slices,), default=None
            Patient of each slice. None: taken from a `SliceStack`; for an array, each
            slice is a unit.

        Returns
        -------
        candidates : CandidateLesions
            Detects candidates with p-values in other slices; see `CandidateLesions`.

        Raises
        ------
        ValueError
            If the detector scores slices, or a patient was used for training or
            calibration.
        """
        check_is_fitted(self)
        X = self._input(X)
        shape = check_shape(X)
        groups = getattr(X, "groups", None) if groups is None else groups
        if groups is not None and self.training_groups_ is not None:
            known = {*self.training_groups_.tolist(), *self.calibration_groups_.tolist()}
            if seen := known & set(np.asarray(groups).tolist()):
                raise ValueError(
                    f"{_listed(seen)} were used to train or calibrate the detector; "
                    "expected other patients, whose false positives are like those of "
                    "new patients."
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
        """Return the labels +1 and -1 of slices."""
        return last_step(self.detector)._labels(X, y)

    def _drawn(self, names: NDArray) -> NDArray:
        """Draw the calibration patients; all for a frozen detector."""
        if isinstance(self.detector, FrozenEstimator):
            return names
        if len(names) < 2:
            raise ValueError(
                f"{len(names)} patient has normal slices; expected at least one patient "
                "for training and another for calibration."
            )
        n_chosen = round(self.calibration_fraction * len(names))
        n_chosen = min(max(1, n_chosen), len(names) - 1)
        random = check_random_state(self.random_state)
        return np.sort(random.permutation(names)[:n_chosen])


def _patients(X: Any, groups: Any) -> NDArray:
    """Return the patient of each slice; without patients, each slice is a unit."""
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
            f"the training patients ({_listed(patients[training])}) have no slice with "
            "an anomaly, which the detector needs. Change random_state, or use more "
            "patients."
        )


def _listed(patients: Any) -> str:
    names = np.unique(list(patients)).tolist()
    return ", ".join(map(str, names[:8])) + (", ..." if len(names) > 8 else "")
