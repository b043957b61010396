"""The detector at the end of Pipelines, frozen estimators and searches."""

from typing import Any

from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline


def is_search(estimator: Any) -> bool:
    """Whether an estimator tunes another one by cross-validation, as `GridSearchCV` does.

    Parameters
    ----------
    estimator : estimator
        Any estimator.

    Returns
    -------
    search : bool
    """
    # scikit-learn has no public base class of its searches.
    return hasattr(estimator, "estimator") and hasattr(estimator, "cv")


def last_step(estimator: Any) -> Any:
    """Find the detector inside Pipelines, frozen estimators and searches.

    Parameters
    ----------
    estimator : estimator
        A detector, or what holds one.

    Returns
    -------
    detector : detector
        Of a search that is fitted the best detector, otherwise the one to be tuned.
    """
    while True:
        if isinstance(estimator, Pipeline):
            estimator = estimator[-1]
        elif is_search(estimator):
            estimator = getattr(estimator, "best_estimator_", estimator.estimator)
        elif isinstance(estimator, FrozenEstimator):
            estimator = estimator.estimator
        else:
            return estimator


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
    while isinstance(detector, Pipeline | FrozenEstimator):
        if isinstance(detector, FrozenEstimator):
            detector = detector.estimator
            continue
        if len(detector.steps) > 1:
            X = detector[:-1].transform(X)
        detector = detector[-1]
    return detector, X
