"""Onto one grid of cubic voxels, in a single interpolation."""

from typing import Any

import numpy as np

from skadm.raw._itk import MOST_VOXELS, import_sitk


def isotropic_grid(image: Any, spacing: float = 1.0) -> Any:
    """Grid of cubic voxels over the field of view of an image, in axial slices.

    The image may be oblique, and then the grid is; axes are permuted and flipped to run to
    the left, the back and the top, as those of BraTS. The grid is an empty uint8 image,
    which begins at the same corner as the field of view; `spacing` is in mm. More voxels
    than a head needs are a ValueError.
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
    """Interpolate an image linearly on a grid, float32; 0 outside its field of view.

    `transform` goes from points of the grid to points of the image; None: they are the
    same.
    """
    sitk = import_sitk()
    return sitk.Resample(
        image, grid, transform or sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32
    )


def resample_mask(mask: Any, grid: Any) -> Any:
    """A mask on another grid: inside is where more than half of it is."""
    sitk = import_sitk()
    return resample(sitk.Cast(mask, sitk.sitkFloat32), grid) > 0.5


def field_of_view(image: Any, grid: Any, transform: Any) -> Any:
    """Where on a grid an image was scanned, uint8, by the transform of `resample`."""
    sitk = import_sitk()
    everywhere = sitk.Image(image.GetSize(), sitk.sitkUInt8) + 1
    everywhere.CopyInformation(image)
    return sitk.Resample(everywhere, grid, transform, sitk.sitkNearestNeighbor)
