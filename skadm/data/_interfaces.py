"""What stacks, volumes and preprocessing steps ask of each other."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Grid(NamedTuple):
    """Where the pixels of a volume's slices lie.

    Parameters
    ----------
    shape : tuple of int
        Height and width (H, W) of a slice, in pixels.
    affine : ndarray of float64, shape (4, 4)
        From voxel indices in the order of the file (W, H, slice) to millimetres.
    """

    shape: tuple[int, int]
    affine: NDArray[np.float64]

    @property
    def voxel_size(self) -> NDArray[np.float64]:
        """Size of a voxel in mm along W, along H and between slices."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)


class Slices(NamedTuple):
    """Slices of one volume, or of an array, with all that is found in reading them.

    Parameters
    ----------
    images : ndarray of shape (n, n_contrasts, H, W)
        Images: float32 of a volume, of the type of an array.
    brain : ndarray of bool, shape (n, H, W)
        The brain.
    labels : ndarray of int8, shape (n, H, W), or None
        1 on an anomaly; elsewhere 0 in the brain and -1 outside it. None: there are none,
        or they were not asked for.
    z : ndarray of int, shape (n,), or None
        Index of each slice in its volume; None of an array.
    volume : str or None
        Name of the volume; None of an array.
    patient : str or None
        Patient of the volume; None of an array.
    places : ndarray of int, shape (n,), or slice
        Where the slices are in the stack or array that is read.
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
    """What a reader noticed of the files of a stack.

    Parameters
    ----------
    left_out : dict of str to str
        Volumes that were left out since they could not be read, and why.
    lesion_ml : dict of str to float
        Millilitres that the mask of each volume marks, if masks were read.
    unread : tuple of Path
        Image files that were not read.
    """

    left_out: dict[str, str] = field(default_factory=dict)
    lesion_ml: dict[str, float] = field(default_factory=dict)
    unread: tuple[Path, ...] = ()


class VolumeStep(Protocol):
    """One preprocessing step of a whole volume; small, immutable and picklable.

    A step works within slices: it never changes their number or order. In all methods,
    ``grid`` is the grid *before* the step.
    """

    def images(
        self, images: NDArray[np.float32], brain: NDArray[np.bool_], grid: Grid
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        """Return the new images and their brain.

        Parameters
        ----------
        images : ndarray of float32, shape (n_z, K, H, W)
            All slices of the volume; not to be changed in place.
        brain : ndarray of bool, shape (n_z, H, W)
            Their brain; not to be changed in place.
        grid : Grid
            The grid before the step.

        Returns
        -------
        images : ndarray of float32, shape (n_z, K, H', W')
            The new images.
        brain : ndarray of bool, shape (n_z, H', W'), or None
            Where any contrast of the new images is not exactly 0. A step that does not
            know it returns None: it is then found in the new images.
        """

    def labels(
        self, labels: NDArray[np.int8], brain: NDArray[np.bool_], grid: Grid
    ) -> NDArray[np.int8]:
        """Return the new labels.

        Parameters
        ----------
        labels : ndarray of int8, shape (n_z, H, W)
            Labels, -1 outside the brain but for anomalies; not to be changed in place.
        brain : ndarray of bool, shape (n_z, H', W')
            The brain of the *new* images.
        grid : Grid
            The grid before the step.

        Returns
        -------
        ndarray of int8, shape (n_z, H', W')
            The new labels.
        """

    def grid(self, grid: Grid) -> Grid:
        """Return the grid after the step.

        Parameters
        ----------
        grid : Grid
            The grid before the step.

        Returns
        -------
        Grid
            The grid after the step.
        """

    def invert(self, maps: NDArray, grid: Grid) -> NDArray:
        """Take maps back to the grid before the step.

        Parameters
        ----------
        maps : ndarray of shape (n, H', W')
            Maps of some slices after the step.
        grid : Grid
            The grid before the step.

        Returns
        -------
        ndarray of shape (n, H, W)
            The maps: interpolated bilinearly if they are floating-point numbers, else
            taken from the nearest pixel.
        """
