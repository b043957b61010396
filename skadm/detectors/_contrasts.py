"""Weights of contrasts, given by name or by index."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


def contrast_weights(
    weights: Mapping[str | int, float], n_contrasts: int, names: Sequence[str] | None
) -> NDArray[np.float64]:
    """Weight of every contrast, 0 where none is given.

    Parameters
    ----------
    weights : mapping of str or int to float
        By name or by index.
    n_contrasts : int
    names : sequence of str or None
        Of the contrasts; None for bare arrays.

    Raises
    ------
    ValueError
        If there is no such contrast, one is given twice, a weight is not a finite number,
        or none differs from 0.
    """
    array = np.zeros(n_contrasts)
    given: dict[int, str | int] = {}
    for contrast, weight in weights.items():
        index = _index(contrast, n_contrasts, names)
        if index in given:
            raise ValueError(
                f"weights name one contrast twice, as {given[index]!r} and {contrast!r}."
            )
        try:
            array[index] = weight
        except (TypeError, ValueError):
            array[index] = np.nan
        if not np.isfinite(array[index]):
            raise ValueError(
                f"the weight of contrast {contrast!r} is {weight!r}; expected a number."
            )
        given[index] = contrast
    if not array.any():
        raise ValueError(f"weights={dict(weights)} leave out every contrast.")
    return array


def _index(contrast: str | int, n_contrasts: int, names: Sequence[str] | None) -> int:
    if isinstance(contrast, str):
        if names is None:
            raise ValueError(
                f"weights name the contrast {contrast!r}, but X is a bare array without "
                "names: give indices, or a SliceStack."
            )
        if contrast not in names:
            raise ValueError(
                f"weights name the contrast {contrast!r}; X has {tuple(names)}."
            )
        return list(names).index(contrast)
    if contrast not in range(n_contrasts):
        raise ValueError(
            f"weights name contrast {contrast!r}; expected a name or an index from 0 to "
            f"{n_contrasts - 1}."
        )
    return int(contrast)
