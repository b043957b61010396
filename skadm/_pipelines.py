"""Access to the detector inside Pipelines and searches, and to its parts."""

from collections.abc import Iterator
from typing import Any

from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

# Attributes with fitted inner estimators.
_INNER = ("filters_", "pooling_", "detector_", "detectors_")

COMPOSING = ("detector", "postprocessing", "pooling")
"""Parameters that are parts."""


def is_search(estimator: Any) -> bool:
    """Whether an estimator tunes another one by cross-validation."""
    # scikit-learn has no public base class of its searches.
    return hasattr(estimator, "estimator") and hasattr(estimator, "cv")


def last_step(estimator: Any) -> Any:
    """Find the detector inside Pipelines, frozen estimators and searches.

    For a fitted search it is the best detector, otherwise the one to be tuned.
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


def unwrap_with_input(detector: Any, X: Any) -> tuple[Any, Any]:
    """Return the detector at the end of fitted Pipelines, and its transformed input."""
    while isinstance(detector, Pipeline | FrozenEstimator):
        if isinstance(detector, FrozenEstimator):
            detector = detector.estimator
            continue
        if len(detector.steps) > 1:
            X = detector[:-1].transform(X)
        detector = detector[-1]
    return detector, X


def parts_of(model: Any) -> Iterator[Any]:
    """Yield the model and its fitted inner estimators, from the outside to the inside.

    Pipelines and FrozenEstimators are replaced by their content.
    """
    if isinstance(model, Pipeline):
        for _, step in model.steps:
            yield from parts_of(step)
    elif isinstance(model, FrozenEstimator):
        yield from parts_of(model.estimator)
    else:
        yield model
        for name in _INNER:
            inner = vars(model).get(name)
            for part in inner if isinstance(inner, list) else [inner]:
                if part is not None:
                    yield from parts_of(part)


# Properties of the detector inside an estimator.


def looks_at_abnormal(estimator: Any) -> bool:
    """Whether `fit` also uses slices with an anomaly."""
    return getattr(last_step(estimator), "_uses_abnormal_slices", False)


def looks_through_slices(estimator: Any) -> bool:
    """Whether the map of a slice depends on neighbouring slices."""
    return getattr(last_step(estimator), "_needs_neighbours", False)


def scored_unit(estimator: Any) -> str:
    """Return the unit of the scores: "pixel", "slice" or "volume"."""
    return getattr(last_step(estimator), "_scored_unit", "pixel")
