"""What slice and volume detectors share: training, pooling, threshold."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import (
    BaseEstimator,
    MetaEstimatorMixin,
    OutlierMixin,
    _fit_context,
    clone,
)
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import check_is_fitted

from skadm._brain import brain_mask
from skadm.base import looks_at_abnormal
from skadm.data import SliceStack
from skadm.data._slices import training_slices
from skadm.image_level._labels import check_signed, signed
from skadm.pooling import Pooling, Quantile


class ImageLevelDetector(
    MetaEstimatorMixin, CallbackSupportMixin, OutlierMixin, BaseEstimator, ABC
):
    """Base of the two: the maps of a detector, one number for each image.

    What an image is, a slice or a volume, its subclasses say.
    """

    _kind: str  # what messages call an image

    _parameter_constraints: dict[str, list[Any]] = {
        "detector": [HasMethods(["fit", "decision_function"])],
        "pooling": [None, Pooling],
        "contamination": [Interval(Real, 0, 0.5, closed="right")],
    }

    def __init__(
        self, detector, pooling: Pooling | None = None, *, contamination: float = 0.01
    ) -> None:
        self.detector = detector
        self.pooling = pooling
        self.contamination = contamination

    # What an image is.

    @abstractmethod
    def _check(self, X: Any) -> Any:
        """X as something that is indexed by image, of the right shape."""

    @abstractmethod
    def _masks_to_labels(self, X: Any, y: Any) -> NDArray[np.int64] | None:
        """Labels +1 and -1 if y are masks, else None."""

    @abstractmethod
    def _slices(self, X: Any) -> Any:
        """All slices of the images, to train the detector on."""

    @abstractmethod
    def _of_slices(self, X: Any, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Label of the image that each slice belongs to."""

    @abstractmethod
    def _images(self, X: Any) -> Iterable[tuple[NDArray, NDArray[np.bool_]]]:
        """Decision map and brain of each image."""

    # The common part.

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Train the detector on the normal images, and find the threshold.

        Parameters
        ----------
        X : slices or volumes
            As the class takes them.
        y : array-like, default=None
            Labels +1 (normal) and -1 (anomaly), one for each image, or masks. Only normal
            images are trained on; y is used for nothing else, but where the detector says
            so. None: all are normal; a labelled `SliceStack` must agree.

        Returns
        -------
        self : object
            The fitted detector.

        Raises
        ------
        ValueError
            If X or y has a wrong shape or values, no image is normal, or y is None and X
            holds a labelled stack with an anomaly.
        """
        context = self._init_callback_context(max_subtasks=1)
        context.call_on_fit_task_begin(estimator=self)
        pooling = Quantile() if self.pooling is None else clone(self.pooling)
        pooling.check()  # before a training that may take hours
        X = self._for_training(self._check(X), y)
        shown, abnormal = X, None
        if y is not None:
            labels = self._labels(X, y)
            X = _safe_indexing(X, self._normal(labels))
            if self._looks_at_abnormal:
                abnormal = self._of_slices(shown, labels) == -1
            else:
                shown = X
        self.pooling_ = pooling
        self.detector_ = clone(self.detector)
        task = context.subcontext(task_name="fit-detector")
        with task.propagate_callback_context(self.detector_):
            task.call_on_fit_task_begin(estimator=self)
            _fit(self.detector_, self._slices(shown), abnormal)
            task.call_on_fit_task_end(estimator=self)
        scores = self._pooled(X)
        scores = scores[~np.isnan(scores)]
        self.offset_ = float(np.quantile(scores, self.contamination))
        # No brain is as normal as anything: the highest score of the training.
        self.background_score_ = float(scores.max())
        context.call_on_fit_task_end(estimator=self)
        return self

    def score_samples(self, X):
        """Normality of every image.

        Parameters
        ----------
        X : slices or volumes
            As the class takes them.

        Returns
        -------
        scores : ndarray of shape (n_images,)
            Higher is more normal. Images without brain have `background_score_`, the
            highest score of the training.

        Raises
        ------
        ValueError
            If X has a wrong shape or values.
        """
        scores = self._checked_and_pooled(X)
        return np.where(np.isnan(scores), self.background_score_, scores)

    def decision_function(self, X):
        """Normality of every image relative to the threshold.

        Parameters
        ----------
        X : slices or volumes
            As the class takes them.

        Returns
        -------
        scores : ndarray of shape (n_images,)
            ``score_samples(X) - offset_``: negative where an image is an anomaly. Never
            negative without brain.
        """
        scores = self._checked_and_pooled(X)
        without_brain = max(self.background_score_, self.offset_)
        return np.where(np.isnan(scores), without_brain, scores) - self.offset_

    def predict(self, X):
        """Label every image.

        Parameters
        ----------
        X : slices or volumes
            As the class takes them.

        Returns
        -------
        labels : ndarray of shape (n_images,), int64
            -1 for an anomaly, +1 for normal.
        """
        return signed(self.decision_function(X) >= 0)

    def fit_predict(self, X, y=None):
        """Fit, and label the same images.

        Parameters
        ----------
        X : slices or volumes
            As the class takes them.
        y : array-like, default=None
            As in `fit`.

        Returns
        -------
        labels : ndarray of shape (n_images,), int64
            -1 for an anomaly, +1 for normal.
        """
        # That of scikit-learn drops y, and so would train on anomalies.
        return self.fit(X, y).predict(X)

    def score(self, X, y):
        """ROC AUC over images; the same with either label as the positive class.

        Parameters
        ----------
        X : slices or volumes
            As the class takes them.
        y : array-like
            Labels +1 and -1, or masks, as in `fit`.

        Returns
        -------
        auc : float
            NaN, with a warning, if all images have one label.
        """
        return roc_auc_score(self._labels(self._check(X), y), self.decision_function(X))

    @staticmethod
    def _for_training(X: Any, y: Any) -> Any:
        if isinstance(X, list):
            return [training_slices(volume, y) for volume in X]
        return training_slices(X, y)

    def _labels(self, X: Any, y: Any) -> NDArray[np.int64]:
        if y is None or np.isscalar(y):
            raise ValueError(
                f"y is {y!r}; expected a label +1 (normal) or -1 (anomaly) for each "
                f"{self._kind}, or masks."
            )
        labels = self._masks_to_labels(X, y)
        return check_signed(y, len(X), self._kind) if labels is None else labels

    @property
    def _looks_at_abnormal(self) -> bool:
        return looks_at_abnormal(self.detector)

    def _normal(self, labels: NDArray[np.int64]) -> NDArray[np.intp]:
        indices = np.flatnonzero(labels == 1)
        if not indices.size:
            raise ValueError(
                f"no normal {self._kind} left: each of the {len(labels)} is an anomaly by "
                "y, and only normal ones are trained on."
            )
        return indices

    def _checked_and_pooled(self, X: Any) -> NDArray[np.float64]:
        check_is_fitted(self)
        return self._pooled(self._check(X))

    def _pooled(self, X: Any) -> NDArray[np.float64]:
        """Normality of every image, NaN where there is no brain."""
        return np.array(
            [
                self.pooling_(decision, brain) if brain.any() else np.nan
                for decision, brain in self._images(X)
            ]
        )

    def _maps(self, X: Any) -> tuple[NDArray, NDArray[np.bool_]]:
        """Decision maps and brain of slices, as the last step of a Pipeline sees them."""
        detector = self.detector_
        while isinstance(detector, Pipeline):
            if len(detector.steps) > 1:
                X = detector[:-1].transform(X)
            detector = detector[-1]
        X = _read(X)
        brain = brain_mask(np.asarray(X))
        decision = detector.decision_function(X)
        if np.shape(decision) != brain.shape:
            raise ValueError(
                f"decision_function of {type(detector).__name__} has shape "
                f"{np.shape(decision)}; expected maps of shape {brain.shape}, one number "
                "for each pixel."
            )
        return decision, brain

    @property
    def n_features_in_(self):
        """Number of contrasts seen in `fit`."""
        check_is_fitted(self)
        return self.detector_.n_features_in_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags


def _fit(detector: Any, slices: Any, abnormal: NDArray[np.bool_] | None) -> None:
    """Fit a detector or a Pipeline, telling which slices are abnormal, but not where."""
    if abnormal is None:
        detector.fit(slices, None)
        return
    while isinstance(detector, Pipeline):
        # As a Pipeline does, but masks are of the size that its steps give.
        if len(detector.steps) > 1:
            slices = detector[:-1].fit_transform(slices)
        detector = detector[-1]
    marks = np.zeros((len(slices), *slices.shape[2:]), np.int8)
    marks[abnormal] = 1
    detector.fit(slices, marks)


def _read(X: Any) -> Any:
    """Slices in memory, so that files are decoded once for the maps and for the brain."""
    return X.in_memory() if isinstance(X, SliceStack) else X
