"""Rigid co-registration by mutual information."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skadm.raw._itk import import_sitk, one_thread

_BINS = 32
_SAMPLES = 100_000  # voxels of the brain that the metric looks at, on the finest level
_SHRINK = (4, 2, 1)
_SMOOTHING = (4.0, 2.0, 0.0)  # mm
_SEED = 1
# What the brain is compared in: with its rim of fluid, without the scalp, whose fat lies
# displaced by the chemical shift, differently on each contrast.
_RIM = 4.0  # mm


@dataclass(frozen=True, eq=False)
class RigidTransform:
    """Where a contrast lies in the scanner, from the reference's point of view."""

    # SimpleITK.Euler3DTransform from points of the reference to points of the contrast
    # (ITK's convention: the one that resampling takes)
    transform: Any
    metric: float  # Mattes mutual information that was reached
    start: str  # what the search started from: the "header", or the image "centres"

    @property
    def matrix(self) -> NDArray[np.float64]:
        """4 × 4, in ITK's coordinates (left, posterior, superior; mm)."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.array(self.transform.GetMatrix()).reshape(3, 3)
        matrix[:3, 3] = self.transform.TransformPoint((0.0, 0.0, 0.0))
        return matrix

    @property
    def degrees(self) -> float:
        """Angle of the rotation."""
        cosine = (np.trace(self.matrix[:3, :3]) - 1) / 2
        return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


@one_thread()
def register_rigidly(reference: Any, moving: Any, brain: Any) -> RigidTransform:
    """Find the rotation and translation between two scans of one head.

    Maximises Mattes mutual information of a random sample of the brain's voxels, with a
    fixed seed and in one thread, so that the same images give the same result. The search
    starts where the headers put the images, or with their centres on each other if that
    fits better, and goes from smooth to sharp images. Scans are float32; the brain is a
    mask on the reference's grid. Scans that do not overlap are a ValueError.
    """
    sitk = import_sitk()
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    # By default gradients are smoothed over the longest side of a voxel in all directions:
    # on thick slices they then point away from the maximum.
    method.SetMetricUseMovingImageGradientFilter(False)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricFixedMask(_with_rim(brain))
    # Samples are drawn everywhere; those outside the mask do not count.
    size = int(sitk.GetArrayViewFromImage(brain).sum())
    shares = [min(1.0, _SAMPLES * factor**3 / size) for factor in _SHRINK]
    method.SetMetricSamplingPercentagePerLevel(shares, _SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=1e-3, numberOfIterations=100
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(_shrinkable(reference))
    method.SetSmoothingSigmasPerLevel(_SMOOTHING)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    start, transform = _best_start(sitk, method, reference, moving)
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(reference, moving)
    except RuntimeError as error:
        raise ValueError(f"registration failed: {_reason(error)}") from error
    return RigidTransform(transform, -method.GetMetricValue(), start)


def _best_start(sitk: Any, method: Any, reference: Any, moving: Any) -> tuple[str, Any]:
    centre = _centre(reference)
    starts = {"header": np.zeros(3), "centres": _centre(moving) - centre}
    values, transforms = {}, {}
    for name, translation in starts.items():
        transforms[name] = sitk.Euler3DTransform()
        transforms[name].SetCenter(centre.tolist())
        transforms[name].SetTranslation(translation.tolist())
        method.SetInitialTransform(transforms[name], inPlace=True)
        try:
            values[name] = method.MetricEvaluate(reference, moving)
        except RuntimeError:  # no voxel in common
            continue
    if not values:
        raise ValueError(
            "the scans do not overlap, neither as their headers say nor centred"
        )
    best = min(values, key=lambda name: values[name])
    return best, transforms[best]


def _centre(image: Any) -> NDArray[np.float64]:
    middle = [(size - 1) / 2 for size in image.GetSize()]
    return np.array(image.TransformContinuousIndexToPhysicalPoint(middle))


def _with_rim(brain: Any) -> Any:
    radius = [round(_RIM / spacing) for spacing in brain.GetSpacing()]
    return import_sitk().BinaryDilate(brain, radius)


def _shrinkable(image: Any) -> list[int]:
    # ITK shrinks all axes alike; a stack of few thick slices must keep some of them.
    return [min(factor, max(1, min(image.GetSize()) // 8)) for factor in _SHRINK]


def _reason(error: RuntimeError) -> str:
    return str(error).strip().splitlines()[-1]
