"""What detectors of slices and of volumes share: maps become one number for each image."""

from abc import abstractmethod
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

from skadm._pipelines import as_seen
from skadm._sklearn import HasMethods, Interval
from skadm.data import SliceStack
from skadm.data._slices import brain_of
from skadm.image_level._labels import check_signed
from skadm.pooling import Pooling, Quantile
from skadm.wrappers._base import MetaDetector, Train


class ImageDetector(MetaDetector):
    """Base of the two: the maps of a detector, one number for each image.

    What an image is, a slice or a volume, its subclasses say.

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
        """Labels +1 and -1 if y are masks, else None."""

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
        X = self._input(X)
        return roc_auc_score(self._labels(X, y), self.decision_function(X))

    def _check(self) -> None:
        super()._check()
        self._new_pooling().check()

    def _new_pooling(self) -> Pooling:
        return Quantile() if self.pooling is None else clone(self.pooling)

    def _labels(self, X: Any, y: Any) -> NDArray[np.int64]:
        """Labels +1 and -1 of labels or masks."""
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
                f"no normal {self._scored_unit} left: each of the {len(labels)} is an "
                "anomaly by y, and only normal ones are trained on."
            )
        return indices

    def _fit_parts(self, train: Train, X: Any, normal: NDArray[np.intp]) -> NDArray:
        self.pooling_ = self._new_pooling()
        self.detector_ = train(clone(self.detector))
        return self._normal_scores(X, normal)

    def _decisions(self, X: Any) -> tuple[NDArray, NDArray[np.bool_]]:
        """Decision maps and brain of slices, as the last step of a Pipeline sees them."""
        detector, X = as_seen(self.detector_, X)
        X = X.in_memory() if isinstance(X, SliceStack) else X  # steps are taken once
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
        """One number for an image; any without brain."""
        return float(self.pooling_(decision, brain)) if brain.any() else 0.0

    def _shape_and_type(self, X):
        return (len(X),), np.float64
