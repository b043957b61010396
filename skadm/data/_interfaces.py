"""What stacks, volumes and preprocessing steps ask of each other."""

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


class VolumeStep(Protocol):
    """One preprocessing step of a whole volume; small, immutable and picklable.

    A step works within slices: it never changes their number or order. In all methods,
    ``grid`` is the grid *before* the step.
    """

    def images(self, images: NDArray[np.float32], grid: Grid) -> NDArray[np.float32]:
        """Return the new images.

        Parameters
        ----------
        images : ndarray of float32, shape (n_z, K, H, W)
            All slices of the volume; not to be changed in place.
        grid : Grid
            The grid before the step.

        Returns
        -------
        ndarray of float32, shape (n_z, K, H', W')
            The new images.
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


class Volume(Protocol):
    """What a `SliceStack` asks of a volume."""

    @property
    def patient(self) -> str:
        """Patient the volume belongs to."""

    @property
    def session(self) -> str:
        """Session of the patient; "" where none is known."""

    @property
    def name(self) -> str:
        """Name of the volume."""

    @property
    def contrasts(self) -> tuple[str, ...]:
        """Names of the contrasts."""

    @property
    def n_slices(self) -> int:
        """Number of slices."""

    @property
    def grid(self) -> Grid:
        """Slice size and affine."""

    @property
    def has_labels(self) -> bool:
        """Whether `read` returns labels."""

    @property
    def origin(self) -> "Volume":
        """The volume on the grid it was first given on; `invert` leads to that grid."""

    def read(self) -> tuple[NDArray[np.float32], NDArray[np.int8] | None]:
        """Return images (n_z, K, H, W), labels (n_z, H, W) or None; change neither.

        Labels are -1 outside the brain, but for anomalies: these are 1 everywhere.
        """

    def read_with_origin_brain(
        self,
    ) -> tuple[NDArray[np.float32], NDArray[np.int8] | None, NDArray[np.bool_]]:
        """Return what `read` does, and the brain on the grid of `origin`, in one pass."""

    def invert(self, maps: NDArray) -> NDArray:
        """Take maps (n, H, W) to the grid of `origin`."""
