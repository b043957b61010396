"""Faults of one contrast of a scan, mild and strong, the same at every call."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import rotate

from skadm.data._corruptions import coarsen

SEVERITIES = ("mild", "strong")
NOISE = 0.03  # standard deviation beyond the field of view, by the median of the brain

Fault = Callable[[NDArray, NDArray, float], NDArray]


def _beyond(volume: NDArray, kept: NDArray[np.bool_]) -> NDArray:
    """Fill columns that are not kept with the noise of magnitude images (Rayleigh)."""
    rng = np.random.default_rng(0)
    level = NOISE * np.median(volume[volume > 0])
    return np.where(kept, volume, rng.rayleigh(level, volume.shape))


def _columns(brain: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the position of each column, from the first with brain (0) to the last (1)."""
    shown = np.flatnonzero(brain.any(axis=(0, 1)))
    return (np.arange(brain.shape[2]) - shown[0]) / max(1, shown[-1] - shown[0])


def cut_one_side(volume: NDArray, brain: NDArray[np.bool_], share: float) -> NDArray:
    """End the field of view at a column, with noise beyond it."""
    return _beyond(volume, _columns(brain) >= share)


def cut_both_sides(volume: NDArray, brain: NDArray[np.bool_], share: float) -> NDArray:
    """Do the same on both sides, with half as many columns each."""
    place = _columns(brain)
    return _beyond(volume, (place >= share / 2) & (place <= 1 - share / 2))


def cut_top(volume: NDArray, brain: NDArray[np.bool_], share: float) -> NDArray:
    """End the field of view at a slice."""
    shown = np.flatnonzero(brain.any(axis=(1, 2)))
    place = (np.arange(len(brain)) - shown[0]) / max(1, shown[-1] - shown[0])
    return _beyond(volume, (place <= 1 - share)[:, None, None])


def thick_slices(volume: NDArray, brain: NDArray[np.bool_], factor: float) -> NDArray:
    """Make slices several times as thick, by interpolation."""
    turned = volume.swapaxes(0, 1), brain.swapaxes(0, 1)
    return coarsen(*turned, factor, 1.0).swapaxes(0, 1)


def saturate(volume: NDArray, brain: NDArray[np.bool_], quantile: float) -> NDArray:
    """Clip values at a quantile of the brain."""
    return np.minimum(volume, np.quantile(volume[brain], quantile))


def ghost(volume: NDArray, brain: NDArray[np.bool_], strength: float) -> NDArray:
    """Add a weaker copy, shifted by half a field of view."""
    return volume + strength * np.roll(volume, volume.shape[1] // 2, axis=1)


def move(volume: NDArray, brain: NDArray[np.bool_], degrees: float) -> NDArray:
    """Rotate the head within slices during a third of the lines of k-space."""
    turned = rotate(volume, degrees, axes=(1, 2), reshape=False, order=1)
    still, moved = (np.fft.fft2(each, axes=(1, 2)) for each in (volume, turned))
    lines = np.random.default_rng(0).random(volume.shape[1]) < 1 / 3
    lines[0] = False  # the mean stays
    return np.abs(np.fft.ifft2(np.where(lines[:, None], moved, still), axes=(1, 2)))


def bias(volume: NDArray, brain: NDArray[np.bool_], strength: float) -> NDArray:
    """Multiply by a gain that is higher at one side and at the top."""
    columns = np.linspace(-1, 1, volume.shape[2])
    slices = np.linspace(-1, 1, len(volume))[:, None, None]
    return volume * np.exp(strength * (columns + slices) / 2)


FAULTS: dict[str, tuple[Fault, float, float]] = {
    "cut at one side": (cut_one_side, 0.1, 0.25),  # share of the columns
    "cut at both sides": (cut_both_sides, 0.15, 0.4),
    "cut at the top": (cut_top, 0.1, 0.25),  # share of the slices
    "thick slices": (thick_slices, 3.0, 6.0),  # of so many
    "saturated": (saturate, 0.95, 0.8),  # at a quantile
    "ghost": (ghost, 0.05, 0.2),
    "motion": (move, 3.0, 10.0),  # degrees
    "bias field": (bias, 0.2, 0.6),  # log of the gain at the edges
}
"""What each does to a volume, and how much of it is mild and strong."""


def faulty(
    images: NDArray, brain: NDArray[np.bool_], contrast: int
) -> Iterator[tuple[str, str, NDArray]]:
    """Add each fault to one contrast of a scan.

    Parameters
    ----------
    images : ndarray of shape (n_slices, n_contrasts, H, W)
        Not normalised; exactly 0 outside the brain.
    brain : ndarray of bool, shape (n_slices, H, W)
    contrast : int
        Index of the contrast.

    Yields
    ------
    fault, severity : str
    images : ndarray of float32, shape (n_slices, n_contrasts, H, W)
        Exactly 0 outside the brain.
    """
    for fault, (function, *amounts) in FAULTS.items():
        for severity, amount in zip(SEVERITIES, amounts):
            changed = images.astype(np.float32)
            spoilt = function(images[:, contrast], brain, amount)
            changed[:, contrast] = np.where(brain, spoilt, 0)
            yield fault, severity, changed
