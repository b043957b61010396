"""Correction of the bias field by N4."""

from typing import Any

from skadm.raw._itk import import_sitk, one_thread

# The field is smooth: N4 fits it on a coarse grid, and gives it back on the fine one.
_FITTED_ON = 4.0  # mm
_ITERATIONS = (50, 50, 50, 50)  # from coarse to fine control points


@one_thread()
def correct_bias_field(image: Any) -> Any:
    """Divide a scan by its bias field, as N4 (Tustison et al. 2010) estimates it; float32.

    The field is fitted where the image is bright (Otsu's threshold) and positive, on a grid
    of about 4 mm. A constant image is a ValueError.
    """
    sitk = import_sitk()
    image = sitk.Cast(image, sitk.sitkFloat32)
    extremes = sitk.MinimumMaximumImageFilter()
    extremes.Execute(image)
    if not extremes.GetMinimum() < extremes.GetMaximum():
        raise ValueError(f"all voxels are {extremes.GetMinimum():g}: nothing was scanned")
    mask = sitk.And(sitk.OtsuThreshold(image, 0, 1), image > 0)
    factors = [
        # At least four voxels of an axis are left, as many as a spline has control points.
        max(1, min(int(_FITTED_ON / spacing), size // 4))
        for spacing, size in zip(image.GetSpacing(), image.GetSize())
    ]
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetMaximumNumberOfIterations(_ITERATIONS)
    corrector.Execute(sitk.Shrink(image, factors), sitk.Shrink(mask, factors))
    field = sitk.Exp(corrector.GetLogBiasFieldAsImage(image))
    return image / sitk.Cast(field, sitk.sitkFloat32)
