"""Missing contrasts: channels in which every pixel is NaN."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def missing_contrasts(X: NDArray) -> NDArray[np.bool_]:
    """Find the missing contrasts of checked slices.

    Parameters
    ----------
    X : ndarray of shape (n_slices, n_contrasts, H, W)
        Images checked by `check_missing`: a channel is NaN as a whole or not at all, so
        only one pixel is read.

    Returns
    -------
    ndarray of bool, shape (n_slices, n_contrasts)
        True where a slice lacks a contrast.
    """
    return np.isnan(X[:, :, 0, 0])


def missing_names(X: NDArray, contrasts: Sequence[str]) -> tuple[str, ...]:
    """Name the contrasts that are missing in any slice.

    Parameters
    ----------
    X : ndarray of shape (n_slices, n_contrasts, H, W)
        Images, as for `missing_contrasts`.
    contrasts : sequence of str
        Names of the contrasts.

    Returns
    -------
    tuple of str
        In the order of `contrasts`.
    """
    missing = missing_contrasts(X)
    return tuple(name for name, lacks in zip(contrasts, missing.T) if lacks.any())


def check_missing(X: NDArray, contrasts: Sequence[str] | None = None) -> NDArray[np.bool_]:
    """Find the missing contrasts, and raise for single NaN pixels.

    Parameters
    ----------
    X : ndarray of shape (n_slices, n_contrasts, H, W)
        Images without infinite values.
    contrasts : sequence of str, default=None
        Their names, for error messages.

    Returns
    -------
    ndarray of bool, shape (n_slices, n_contrasts)
        True where a slice lacks a contrast.

    Raises
    ------
    ValueError
        If some pixels of a channel are NaN and others are not, or a slice has no contrast.
    """
    missing = np.zeros(X.shape[:2], dtype=bool)
    # A sum is NaN if any term is: fast if nothing is missing.
    if not np.isnan(X.sum(dtype=np.float64)):
        return missing
    for index, image in enumerate(X):
        n_unknown = np.isnan(image).sum(axis=(1, 2))
        missing[index] = n_unknown == image[0].size
        if partly := np.flatnonzero((n_unknown > 0) & ~missing[index]).tolist():
            raise ValueError(
                f"Input X contains NaN: in slice {index}, {n_unknown[partly[0]]} of the "
                f"{image[0].size} pixels of {_name(partly[0], contrasts)}. Expected NaN "
                "only in all pixels of a missing contrast, and 0 in the background."
            )
        if missing[index].all():
            raise ValueError(
                f"Input X contains NaN: in slice {index} all {len(missing[index])} "
                "contrasts are missing; expected at least one."
            )
    return missing


def describe_missing(
    missing: NDArray[np.bool_], contrasts: Sequence[str] | None = None
) -> str:
    """Describe which contrasts are missing in which slices.

    Parameters
    ----------
    missing : ndarray of bool, shape (n_slices, n_contrasts)
        True where a slice lacks a contrast.
    contrasts : sequence of str, default=None
        Their names.

    Returns
    -------
    str
        Such as "T2 in 3 slices (the first is 5)".
    """
    return ", ".join(
        f"{_name(index, contrasts)} in {column.sum()} slices (the first is "
        f"{column.argmax()})"
        for index, column in enumerate(missing.T)
        if column.any()
    )


def _name(index: int, contrasts: Sequence[str] | None) -> str:
    return f"contrast {index + 1}" if contrasts is None else contrasts[index]
