"""What counts as brain, and how labels outside it are marked."""

import numpy as np
from numpy.typing import NDArray


def brain_mask(X: NDArray) -> NDArray[np.bool_]:
    """Find the brain: the pixels where any contrast is not exactly zero.

    Parameters
    ----------
    X : ndarray of shape (n_slices, n_contrasts, H, W)
        Images.

    Returns
    -------
    ndarray of bool, shape (n_slices, H, W)
        True in the brain.
    """
    # One contrast at a time: no boolean array of the size of X.
    brain = X[:, 0] != 0
    for contrast in range(1, X.shape[1]):
        brain |= X[:, contrast] != 0
    return brain


def ignore_background(labels: NDArray, brain: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Return int8 labels that are -1 (ignored) outside the brain.

    Parameters
    ----------
    labels : ndarray of shape (n_slices, H, W)
        Labels -1, 0 or 1.
    brain : ndarray of bool, shape (n_slices, H, W)
        The brain.

    Returns
    -------
    ndarray of int8, shape (n_slices, H, W)
        A copy of the labels, -1 where ``brain`` is False.
    """
    return np.where(brain, labels, -1).astype(np.int8)
