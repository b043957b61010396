"""Checks of slices and masks, and selection of normal slices."""

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np

from skadm._arrays import as_numbers
from skadm._sklearn import Interval

# Standard deviations and medians of filters, in pixels or slices. The limits keep a filter
# from a model file from taking all memory: kernels grow with the first, and windows with
# the square of the second.
FILTER_WIDTH = Interval(Real, 0, 1000, closed="both")
MEDIAN_SIZE = Interval(Integral, 1, 101, closed="both")


def check_shape(X) -> tuple[int, int, int, int]:
    """Return the shape of X; check that it has four dimensions of length 1 or more."""
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
    """Check masks (n_slices, H, W) against the shape of the images; return an int8 copy.

    Raises a ValueError, with `name` in the message, for non-numeric arrays, a wrong
    shape, and values other than -1, 0 and 1.
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
    return y.astype(np.int8)  # a type that holds -1


def normal_slices(y: np.ndarray) -> np.ndarray:
    """Return the indices of the slices without an anomaly; raise if there is none."""
    indices = np.flatnonzero(~(y == 1).any(axis=(1, 2)))
    if not indices.size:
        raise ValueError(
            f"no normal slice left: each of the {len(y)} slices has pixels with y == 1; "
            "expected normal slices to train on."
        )
    return indices


def check_arrays(owner: Any, shapes: Mapping[str, tuple[int | None, ...]]) -> None:
    """Check that attributes are arrays of the given shapes; None is any length."""
    for name, shape in shapes.items():
        value = getattr(owner, name)
        actual = value.shape if isinstance(value, np.ndarray) else ()
        if len(actual) != len(shape) or any(
            expected not in (None, length) for length, expected in zip(actual, shape)
        ):
            raise ValueError(
                f"{name} of a {type(owner).__name__} has shape {actual}; expected {shape}."
            )
