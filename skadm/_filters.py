"""Filters of maps that look at brain pixels only."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter


def smooth_in_brain(
    maps: NDArray, brain: NDArray[np.bool_], sigma: float
) -> NDArray[np.float32]:
    """Smooth maps slice by slice, with brain pixels only.

    Parameters
    ----------
    maps, brain : ndarray of shape (n_slices, H, W)
    sigma : float
        Of the Gaussian, in pixels.

    Returns
    -------
    maps : ndarray of shape (n_slices, H, W), float32
        0 outside of the brain.
    """
    weight = brain.astype(np.float32)
    width = (0, sigma, sigma)
    total = gaussian_filter(maps * weight, width)
    share = gaussian_filter(weight, width)
    return np.divide(total, share, out=np.zeros_like(total), where=brain)


def median_in_brain(
    maps: NDArray, brain: NDArray[np.bool_], size: int
) -> NDArray[np.float32]:
    """Median filter of maps, slice by slice, with brain pixels only.

    Parameters
    ----------
    maps, brain : ndarray of shape (n_slices, H, W)
    size : int
        Side of the square window, in pixels; odd.

    Returns
    -------
    maps : ndarray of shape (n_slices, H, W), float32
        0 outside of the brain. Of an even number of brain pixels in the window, the mean
        of the two in the middle.
    """
    out = np.zeros(maps.shape, np.float32)
    margin = ((size // 2,) * 2,) * 2
    for index, inside in enumerate(brain):
        padded = np.pad(
            np.where(inside, maps[index], np.nan), margin, constant_values=np.nan
        )
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size))[inside]
        # NaN goes last in a sort; np.nanmedian goes row by row and takes far longer.
        ascending = np.sort(windows.reshape(len(windows), size**2), axis=1)
        n_inside = np.isfinite(ascending).sum(axis=1)
        lower, upper = (
            np.take_along_axis(ascending, middle[:, None], axis=1)[:, 0]
            for middle in ((n_inside - 1) // 2, n_inside // 2)
        )
        out[index][inside] = lower + (upper - lower) / 2
    return out
