"""Image files that SimpleITK reads and nibabel does not, such as .mha and .nrrd."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skadm._extras import import_extra

SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr")
# In NIfTI x and y increase to the right and the front, in ITK to the left and the back.
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])


def import_sitk() -> Any:
    """Import SimpleITK; an ImportError names the extra to install."""
    scans = "raw scans and .mha or .nrrd files need"
    return import_extra("SimpleITK", "SimpleITK", "raw", scans)


def affine_of(image: Any) -> NDArray[np.float64]:
    """Return the NIfTI affine (4, 4; RAS+, mm) of a SimpleITK image or reader."""
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    affine[:3, :3] = RAS_TO_LPS @ direction * np.array(image.GetSpacing())
    affine[:3, 3] = RAS_TO_LPS @ np.array(image.GetOrigin())
    return affine


def read_header(path: Path) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Read the size along x, y, z and the affine (RAS+, mm) of a file, not its voxels.

    Raises a ValueError if the file is not readable or not a 3-D scalar image.
    """
    sitk = import_sitk()
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise ValueError(
            f"{path}: not a readable image file ({_reason(error)}); fetch it again"
        ) from error
    if reader.GetDimension() != 3 or reader.GetNumberOfComponents() != 1:
        raise ValueError(
            f"{path}: {reader.GetDimension()} dimensions and "
            f"{reader.GetNumberOfComponents()} values per voxel; expected a "
            "three-dimensional volume: save each contrast (and time point) as a "
            "separate file"
        )
    return reader.GetSize(), affine_of(reader)


def read_voxels(path: Path) -> NDArray:
    """Read the voxels (x, y, z) of a file; raise a ValueError if it is damaged."""
    sitk = import_sitk()
    try:
        return sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T
    except RuntimeError as error:
        raise ValueError(
            f"{path}: the voxels cannot be read, since the file is truncated or damaged "
            f"({_reason(error)}); fetch it again"
        ) from error


def _reason(error: RuntimeError) -> str:
    return str(error).strip().splitlines()[-1].strip() if str(error).strip() else "unknown"
