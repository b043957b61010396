"""Slices as the last step of a Pipeline sees them."""

from typing import Any

from sklearn.pipeline import Pipeline

from skadm.data import as_slices


def as_seen(detector: Any, X: Any) -> tuple[Any, Any]:
    """Return the detector at the end of a Pipeline, and what the steps before it give.

    Parameters
    ----------
    detector : detector or Pipeline
        Fitted.
    X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
        Slices, as the Pipeline takes them.

    Returns
    -------
    detector : detector
        The last step, of a Pipeline within a Pipeline too.
    X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
        Slices as it takes them.
    """
    X = as_slices(X)
    while isinstance(detector, Pipeline):
        if len(detector.steps) > 1:
            X = detector[:-1].transform(X)
        detector = detector[-1]
    return detector, X
