"""A volume as a radiologist is used to see it: turned, and cropped to the brain."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from numpy.typing import NDArray

from skadm.data._interfaces import Grid

_MARGIN = 3  # voxels around the brain
_LONGEST = 256  # voxels along an axis; more would make pages large, not better to read


@dataclass(frozen=True)
class Frame:
    """How maps of a volume are turned, cropped and thinned out for display.

    A displayed array has the axes (z, y, x): x runs to the patient's left, y to the back, z
    upwards. So a slice along z, drawn as it is, has the front on top and the patient's
    right on the left. Oblique axes go to the nearest of these.
    """

    turn: NDArray  # (3, 2), orientation transform of nibabel, from file order
    box: tuple[slice, slice, slice]  # what is kept along x, y and z
    # (4, 4), from displayed voxels (x, y, z) to mm (right, anterior, superior)
    affine: NDArray[np.float64]
    shape: tuple[int, int, int]  # displayed voxels along x, y and z

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """Size of a displayed voxel in mm along x, y and z."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    def show(self, maps: NDArray) -> NDArray:
        """Turn and crop maps of shape (n_slices, H, W) to (z, y, x)."""
        return np.ascontiguousarray(apply_orientation(maps.T, self.turn)[self.box].T)

    def voxel_at(self, millimetres: NDArray) -> tuple[int, int, int]:
        """Find the displayed voxel (x, y, z) nearest to a point in mm."""
        place = np.linalg.solve(self.affine, np.append(millimetres, 1.0))[:3]
        x, y, z = np.clip(np.rint(place), 0, np.array(self.shape) - 1).astype(int).tolist()
        return x, y, z


def frame_of(grid: Grid, brain: NDArray[np.bool_]) -> Frame:
    """Make the frame of a volume around its brain; a ValueError if there is none."""
    if not brain.any():
        raise ValueError("no brain pixel: everything is exactly 0, which means background")
    turn = ornt_transform(io_orientation(grid.affine), axcodes2ornt("LPS"))
    turned = apply_orientation(brain.T, turn)
    box = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        inside = np.flatnonzero(turned.any(axis=others))
        start, stop = max(inside[0] - _MARGIN, 0), inside[-1] + _MARGIN + 1
        box.append(slice(start, stop, -(-(stop - start) // _LONGEST)))
    crop = np.diag([*(part.step for part in box), 1.0])
    crop[:3, 3] = [part.start for part in box]
    x, y, z = box
    return Frame(
        turn,
        (x, y, z),
        grid.affine @ inv_ornt_aff(turn, brain.T.shape) @ crop,
        turned[x, y, z].shape,
    )


class Plane(NamedTuple):
    """How a plane is cut out of a displayed array.

    `across`, `down` and `through` are axes (0: x, 1: y, 2: z): from left to right, from top
    to bottom, and of the slices. The sides are letters: right, left, anterior, posterior,
    superior, inferior.
    """

    name: str
    across: int
    down: int
    through: int
    left: str
    right: str
    top: str
    bottom: str

    def cut(self, voxels: NDArray, point: tuple[int, int, int]) -> NDArray:
        """Cut the plane through a point (x, y, z) out of an array (z, y, x)."""
        plane = voxels.take(point[self.through], axis=2 - self.through)
        # Up is up: z runs upwards, rows downwards.
        return plane[::-1] if self.down == 2 else plane


PLANES = (
    Plane("axial", 0, 1, 2, "R", "L", "A", "P"),
    Plane("coronal", 0, 2, 1, "R", "L", "S", "I"),
    Plane("sagittal", 1, 2, 0, "A", "P", "S", "I"),
)
