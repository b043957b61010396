"""Interfaces between stacks, volumes and preprocessing steps."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Grid(NamedTuple):
    """Slice size and affine of a volume."""

    shape: tuple[int, int]  # height and width (H, W) of a slice, in pixels
    # (4, 4), from voxel indices in the order of the file (W, H, slice) to mm
    affine: NDArray[np.float64]

    @property
    def voxel_size(self) -> NDArray[np.float64]:
        """Size of a voxel in mm along W, along H and between slices."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)


class Slices(NamedTuple):
    """Slices of one volume or array, with brain, labels and metadata.

    Parameters
    ----------
    images : ndarray of shape (n, n_contrasts, H, W)
        Images: float32 for a volume, the array's type for an array.
    brain : ndarray of bool, shape (n, H, W)
        The brain.
    labels : ndarray of int8, shape (n, H, W), or None
        1 on an anomaly; elsewhere 0 in the brain and -1 outside it. None if there are
        none or they were not requested.
    z : ndarray of int, shape (n,), or None
        Index of each slice in its volume; None for an array.
    volume : str or None
        Name of the volume; None for an array.
    patient : str or None
        Patient of the volume; None for an array.
    places : ndarray of int, shape (n,), or slice
        Indices of the slices in the stack or array.
    """

    images: NDArray
    brain: NDArray[np.bool_]
    labels: NDArray[np.int8] | None = None
    z: NDArray[np.intp] | None = None
    volume: str | None = None
    patient: str | None = None
    places: NDArray[np.intp] | slice = slice(None)


@dataclass(frozen=True)
class ReadingRecord:
    """Findings of the reader about the files of a stack."""

    # volumes that could not be read, with the reason
    left_out: dict[str, str] = field(default_factory=dict)
    # mask volume in ml of each volume, if masks were read
    lesion_ml: dict[str, float] = field(default_factory=dict)
    unread: tuple[Path, ...] = ()  # image files that were not read


class VolumeStep(ABC):
    """One preprocessing step of a whole volume; small, immutable and picklable.

    A step works within slices: it never changes their number or order. In all methods,
    ``grid`` is the grid *before* the step. The defaults of this class leave everything
    unchanged. Input arrays must not be modified in place.
    """

    @abstractmethod
    def images(
        self, images: NDArray[np.float32], brain: NDArray[np.bool_], grid: Grid
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        """Return the new images (n_z, K, H', W') of a whole volume, and their brain.

        The brain is where any contrast of the new images is not exactly 0. A step may
        return None instead: the brain is then computed from the new images.
        """

    def labels(
        self, labels: NDArray[np.int8], brain: NDArray[np.bool_], grid: Grid
    ) -> NDArray[np.int8]:
        """Return the new labels (n_z, H', W'), given the brain of the *new* images.

        Labels are -1 outside the brain, except for anomalies.
        """
        return labels

    def grid(self, grid: Grid) -> Grid:
        """Return the grid after the step."""
        return grid

    def invert(self, maps: NDArray, grid: Grid) -> NDArray:
        """Resample maps of some slices, (n, H', W'), to the grid before the step.

        Floating-point maps use bilinear interpolation, others nearest-neighbour.
        """
        return maps
