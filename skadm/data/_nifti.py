"""Reading single NIfTI files, with errors that name the file."""

import gzip
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

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
                "the files of a patient must be co-registered and resampled to one grid "
                "(skadm prepare does it)"
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


def write_volume(path: Path, voxels: NDArray, affine: NDArray[np.float64]) -> None:
    """Write slices as a NIfTI file, whose two forms of geometry are the same.

    Parameters
    ----------
    path : Path
        A .nii.gz file.
    voxels : ndarray of shape (n_slices, H, W)
        The voxels, in the type that they are stored as.
    affine : ndarray of shape (4, 4)
        From voxel indices, in the order of the file, to mm.
    """
    image = nib.Nifti1Image(voxels.T, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    write_image(path, image)


def write_image(path: Path, image: nib.Nifti1Image) -> None:
    """Write to a temporary file beside, then rename: no half-written file is ever seen.

    Parameters
    ----------
    path : Path
        A .nii.gz file.
    image : nibabel.Nifti1Image
        The image.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # Level 1, as nibabel; no time stamp, so that equal images make equal files.
        temporary.write_bytes(gzip.compress(image.to_bytes(), 1, mtime=0))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
