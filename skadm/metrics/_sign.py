"""Conversion of normality to anomaly maps for display."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skadm._arrays import as_numbers


def anomaly_map(scores: ArrayLike) -> NDArray:
    """Turn normality maps into anomaly maps.

    Parameters
    ----------
    scores : array-like of any shape
        Normality, higher = more normal, as `score_samples` returns it.

    Returns
    -------
    ndarray of the same shape
        Anomaly, higher = more abnormal: the negated scores.
    """
    values = as_numbers(scores, "scores")
    if values.dtype.kind in "bu":  # these types have no negative numbers
        values = values.astype(np.float64)
    return np.negative(values)
