"""Checks of slices and masks, and the rule which slices are normal."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from skadm._arrays import as_numbers


def check_shape(X) -> tuple[int, int, int, int]:
    """Shape of X, which must have four dimensions, none of length 0."""
    shape = tuple(X.shape) if hasattr(X, "shape") else np.shape(X)
    if len(shape) != 4:
        raise ValueError(
            "X must have 4 dimensions (n_slices, n_contrasts, H, W), "
            f"got {len(shape)}: shape {shape}. A single slice is X[None]; "
            "a single contrast X[:, None]."
        )
    if 0 in shape[1:]:
        raise ValueError(
            f"X of shape {shape} has no contrast or no pixel; expected "
            "(n_slices, n_contrasts, H, W) with at least 1 of each."
        )
    return shape


def check_labels(y, shape: tuple[int, ...], name: str = "y") -> np.ndarray:
    """A copy of masks (n_slices, H, W) as int8, of the shape of the images.

    No array of numbers, another shape, or another value than -1, 0 and 1 is a ValueError,
    which calls the masks `name`.
    """
    y = as_numbers(y, name)
    expected = (shape[0], *shape[2:])
    if y.shape != expected:
        raise ValueError(
            f"{name} must have shape {expected}, one mask (H, W) for each slice of images "
            f"of shape {shape}; got {y.shape}."
        )
    wrong = y[(y != 0) & (y != 1) & (y != -1)]
    if wrong.size:
        raise ValueError(
            f"{name} must hold 0 (normal), 1 (anomaly) and -1 (outside the brain) only; "
            f"found {np.unique(wrong)[:5].tolist()}."
        )
    return y.astype(np.int8)  # whatever it was: -1 must fit in


def normal_slices(y: np.ndarray) -> np.ndarray:
    """Indices of the slices without an anomaly; a ValueError if there is none."""
    indices = np.flatnonzero(~(y == 1).any(axis=(1, 2)))
    if not indices.size:
        raise ValueError(
            f"no normal slice left: each of the {len(y)} slices holds pixels with "
            "y == 1, and only slices without any are trained on."
        )
    return indices


def check_arrays(owner: Any, shapes: Mapping[str, tuple[int | None, ...]]) -> None:
    """Refuse attributes that are not arrays of the shapes given; None is any length."""
    for name, shape in shapes.items():
        value = getattr(owner, name)
        found = value.shape if isinstance(value, np.ndarray) else ()
        if len(found) != len(shape) or any(
            expected not in (None, length) for length, expected in zip(found, shape)
        ):
            raise ValueError(
                f"{name} of a {type(owner).__name__} has shape {found}; expected {shape}."
            )
