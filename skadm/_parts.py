"""What a model is made of."""

from collections.abc import Iterator
from typing import Any

from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

# Where estimators keep the fitted estimators that they are made of.
_INNER = ("filters_", "pooling_", "detector_", "detectors_")

COMPOSING = ("detector", "postprocessing", "pooling")
"""Parameters that are parts themselves."""


def parts_of(model: Any) -> Iterator[Any]:
    """Yield the model and what it is made of, from the outside to the inside.

    Parameters
    ----------
    model : estimator
        A Pipeline and a FrozenEstimator are not parts themselves; what they hold is.

    Yields
    ------
    part : estimator
        The model, then the fitted estimators within it.
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
