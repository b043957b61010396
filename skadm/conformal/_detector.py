"""A detector whose threshold holds a false positive rate."""

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MetaEstimatorMixin, OutlierMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import check_is_fitted

from skadm._brain import brain_mask
from skadm._validation import check_labels, check_shape, normal_slices
from skadm.base import looks_at_abnormal
from skadm.conformal._calibration import Calibration
from skadm.conformal._lesions import CandidateLesions
from skadm.data import as_slices
from skadm.data._slices import training_slices


class ConformalDetector(MetaEstimatorMixin, OutlierMixin, BaseEstimator):
    """Hold a false positive rate on normal slices of new patients.

    The normal slices of some of the patients train a detector; those of the others
    calibrate its threshold (split conformal). On a new patient, exchangeable with these,
    the expected share of normal pixels (or slices, for a detector of slices) that
    `predict` calls anomalous is at most `contamination`, in finite samples and whatever the
    detector is; with continuous scores it is more than contamination - 1 / (K + 1), for K
    patients to calibrate on. No lesion label is needed.

    Parameters
    ----------
    detector : detector
        A detector of pixels, or a `SliceDetector`. It is cloned and trained; one that is
        trained already can be given as ``sklearn.frozen.FrozenEstimator(detector)``: then
        all patients calibrate, which must be others than those it was trained on.
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
        The fitted detector.
    calibration_ : Calibration
        Scores of the calibration, and the p-values they give.
    calibration_groups_ : ndarray of shape (K,)
        The patients of the calibration.
    offset_ : float
        Threshold of `predict` on the scale of `score_samples`.
    n_features_in_ : int
        Number of contrasts.

    Notes
    -----
    The guarantee is marginal: over patients, those of the calibration too. The rate of one
    patient can be far off; with few patients to calibrate on, so can that of one
    calibration. It is for normal slices, and does not hold on data of another scanner or
    with other preprocessing, which are not exchangeable.

    Without patients (an array for X, and no `groups`) slices are the units. Their
    guarantee is weaker: slices of one patient are alike, so that a new patient's are not
    exchangeable with them.

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

    def fit(self, X, y=None, groups=None):
        """Train the detector and calibrate the threshold.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices.
        y : array-like of shape (n_slices, H, W), default=None
            Masks: 0 normal, 1 anomaly, -1 outside the brain. Slices with any pixel 1 are
            left out; y is used for nothing else, but where the detector says so: it then
            sees those of the patients that train. None: all slices are normal; a labelled
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
        self._validate_params()
        X = training_slices(X, y)
        shape = check_shape(X)
        groups = getattr(X, "groups", None) if groups is None else groups
        patients = np.arange(shape[0]) if groups is None else np.asarray(groups)
        if patients.shape != (shape[0],):
            raise ValueError(
                f"groups have shape {patients.shape}; expected ({shape[0]},), one patient "
                "for each slice."
            )
        normal = np.arange(shape[0])
        if y is not None:
            y = check_labels(y, shape)
            normal = normal_slices(y)
        chosen = self._drawn(np.unique(patients[normal]))
        # Told at once, not after a training of hours.
        Calibration(np.zeros(len(chosen))).threshold(self.contamination)
        calibrates = np.isin(patients, chosen)
        calibrating = normal[calibrates[normal]]
        if y is not None and self._looks_at_abnormal:
            training = np.flatnonzero(~calibrates)
            if not (y[training] == 1).any():
                raise ValueError(
                    "no slice with an anomaly, from which the detector is to learn, among "
                    f"the patients drawn to train ({_listed(patients[training])}): draw "
                    "others by random_state, or give more patients."
                )
            detector = clone(self.detector).fit(X[training], y[training])
        else:
            others = normal[~calibrates[normal]]
            # None are left beside one that is trained already.
            training = others if others.size else normal
            detector = clone(self.detector).fit(X[training], None)
        scores, shown = _items(detector, X[calibrating])
        owners = np.broadcast_to(
            patients[calibrating].reshape((-1,) + (1,) * (shown.ndim - 1)), shown.shape
        )
        calibration = Calibration(scores[shown], owners[shown])
        offset = calibration.threshold(self.contamination)
        self.detector_, self.calibration_ = detector, calibration
        self.calibration_groups_, self.offset_ = chosen, offset
        return self

    def score_samples(self, X):
        """Compute the scores of the detector.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices.

        Returns
        -------
        scores : ndarray of shape (n_slices, H, W), or (n_slices,)
            Of each pixel, or of each slice for a detector of slices.
        """
        check_is_fitted(self)
        return self.detector_.score_samples(X)

    def decision_function(self, X):
        """Compute the scores relative to the threshold.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices.

        Returns
        -------
        scores : ndarray of shape (n_slices, H, W), or (n_slices,)
            ``score_samples(X) - offset_``; never negative without brain.
        """
        check_is_fitted(self)
        scores, shown = _items(self.detector_, X)
        decision = scores - self.offset_
        return np.maximum(decision, 0, out=decision, where=~shown)

    def predict(self, X):
        """Label every pixel, or slice.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices.

        Returns
        -------
        labels : ndarray of shape (n_slices, H, W), or (n_slices,), int8
            -1 for an anomaly, +1 for normal and where there is no brain.
        """
        return np.where(self.decision_function(X) < 0, -1, 1).astype(np.int8)

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
            no brain. For several slices at once, `scipy.stats.false_discovery_control`
            corrects them (Benjamini-Hochberg): p-values of one calibration depend on each
            other in the way that is harmless to it (Bates et al. 2023), as long as slices
            are of different patients.

        References
        ----------
        S. Bates, E. Candès, L. Lei, Y. Romano, M. Sesia. Testing for outliers with
        conformal p-values. Annals of Statistics 51 (2023) 149-178.
        """
        check_is_fitted(self)
        scores, shown = _items(self.detector_, X)
        return np.where(shown, self.calibration_.p_values(scores), 1.0)

    def candidate_lesions(self, X, groups=None) -> CandidateLesions:
        """Learn how strong the false alarms of normal slices are; see `CandidateLesions`.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Normal slices of patients that were not trained on, such as those of the
            calibration.
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
            If the detector is one of slices, not of pixels.
        """
        check_is_fitted(self)
        groups = getattr(X, "groups", None) if groups is None else groups
        return CandidateLesions(self.decision_function(X), groups)

    @property
    def _looks_at_abnormal(self) -> bool:
        return looks_at_abnormal(self.detector)

    @property
    def n_features_in_(self):
        """Number of contrasts seen in `fit`."""
        check_is_fitted(self)
        return self.detector_.n_features_in_

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

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags


def _listed(patients: NDArray) -> str:
    names = np.unique(patients).tolist()
    return ", ".join(map(str, names[:8])) + (", ..." if len(names) > 8 else "")


def _items(detector: Any, X: ArrayLike) -> tuple[NDArray, NDArray[np.bool_]]:
    """Scores of pixels or slices, and which of them there are: those with brain."""
    X = as_slices(X)
    scores, brain = np.asarray(detector.score_samples(X)), brain_mask(np.asarray(X))
    if scores.ndim == 1:
        return scores, np.asarray(brain.any(axis=(1, 2)))
    return scores, brain
