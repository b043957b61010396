"""Selection of the normal slices of a fold."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import UndefinedMetricWarning

from skadm._validation import check_labels, check_shape
from skadm.data._slices import as_slices


def normal_part(metric: str, X: Any, y: ArrayLike | None) -> Any:
    """Return the slices without anomaly; None, with a warning, if there are none.

    y are masks: 0 normal, 1 anomaly, -1 outside the brain. None: all slices are normal.
    """
    X = as_slices(X)
    if y is None:
        return X
    normal = ~(check_labels(y, check_shape(X)) == 1).any(axis=(1, 2))
    if normal.any():
        return X[np.flatnonzero(normal)]
    warnings.warn(
        f"{metric} is undefined for a fold of {len(normal)} slices, which all contain "
        "an anomaly. Expected normal slices of patients not trained on: split by "
        "patient (GroupKFold). NaN is returned.",
        UndefinedMetricWarning,
        stacklevel=3,
    )
    return None
