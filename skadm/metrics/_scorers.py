"""Scorers for cross-validation and parameter search."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skadm.metrics._pixels import as_labels, count_labels
from skadm.metrics._ranking import (
    pixel_average_precision_score,
    pixel_roc_auc_score,
    undefined,
)

_ADVICE = (
    ", so the mean over the folds is undefined too; choose folds that all contain "
    "lesions and normal brain"
)


class PixelScorer:
    """Score an estimator's maps over brain pixels; greater is better.

    Pass it as `scoring` to `cross_val_score`, `GridSearchCV` and similar functions.

    Parameters
    ----------
    estimator : fitted detector or Pipeline
        Provides `score_samples`.
    X : SliceStack or array-like of shape (n_slices, n_contrasts, H, W)
        Slices.
    y : array-like of shape (n_slices, H, W)
        Labels: 0 normal, 1 anomaly, -1 ignored.

    Returns
    -------
    float
        The metric. NaN, with an `UndefinedMetricWarning` that names the patients if
        known, when `y` holds no anomalous or no normal pixel.

    Raises
    ------
    ValueError
        If `y` is None, or `y` or the maps are invalid for the metric.
    """

    # scikit-learn's make_scorer does not support score_samples, and its metric gets no X
    # to name a fold without anomalies.
    def __init__(self, name: str, metric: Callable[[Any, Any], float]) -> None:
        self.name = name
        self.metric = metric

    def __repr__(self) -> str:
        return f"<pixel scorer: {self.name}>"

    def __call__(self, estimator: Any, X: Any, y: ArrayLike | None = None) -> float:
        """Score the estimator's maps of X against the labels y; see the class."""
        labels = as_labels(y)
        if undefined(self.name, count_labels(labels), f" for {_describe(X)}", _ADVICE):
            return float("nan")
        return self.metric(labels, estimator.score_samples(X))


def _describe(X: Any) -> str:
    """Describe a fold by its size and, if known, its patients."""
    size = f"a fold of {len(X)} slices"
    groups = getattr(X, "groups", None)
    if groups is None:
        return size
    patients = list(dict.fromkeys(np.asarray(groups).tolist()))
    shown = ", ".join(str(patient) for patient in patients[:8])
    return f"{size} (patients: {shown}{', ...' if len(patients) > 8 else ''})"


roc_auc_scorer = PixelScorer("ROC AUC", pixel_roc_auc_score)
average_precision_scorer = PixelScorer("average precision", pixel_average_precision_score)
