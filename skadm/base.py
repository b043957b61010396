"""The contract that every detector keeps: masks, sign, offset, background."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import wraps
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin, _fit_context
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted, validate_data

from skadm._brain import brain_mask
from skadm._validation import check_labels, check_shape, normal_slices
from skadm._version import __version__
from skadm.metrics import pixel_roc_auc_score
from skadm.reference import TrainingReference


def _unchanged_on_failure(fit: Callable) -> Callable:
    """Give the estimator back what it was before a fit that raises."""

    @wraps(fit)
    def wrapper(self, *arguments, **keywords):
        before = dict(self.__dict__)
        try:
            return fit(self, *arguments, **keywords)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    return wrapper


class MapDetector(OutlierMixin, BaseEstimator, ABC):
    """What users see of a fitted detector of pixels: maps, threshold, labels, AUC.

    It needs `_normality`, and `offset_` and `background_score_` of the fit.
    """

    offset_: float
    background_score_: float

    @abstractmethod
    def _normality(self, X) -> tuple[np.ndarray, np.ndarray]:
        """Maps as `score_samples` returns them, and the brain mask."""

    def score_samples(self, X):
        """Normality of every pixel.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices with the contrasts of the training, in their order.

        Returns
        -------
        maps : ndarray of shape (n_slices, H, W)
            Higher is more normal; finite everywhere. Background holds
            `background_score_`, the highest score of the training. As scikit-learn has
            it, float64 for X in float64; float32 for X in float32.

        Raises
        ------
        ValueError
            If X has a wrong shape, other contrasts than the training, NaN or infinity.
        """
        return self._normality(X)[0]

    def decision_function(self, X):
        """Normality of every pixel relative to the threshold.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices.

        Returns
        -------
        maps : ndarray of shape (n_slices, H, W)
            ``score_samples(X) - offset_``: negative where a pixel is an anomaly. Never
            negative in the background.
        """
        maps, brain = self._normality(X)
        maps -= maps.dtype.type(self.offset_)
        return np.maximum(maps, 0, out=maps, where=~brain)

    def predict(self, X):
        """Label every pixel.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices.

        Returns
        -------
        labels : ndarray of shape (n_slices, H, W), int8
            -1 for an anomaly, +1 for normal and for background.
        """
        return np.where(self.decision_function(X) < 0, -1, 1).astype(np.int8)

    def fit_predict(self, X, y=None):
        """Fit, and label the pixels of the same slices.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices.
        y : array-like of shape (n_slices, H, W), default=None
            Masks, as in `fit`.

        Returns
        -------
        labels : ndarray of shape (n_slices, H, W), int8
            -1 for an anomaly, +1 for normal and for background.
        """
        # That of scikit-learn drops y, and so would train on slices with an anomaly.
        return self.fit(X, y).predict(X)

    def score(self, X, y):
        """ROC AUC over brain pixels, anomaly being the positive class.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices.
        y : array-like of shape (n_slices, H, W)
            Masks: 0 normal, 1 anomaly, -1 outside the brain.

        Returns
        -------
        auc : float
            Over all brain pixels of all slices.
        """
        y = check_labels(y, check_shape(X))
        maps, brain = self._normality(X)
        return pixel_roc_auc_score(np.where(brain, y, -1), maps)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags


class BaseDetector(CallbackSupportMixin, MapDetector):
    """Base of all detectors.

    A detector implements `_fit(X)` and `_score(X)`. All that users see, and all that
    detectors have in common, is here.

    Parameters
    ----------
    contamination : float, default=0.01
        Fraction of the training pixels that `predict` calls anomalous, in (0, 0.5].
        Sets `offset_` without labels.
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "contamination": [Interval(Real, 0, 0.5, closed="right")],
    }

    @abstractmethod
    def __init__(self, *, contamination: float = 0.01) -> None:
        self.contamination = contamination

    @abstractmethod
    def _fit(self, X: np.ndarray) -> None:
        """Learn from normal slices, float32, each with brain."""

    @abstractmethod
    def _score(self, X: np.ndarray) -> np.ndarray:
        """Normality maps (n, H, W); what stands in the background does not matter."""

    @_unchanged_on_failure
    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Learn what is normal.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices. A pixel whose contrasts are all exactly 0 is background.
        y : array-like of shape (n_slices, H, W), default=None
            Masks: 0 normal, 1 anomaly, -1 outside the brain. Slices with any pixel 1
            are left out of the training; y is used for nothing else. None: all slices
            are taken for normal.

        Returns
        -------
        self : object
            The fitted detector.

        Raises
        ------
        ValueError
            If X or y has a wrong shape or values, no slice is normal, or no pixel shows
            brain.

        Notes
        -----
        A fit that fails or is interrupted leaves the detector as it was before.
        """
        shape = check_shape(X)
        contrasts = getattr(X, "contrasts", None)
        if y is not None:
            # Before the slices are read: a lazy stack then reads the normal ones only.
            X = _take(X, normal_slices(check_labels(y, shape)))
        patients = getattr(X, "groups", None)
        X = validate_data(self, X, dtype=np.float32, allow_nd=True)
        brain = brain_mask(X)
        with_brain = brain.any(axis=(1, 2))
        if not with_brain.any():
            raise ValueError(
                f"no brain pixel in the {len(X)} slices to train on: everything is "
                "exactly 0, which means background."
            )
        if not with_brain.all():
            X, brain = X[with_brain], brain[with_brain]
        self.contrasts_: tuple[str, ...] | None = (
            None if contrasts is None else tuple(contrasts)
        )
        self.skadm_version_ = __version__
        self.training_reference_ = TrainingReference.of(X, patients)
        self._fit(X)
        scores = self._score(X)[brain]
        self.offset_ = float(np.quantile(scores, self.contamination))
        # Background is as normal as anything: the highest score of the training.
        self.background_score_ = float(scores.max())
        return self

    def _normality(self, X) -> tuple[np.ndarray, np.ndarray]:
        """Maps as `score_samples` returns them, and the brain mask."""
        check_is_fitted(self)
        dtype = np.result_type(getattr(X, "dtype", np.float64), np.float32)
        X = self._check_like_training(X)
        brain = brain_mask(X)
        maps = np.full(brain.shape, self.background_score_, dtype)
        shown = brain.any(axis=(1, 2))
        if shown.all():
            np.copyto(maps, self._score(X), where=brain)
        elif shown.any():
            scored = self._score(X[shown])
            maps[shown] = np.where(brain[shown], scored, self.background_score_)
        return maps, brain

    def _check_like_training(self, X) -> np.ndarray:
        shape = check_shape(X)
        if shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input: features are contrasts, so "
                f"expected shape (n_slices, {self.n_features_in_}, H, W), got {shape}."
            )
        if self.contrasts_ is not None and hasattr(X, "contrasts"):
            found = tuple(X.contrasts)
            if found != self.contrasts_:
                raise ValueError(
                    f"X has contrasts {found}, but {type(self).__name__} was fitted on "
                    f"{self.contrasts_}: read them in the same order."
                )
        X = validate_data(self, X, dtype=np.float32, allow_nd=True, reset=False)
        self.training_reference_.check(X, self.contrasts_)
        return X


def _take(X, indices: np.ndarray):
    """Rows of an array, a stack, or a list of slices."""
    return X[indices] if hasattr(X, "shape") else np.asarray(X)[indices]
