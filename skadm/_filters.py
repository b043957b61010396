"""Filters of maps that look at brain pixels only."""

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
    """Smooth maps (n_slices, H, W) by a Gaussian, with brain pixels only; 0 outside.

    Normalised convolution: weights of pixels outside of the brain are left out, and the
    others add up to 1. `sigma` is in pixels within slices, one number or two for rows and
    columns, `sigma_through` in slices; with the latter, the slices are those of one volume,
    in their order.
    """
    width = (sigma_through, *np.broadcast_to(sigma, 2))
    total = gaussian_filter(np.where(brain, maps, 0), width)
    share = gaussian_filter(brain.astype(maps.dtype), width)
    return np.divide(total, share, out=np.zeros_like(total), where=brain)


def median_in_brain(
    maps: NDArray, brain: NDArray[np.bool_], size: int, size_through: int = 1
) -> NDArray:
    """Median filter of maps (n_slices, H, W), with brain pixels only; 0 outside.

    The sides of the window are odd: `size` pixels within slices, and `size_through` slices
    of one volume, in their order. Of an even number of brain pixels in the window, it is
    the mean of the two in the middle.
    """
    window = (size_through, size, size)
    out = np.zeros_like(maps)
    margin = [(side // 2, side // 2) for side in window]
    padded = np.pad(np.where(brain, maps, np.nan), margin, constant_values=np.nan)
    for z, inside in enumerate(brain):  # slice by slice, for memory's sake
        if inside.any():
            slab = padded[z : z + size_through]
            windows = np.lib.stride_tricks.sliding_window_view(slab, window)[0][inside]
            out[z][inside] = _median(windows.reshape(len(windows), -1))
    return out


def _median(windows: NDArray) -> NDArray:
    """Median of each row without its NaN, of which no row consists."""
    # NaN goes last in a sort; np.nanmedian goes row by row and takes far longer.
    ascending = np.sort(windows, axis=1)
    n_inside = np.isfinite(ascending).sum(axis=1)
    lower, upper = (
        np.take_along_axis(ascending, middle[:, None], axis=1)[:, 0]
        for middle in ((n_inside - 1) // 2, n_inside // 2)
    )
    return lower + (upper - lower) / 2
