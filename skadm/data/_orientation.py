"""Reorientation of all volumes to axial slices in radiological convention."""

from dataclasses import dataclass

import numpy as np
from nibabel import orientations
from numpy.typing import NDArray

# Voxel axes run to the left, to the back and to the top of the head. Slices are then
# axial, and a slice (H, W) shows the face up and the patient's right on the left.
CANONICAL = "LPS"


@dataclass(frozen=True)
class Orientation:
    """Directions of the voxel axes of a file, and conversion to and from `CANONICAL`.

    Oblique axes count as the nearest body axis. `axes` holds, for each voxel axis, the
    canonical axis and its direction, 1 or -1.
    """

    axes: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, affine: NDArray[np.float64]) -> "Orientation":
        """Compute the orientation of a file from its affine (voxel indices to mm, RAS+)."""
        transform = orientations.ornt_transform(
            orientations.io_orientation(affine), orientations.axcodes2ornt(CANONICAL)
        )
        return cls(tuple((int(axis), int(sign)) for axis, sign in transform))

    def to_canonical(self, voxels: NDArray) -> NDArray:
        """Reorient voxels (x, y, z) of the file; nothing is copied or interpolated."""
        return orientations.apply_orientation(voxels, np.array(self.axes))

    def from_canonical(self, voxels: NDArray) -> NDArray:
        """Reorient canonical voxels (x, y, z) to the orientation of the file."""
        inverse = [(0, 1)] * 3
        for axis, (canonical_axis, sign) in enumerate(self.axes):
            inverse[canonical_axis] = (axis, sign)
        return orientations.apply_orientation(voxels, np.array(inverse))

    def canonical_shape(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """Return the shape of the canonical voxels, given the shape of the file."""
        lengths = [0, 0, 0]
        for axis, (canonical_axis, _) in enumerate(self.axes):
            lengths[canonical_axis] = int(shape[axis])
        return lengths[0], lengths[1], lengths[2]

    def canonical_affine(
        self, affine: NDArray[np.float64], shape: tuple[int, ...]
    ) -> NDArray[np.float64]:
        """Return the affine of the canonical voxels, given shape and affine of the file."""
        return affine @ orientations.inv_ornt_aff(np.array(self.axes), shape)


def axis_codes(affine: NDArray[np.float64]) -> str:
    """Return the axis codes of an affine (RAS+), such as LPS."""
    return "".join(orientations.aff2axcodes(affine))


def spans_space(affine: NDArray[np.float64]) -> bool:
    """Whether the affine is non-singular, up to rounding."""
    with np.errstate(all="ignore"):  # numbers whose squares overflow
        determinant = np.linalg.det(affine[:3, :3])
        return bool(determinant) and None not in orientations.aff2axcodes(affine)
