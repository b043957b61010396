"""Image files that SimpleITK reads and nibabel does not, such as .mha and .nrrd."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr")
# NIfTI counts x and y to the right and the front, ITK to the left and the back.
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])


def import_sitk() -> Any:
    """Return SimpleITK, or say how to install it.

    Returns
    -------
    module
        SimpleITK.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        import SimpleITK
    except ImportError as error:
        raise ImportError(
            "raw scans and .mha or .nrrd files need SimpleITK, which is not installed: pip "
            "install skadm[raw]"
        ) from error
    return SimpleITK


def affine_of(image: Any) -> NDArray[np.float64]:
    """Affine of an image, or of a reader of one, as NIfTI has it.

    Parameters
    ----------
    image : SimpleITK.Image or SimpleITK.ImageFileReader
        Three-dimensional.

    Returns
    -------
    ndarray of float64, shape (4, 4)
        From voxel indices (x, y, z) to mm.
    """
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    affine[:3, :3] = RAS_TO_LPS @ direction * np.array(image.GetSpacing())
    affine[:3, 3] = RAS_TO_LPS @ np.array(image.GetOrigin())
    return affine


def read_header(path: Path) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Read where the voxels of a file lie, without its voxels.

    Parameters
    ----------
    path : Path
        A file with one of `SUFFIXES`.

    Returns
    -------
    shape : tuple of int
        Size along x, y, z.
    affine : ndarray of shape (4, 4)
        From voxel indices to mm (RAS+).

    Raises
    ------
    ValueError
        If it cannot be read, or is no scalar image of three dimensions.
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
            f"{reader.GetNumberOfComponents()} values a voxel; expected a "
            "three-dimensional volume: save each contrast (and time point) as a file of "
            "its own"
        )
    return reader.GetSize(), affine_of(reader)


def read_voxels(path: Path) -> NDArray:
    """Decode a file.

    Parameters
    ----------
    path : Path
        A file that `read_header` accepts.

    Returns
    -------
    ndarray of shape (x, y, z)
        Its voxels.

    Raises
    ------
    ValueError
        If it is truncated or damaged.
    """
    sitk = import_sitk()
    try:
        return sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T
    except RuntimeError as error:
        raise ValueError(
            f"{path}: its voxels cannot be read, the file is truncated or damaged "
            f"({_reason(error)}); fetch it again"
        ) from error


def _reason(error: RuntimeError) -> str:
    return str(error).strip().splitlines()[-1].strip() if str(error).strip() else "unknown"
