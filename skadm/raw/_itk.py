"""SimpleITK, and the way of images into it and out of it.

Files are read and written by `skadm.data`, so that prepared images lie where nibabel, and
with it all of this package, sees them.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skadm.data._image_files import image_on, inspect, read_slices, write_nifti
from skadm.data._itk_files import RAS_TO_LPS, affine_of, import_sitk

# 0.4 mm in a cube of 25 cm has as many; more is an error in a header, or an attack.
MOST_VOXELS = 2**28
# Cosine between axes that headers, in float32, may have for a right angle.
_SHEAR_TOLERANCE = 1e-3


@contextmanager
def one_thread() -> Iterator[None]:
    """Let SimpleITK work in one thread: its sums depend on how many there are."""
    settings = import_sitk().ProcessObject
    before = settings.GetGlobalDefaultNumberOfThreads()
    settings.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        settings.SetGlobalDefaultNumberOfThreads(before)


def read_image(path: Path) -> Any:
    """Read an image file as float32, in the orientation LPS.

    It must be a finite, three-dimensional volume with axes at right angles, and have no
    more voxels than a scan of a head can have.
    """
    header = inspect(path)
    if math.prod(header.shape) > MOST_VOXELS:
        raise ValueError(
            f"{path}: {header.shape} voxels are too many for a head (more than "
            f"{MOST_VOXELS}); repair the header, or resample the image"
        )
    try:
        return to_itk(read_slices(path).astype(np.float32), header.affine)
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path}: {error}") from error


def write_image(path: Path, image: Any, dtype: type[np.generic]) -> None:
    """Write an image as a .nii.gz file, with voxels of a NumPy type."""
    voxels = import_sitk().GetArrayFromImage(image).astype(dtype)
    affine = affine_of(image)
    nifti = image_on(affine, voxels)
    # Both forms of geometry are the same.
    nifti.set_qform(affine, 1)
    nifti.set_sform(affine, 1)
    write_nifti(path, nifti)


def to_itk(voxels: NDArray, affine: NDArray[np.float64]) -> Any:
    """Make an image of slices (n_slices, H, W).

    The affine goes from voxel indices, in the order of the file, to mm. Axes that are not
    at right angles, which ITK cannot express, are a ValueError.
    """
    axes = RAS_TO_LPS @ affine[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    direction = axes / spacing
    if np.abs(direction.T @ direction - np.eye(3)).max() > _SHEAR_TOLERANCE:
        raise ValueError(
            "its axes are not at right angles; resample the image to a grid without shear"
        )
    # The nearest rotation: ITK wants exactly what the header says up to rounding.
    left, _, right = np.linalg.svd(direction)
    image = import_sitk().GetImageFromArray(np.ascontiguousarray(voxels))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((left @ right).ravel().tolist())
    image.SetOrigin((RAS_TO_LPS @ affine[:3, 3]).tolist())
    return image
