"""Checks of slices and masks, and the rule which slices are normal."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from skadm._arrays import as_numbers


def check_shape(X) -> tuple[int, int, int, int]:
    """Shape of X, which has to be that of a stack of slices.

    Raises
    ------
    ValueError
        If X has not four dimensions, or one of length 0.
    """
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
    """Masks as an array, of the right shape and with the right values.

    Parameters
    ----------
    y : array-like of shape (n_slices, H, W)
    shape : tuple of int
        Shape of the images.
    name : str, default="y"
        What error messages call y.

    Returns
    -------
    y : ndarray of shape (n_slices, H, W), int8
        A copy.

    Raises
    ------
    ValueError
        If y is no array of numbers, its shape is not that of the images without their
        contrasts, or a value is none of -1, 0, 1.
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
    """Indices of the slices without any pixel of an anomaly.

    Raises
    ------
    ValueError
        If there is none.
    """
    indices = np.flatnonzero(~(y == 1).any(axis=(1, 2)))
    if not indices.size:
        raise ValueError(
            f"no normal slice left: each of the {len(y)} slices holds pixels with "
            "y == 1, and only slices without any are trained on."
        )
    return indices


def check_arrays(owner: Any, shapes: Mapping[str, tuple[int | None, ...]]) -> None:
    """Refuse arrays of other shapes than expected.

    Parameters
    ----------
    owner : object
        Holds the arrays.
    shapes : mapping of str to tuple of int or None
        Shape of each attribute; None is any length.

    Raises
    ------
    ValueError
        If an attribute is no array, or of another shape.
    """
    for name, shape in shapes.items():
        value = getattr(owner, name)
        found = value.shape if isinstance(value, np.ndarray) else ()
        if len(found) != len(shape) or any(
            expected not in (None, length) for length, expected in zip(found, shape)
        ):
            raise ValueError(
                f"{name} of a {type(owner).__name__} has shape {found}; expected {shape}."
            )
