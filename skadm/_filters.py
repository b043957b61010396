"""Filters of maps over brain pixels only."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter


def smooth_in_brain(
    maps: NDArray,
    brain: NDArray[np.bool_],
    sigma: float | Sequence[float],
    sigma_through: float = 0.0,
) -> NDArray:
    """Smooth maps (n_slices, H, W) by a Gaussian over brain pixels only; 0 outside.

    Normalised convolution: weights outside the brain are 0, and the others sum to 1.
    `sigma` is in pixels within slices, one number or two for rows and columns;
    `sigma_through` is in slices. For the latter, the slices must be those of one volume, in
    order.
    """
    width = (sigma_through, *np.broadcast_to(sigma, 2))
    total = gaussian_filter(np.where(brain, maps, 0), width)
    share = gaussian_filter(brain.astype(maps.dtype), width)
    return np.divide(total, share, out=np.zeros_like(total), where=brain)


def median_in_brain(
    maps: NDArray, brain: NDArray[np.bool_], size: int, size_through: int = 1
) -> NDArray:
    """Apply a median filter to maps (n_slices, H, W) over brain pixels only; 0 outside.

    The sides of the window are odd: `size` pixels within slices, and `size_through`
    slices of one volume, in order. For an even number of brain pixels, it is the mean of
    the two middle values.
    """
    window = (size_through, size, size)
    out = np.zeros_like(maps)
    margin = [(side // 2, side // 2) for side in window]
    padded = np.pad(np.where(brain, maps, np.nan), margin, constant_values=np.nan)
    for z, inside in enumerate(brain):  # slice by slice to save memory
        if inside.any():
            slab = padded[z : z + size_through]
            windows = np.lib.stride_tricks.sliding_window_view(slab, window)[0][inside]
            out[z][inside] = _median(windows.reshape(len(windows), -1))
    return out


def _median(windows: NDArray) -> NDArray:
    """Return the median of each row, ignoring NaN; no row is all NaN."""
    # Sorting puts NaN last; np.nanmedian works row by row and is much slower.
    ascending = np.sort(windows, axis=1)
    n_inside = np.isfinite(ascending).sum(axis=1)
    lower, upper = (
        np.take_along_axis(ascending, middle[:, None], axis=1)[:, 0]
        for middle in ((n_inside - 1) // 2, n_inside // 2)
    )
    return lower + (upper - lower) / 2
