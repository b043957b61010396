"""The detector inside Pipelines, frozen estimators and searches, and what it asks for."""

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


def looks_at_abnormal(detector: Any) -> bool:
    """Whether an estimator wants slices with an anomaly in `fit` too, to look at.

    Parameters
    ----------
    detector : estimator
        A detector, or a Pipeline that ends in one.

    Returns
    -------
    wants : bool
    """
    return getattr(last_step(detector), "_looks_at_abnormal", False)


def looks_through_slices(detector: Any) -> bool:
    """Whether the map of a slice depends on the slices beside it.

    Parameters
    ----------
    detector : estimator
        A detector, or a Pipeline that ends in one.

    Returns
    -------
    looks : bool
    """
    return getattr(last_step(detector), "_looks_through", False)


def scored_unit(detector: Any) -> str:
    """What an estimator gives one score each: a pixel, a slice or a volume.

    Parameters
    ----------
    detector : estimator
        A detector, or a Pipeline that ends in one.

    Returns
    -------
    unit : {"pixel", "slice", "volume"}
    """
    return getattr(last_step(detector), "_scored_unit", "pixel")
