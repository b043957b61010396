"""Brain mask of images, and labels outside the brain."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from skadm._disk import release, row_chunks, scratch_array
from skadm._missing import missing_contrasts


def brain_mask(X: NDArray) -> NDArray[np.bool_]:
    """Compute the brain mask: pixels where any contrast is not exactly zero.

    Missing contrasts (NaN in all pixels) are ignored.

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
    """Return labels (n_slices, H, W) with -1 (ignored) outside the brain except anomalies.

    An anomaly outside the brain, such as a lesion removed by skull stripping, keeps its
    label: its slice is not normal, and its pixels count as missed.
    """
    return np.where(brain | (labels == 1), labels, -1).astype(np.int8)


def brain_counts(images: NDArray, chunks: Sequence[slice]) -> NDArray[np.intp]:
    """Count brain pixels per chunk of slices, which may exceed memory."""
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
    """Compute values of the brain pixels of slices, which may exceed memory.

    `function` maps some of the slices and their brain to maps (n, H, W). The values
    (n_pixels,) are in pixel order, in memory or on disk.
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
