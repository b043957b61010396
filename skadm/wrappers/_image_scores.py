"""Base class of the detectors of slices and volumes."""

from abc import abstractmethod
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

from skadm._pipelines import unwrap_with_input
from skadm._sklearn import HasMethods, Interval
from skadm.data import SliceStack
from skadm.data._slices import brain_of
from skadm.image_level._labels import check_signed
from skadm.pooling import Pooling, Quantile
from skadm.wrappers._meta_detector import MetaDetector, Train


class ImageDetector(MetaDetector):
    """Base class: pools the maps of a detector to one score per image.

    An image is a slice or a volume, depending on the subclass.

    Attributes
    ----------
    detector_ : detector or Pipeline
        The fitted detector.
    pooling_ : Pooling
        The pooling in use.
    """

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

    @abstractmethod
    def _masks_to_labels(self, X: Any, y: Any) -> NDArray[np.int64] | None:
        """Return the labels +1 and -1 if y holds masks, else None."""

    def score(self, X: Any, y: Any) -> float:
        """Compute the ROC AUC over images.

        Parameters
        ----------
        X : slices or volumes
            Input of the class.
        y : array-like
            Labels +1 and -1, or masks, as in `fit`.

        Returns
        -------
        auc : float
            It is the same for either positive class. NaN, with a warning, if all images
            have one label.
        """
        X = self._input(X)
        return roc_auc_score(self._labels(X, y), self.decision_function(X))

    def _check(self) -> None:
        super()._check()
        self._new_pooling().check()

    def _new_pooling(self) -> Pooling:
        return Quantile() if self.pooling is None else clone(self.pooling)

    def _labels(self, X: Any, y: Any) -> NDArray[np.int64]:
        """Return the labels +1 and -1 from labels or masks."""
        if y is None or np.isscalar(y):
            raise ValueError(
                f"y is {y!r}; expected a label +1 (normal) or -1 (anomaly) for each "
                f"{self._scored_unit}, or masks."
            )
        labels = self._masks_to_labels(X, y)
        return check_signed(y, len(X), self._scored_unit) if labels is None else labels

    def _normal(self, X: Any, y: Any) -> NDArray[np.intp]:
        labels = self._labels(X, y)
        indices = np.flatnonzero(labels == 1)
        if not indices.size:
            raise ValueError(
                f"y labels all {len(labels)} {self._scored_unit}s as anomalies; expected "
                f"at least one normal {self._scored_unit} to train on."
            )
        return indices

    def _fit_parts(self, train: Train, X: Any, normal: NDArray[np.intp]) -> NDArray:
        self.pooling_ = self._new_pooling()
        self.detector_ = train(clone(self.detector))
        return self._normal_scores(X, normal)

    def _decisions(self, X: Any) -> tuple[NDArray, NDArray[np.bool_]]:
        """Return decision maps and brain of slices, after the steps of a Pipeline."""
        detector, X = unwrap_with_input(self.detector_, X)
        X = X.in_memory() if isinstance(X, SliceStack) else X  # apply steps once
        brain = brain_of(X)
        decision = detector.decision_function(X)
        if np.shape(decision) != brain.shape:
            raise ValueError(
                f"decision_function of {type(detector).__name__} has shape "
                f"{np.shape(decision)}; expected maps of shape {brain.shape}, one number "
                "for each pixel."
            )
        return decision, brain

    def _pool(self, decision: NDArray, brain: NDArray[np.bool_]) -> float:
        """Pool the map of an image; arbitrary without brain."""
        return float(self.pooling_(decision, brain)) if brain.any() else 0.0

    def _shape_and_type(self, X):
        return (len(X),), np.float64
