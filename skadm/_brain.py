"""What counts as brain, and how labels outside it are marked."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from skadm._disk import release, row_chunks, scratch_array
from skadm._missing import missing_contrasts


def brain_mask(X: NDArray) -> NDArray[np.bool_]:
    """Find the brain: the pixels where any contrast is not exactly zero.

    A contrast that is missing, which is NaN in all pixels, says nothing.

    Parameters
    ----------
    X : ndarray of shape (n_slices, n_contrasts, H, W)
        Images.

    Returns
    -------
    ndarray of bool, shape (n_slices, H, W)
        True in the brain.
    """
    missing = missing_contrasts(X)
    brain = np.zeros((len(X), *X.shape[2:]), dtype=bool)
    # One contrast at a time: no boolean array of the size of X.
    for contrast in range(X.shape[1]):
        shown = X[:, contrast] != 0
        if missing[:, contrast].any():
            shown[missing[:, contrast]] = False
        brain |= shown
    return brain


def ignore_background(labels: NDArray, brain: NDArray[np.bool_]) -> NDArray[np.int8]:
    """A copy of labels (n_slices, H, W), -1 (ignored) outside the brain, but for anomalies.

    An anomaly outside the brain, such as a lesion that skull stripping has cut away, keeps
    its label: its slice is not normal, and what is not found of it counts as missed.
    """
    return np.where(brain | (labels == 1), labels, -1).astype(np.int8)


def brain_counts(images: NDArray, chunks: Sequence[slice]) -> NDArray[np.intp]:
    """Number of brain pixels in each chunk of slices that may be more than memory."""
    counts = np.zeros(len(chunks), dtype=np.intp)
    for number, rows in enumerate(chunks):
        counts[number] = np.count_nonzero(brain_mask(images[rows]))
        release(images)
    return counts


def brain_values(
    function: Callable[[NDArray, NDArray[np.bool_]], NDArray],
    images: NDArray,
    brain: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Values of the brain pixels of slices that may be more than fit into memory.

    `function` takes some of the slices and their brain, and returns maps (n, H, W). The
    values (n_pixels,) are in the order of the pixels, in memory or on disk.
    """
    chunks = list(row_chunks(len(images), images[:1].nbytes))
    if brain is None:
        n_pixels = int(brain_counts(images, chunks).sum())
    else:
        n_pixels = int(np.count_nonzero(brain))
    values, filled = scratch_array((n_pixels,)), 0
    for rows in chunks:
        some = images[rows]
        shown = brain_mask(some) if brain is None else brain[rows]
        part = function(some, shown)[shown]
        values[filled : filled + len(part)] = part
        filled += len(part)
        release(values)
        release(images)
    return values
