"""Onto one grid of cubic voxels, in a single interpolation."""

from typing import Any

import numpy as np

from skadm.raw._itk import MOST_VOXELS, import_sitk


def isotropic_grid(image: Any, spacing: float = 1.0) -> Any:
    """Grid of cubic voxels over the field of view of an image, in axial slices.

    Parameters
    ----------
    image : SimpleITK.Image
        The image. It may be oblique, and then the grid is; axes are permuted and flipped to
        run to the left, the back and the top, as those of BraTS.
    spacing : float, default=1.0
        Side of a voxel in mm.

    Returns
    -------
    SimpleITK.Image
        An empty image, uint8. It begins at the same corner as the field of view.

    Raises
    ------
    ValueError
        If it would have more voxels than a head needs.
    """
    sitk = import_sitk()
    image = sitk.DICOMOrient(image, "LPS")
    old = np.array(image.GetSpacing())
    extent = old * image.GetSize()
    # Not one voxel more for what rounding adds to a whole number.
    size = np.maximum(1, np.ceil(extent / spacing - 1e-3)).astype(np.int64)
    if np.prod(size.astype(float)) > MOST_VOXELS:
        raise ValueError(
            f"its field of view of {' × '.join(f'{mm:.0f}' for mm in extent)} mm has more "
            f"than {MOST_VOXELS} voxels of {spacing:g} mm: the header is wrong, or the "
            "spacing too small"
        )
    grid = sitk.Image(size.tolist(), sitk.sitkUInt8)
    grid.SetSpacing([spacing] * 3)
    grid.SetDirection(image.GetDirection())
    # Corners coincide, so the centres of the first voxels do not.
    first = (spacing / old - 1) / 2
    grid.SetOrigin(image.TransformContinuousIndexToPhysicalPoint(first.tolist()))
    return grid


def resample(image: Any, grid: Any, transform: Any = None) -> Any:
    """Interpolate an image linearly on a grid.

    Parameters
    ----------
    image : SimpleITK.Image
        The image.
    grid : SimpleITK.Image
        The grid.
    transform : SimpleITK.Transform, default=None
        From points of the grid to points of the image. None: they are the same.

    Returns
    -------
    SimpleITK.Image
        Of type float32, 0 outside the image's field of view.
    """
    sitk = import_sitk()
    return sitk.Resample(
        image, grid, transform or sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32
    )


def resample_mask(mask: Any, grid: Any, transform: Any = None) -> Any:
    """Interpolate a mask on a grid: inside is where more than half of it is.

    Parameters
    ----------
    mask : SimpleITK.Image
        0 or 1.
    grid : SimpleITK.Image
        The grid.
    transform : SimpleITK.Transform, default=None
        From points of the grid to points of the mask. None: they are the same.

    Returns
    -------
    SimpleITK.Image
        uint8, 0 or 1.
    """
    sitk = import_sitk()
    return resample(sitk.Cast(mask, sitk.sitkFloat32), grid, transform) > 0.5


def field_of_view(image: Any, grid: Any, transform: Any) -> Any:
    """Find where on a grid an image was scanned.

    Parameters
    ----------
    image : SimpleITK.Image
        The image.
    grid : SimpleITK.Image
        The grid.
    transform : SimpleITK.Transform
        From points of the grid to points of the image.

    Returns
    -------
    SimpleITK.Image
        uint8, 0 or 1.
    """
    sitk = import_sitk()
    everywhere = sitk.Image(image.GetSize(), sitk.sitkUInt8) + 1
    everywhere.CopyInformation(image)
    return sitk.Resample(everywhere, grid, transform, sitk.sitkNearestNeighbor)
