"""Reading single NIfTI files, with errors that name the file."""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from skadm.data._gzip import decompress

_AFFINE_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """What the header of a three-dimensional NIfTI file says.

    Parameters
    ----------
    path : Path
        The file.
    shape : tuple of int
        Size along the three voxel axes.
    affine : ndarray of float64, shape (4, 4)
        From voxel indices to mm.
    """

    path: Path
    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    def require_same_grid(self, other: "NiftiHeader") -> None:
        """Raise a ValueError unless the other file lies on the same grid.

        Parameters
        ----------
        other : NiftiHeader
            Header of the other file.
        """
        if other.shape != self.shape:
            raise ValueError(
                f"{other.path} has shape {other.shape}, but {self.path} has {self.shape}: "
                "the files of a patient must be co-registered and resampled to one grid"
            )
        difference = float(np.abs(other.affine - self.affine).max())
        if difference > _AFFINE_TOLERANCE:
            raise ValueError(
                f"{other.path} and {self.path} have different affines (by up to "
                f"{difference:.3g}): the files of a patient must be co-registered and "
                "resampled to one grid"
            )


def _open(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        image = nib.load(path)
    except (
        nib.filebasedimages.ImageFileError,
        nib.spatialimages.HeaderDataError,
        OSError,
        EOFError,
        zlib.error,
    ) as error:
        raise ValueError(
            f"{path}: not a readable NIfTI file ({error}); fetch it again"
        ) from error
    if not isinstance(image, nib.Nifti1Pair):
        raise ValueError(
            f"{path}: a {type(image).__name__}, not a NIfTI file; convert it to .nii.gz"
        )
    return image


def inspect(path: Path) -> NiftiHeader:
    """Read and check the header of a file.

    Parameters
    ----------
    path : Path
        A .nii or .nii.gz file.

    Returns
    -------
    NiftiHeader
        Shape and affine.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a NIfTI file of a three-dimensional scalar image.
    """
    image = _open(path)
    if len(image.shape) != 3 or 0 in image.shape:
        raise ValueError(
            f"{path}: shape {image.shape}; expected a three-dimensional volume: save each "
            "contrast (and time point) as a file of its own"
        )
    if image.get_data_dtype().kind not in "iuf":
        raise ValueError(
            f"{path}: voxels of type {image.get_data_dtype()}; expected real numbers"
        )
    if not np.isfinite(image.affine).all() or np.linalg.det(image.affine[:3, :3]) == 0:
        raise ValueError(f"{path}: its affine is singular or not finite; repair the header")
    return NiftiHeader(path, image.shape, image.affine)


def read_slices(path: Path) -> NDArray:
    """Decode a file into slices.

    Parameters
    ----------
    path : Path
        A file that `inspect` accepts.

    Returns
    -------
    ndarray of shape (n_slices, H, W)
        The voxels, with scaling applied, in the file's own type or float32.

    Raises
    ------
    ValueError
        If the file is truncated or broken, or holds NaN or infinite voxels.
    """
    image = _open(path)
    try:
        if path.suffix.lower() == ".gz" and isinstance(image, nib.Nifti1Image):
            # In one call: as a stream, through Python, it takes more than twice as long.
            image = type(image).from_bytes(decompress(path.read_bytes()))
        voxels = np.asanyarray(image.dataobj)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(
            f"{path}: its voxels cannot be read, the file is truncated or damaged "
            f"({error}); fetch it again"
        ) from error
    if voxels.dtype.kind == "f":
        with np.errstate(over="ignore"):
            voxels = voxels.astype(np.float32, copy=False)
        if not np.isfinite(voxels).all():
            raise ValueError(
                f"{path}: holds NaN or infinite voxels; replace them (background is 0)"
            )
    # NIfTI stores the first axis fastest: the transpose is contiguous, nothing is copied.
    return voxels.T


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Decode a mask: any label greater than 0 is an anomaly.

    Parameters
    ----------
    path : Path
        A file that `inspect` accepts.

    Returns
    -------
    ndarray of bool, shape (n_slices, H, W)
        True on an anomaly.
    """
    return read_slices(path) > 0
