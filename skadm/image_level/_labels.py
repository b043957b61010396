"""Image-level labels, +1 for normal and -1 for an anomaly."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skadm._arrays import as_numbers
from skadm._validation import check_labels


def slice_labels(masks: ArrayLike) -> NDArray[np.int64]:
    """Convert masks to slice labels.

    Parameters
    ----------
    masks : array-like of shape (n_slices, H, W)
        0 normal, 1 anomaly, -1 outside the brain.

    Returns
    -------
    labels : ndarray of shape (n_slices,), int64
        -1 for a slice with any pixel 1, +1 for the others.

    Raises
    ------
    ValueError
        If the masks have another shape or other values.

    Examples
    --------
    >>> from skadm.image_level import slice_labels
    >>> slice_labels([[[0, 0]], [[0, 1]], [[-1, -1]]])
    array([ 1, -1,  1])
    """
    array = as_numbers(masks, "masks")
    if array.ndim != 3:
        raise ValueError(f"masks have shape {array.shape}; expected (n_slices, H, W).")
    array = check_labels(array, (len(array), 1, *array.shape[1:]))
    return signed(~(array == 1).any(axis=(1, 2)))


def volume_labels(masks: Iterable[ArrayLike]) -> NDArray[np.int64]:
    """Convert masks to volume labels.

    Parameters
    ----------
    masks : iterable of array-like of shape (n_slices, H, W)
        One for each volume: 0 normal, 1 anomaly, -1 outside the brain.

    Returns
    -------
    labels : ndarray of shape (n_volumes,), int64
        -1 for a volume with any pixel 1, +1 for the others.

    Raises
    ------
    ValueError
        If the masks have another shape or other values.

    Examples
    --------
    >>> from skadm.image_level import volume_labels
    >>> volume_labels([[[[0, 0]], [[0, 1]]], [[[0, -1]]]])
    array([-1,  1])
    """
    return signed(np.array([bool((slice_labels(mask) == 1).all()) for mask in masks]))


def signed(normal: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the labels +1 and -1."""
    return np.where(normal, 1, -1)


def check_signed(y: ArrayLike, n: int, kind: str) -> NDArray[np.int64]:
    """Check the labels of n images, +1 or -1."""
    labels = as_numbers(y, "y")
    if labels.shape != (n,):
        raise ValueError(
            f"y has shape {labels.shape}; expected ({n},), one label per {kind}, or masks."
        )
    # With 1 for the anomaly, scikit-learn's metrics would be silently inverted.
    if labels.dtype == bool or not np.isin(labels, (-1, 1)).all():
        raise ValueError(
            "y must hold +1 (normal) and -1 (anomaly), as in scikit-learn's outlier "
            f"detection; found {np.unique(labels)[:5].tolist()}. If 1 is the anomaly, "
            "pass numpy.where(y == 1, -1, 1)."
        )
    return signed(labels == 1)
