"""Lesions of the phantom: location, shape and mass effect.

All lengths are millimetres in the space of the template.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

OEDEMA, RIM, CORE, INFARCT = range(4)
N_PARTS = 4

# Random texture of a given correlation length (mm) at the brain pixels.
Texture = Callable[[float], np.ndarray]


@dataclass(frozen=True)
class Lesion:
    """A lesion, independent of any brain."""

    centre: np.ndarray  # (3,): its middle
    radius: float  # of a ball of the same volume
    severity: float  # change of the tissue inside, between 0 and 1

    def displace(self, points: np.ndarray) -> np.ndarray:
        """Return the points (3, ...) of the template to read instead of ``points``."""
        return points

    def parts(
        self,
        rng: np.random.Generator,
        points: np.ndarray,
        white: np.ndarray,
        texture: Texture,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the fractions of the lesion's parts and the extent of the whole lesion.

        Both are given at ``points`` (3, n_pixels): as (n_pixels, 4) and (n_pixels,).
        """
        raise NotImplementedError


class Tumour(Lesion):
    """Oedema in white matter around an enhancing rim with a necrotic core."""

    def displace(self, points):
        offset = points - self.centre.reshape((3,) + (1,) * (points.ndim - 1))
        squared = (offset**2).sum(axis=0) / self.radius**2
        return points - 0.22 * self.severity * offset * np.exp(-squared)

    def parts(self, rng, points, white, texture):
        offset = points - self.centre[:, np.newaxis]
        lumps = texture(0.55 * self.radius)
        depth = 1 - np.sqrt((offset**2).sum(axis=0)) / self.radius
        depth = depth + 0.2 * np.clip(lumps, -1.5, 1.5) + 0.45 * (white - 0.55)
        oedema = _soft(depth * self.radius, 1.2)

        core_radius = self.radius * rng.uniform(0.35, 0.65)
        shift = rng.normal(0, 0.2, size=3) * self.radius
        distance = np.sqrt(((offset - shift[:, np.newaxis]) ** 2).sum(axis=0))
        core_depth = (
            core_radius - distance + 0.25 * core_radius * texture(0.4 * self.radius)
        )
        solid = _soft(core_depth, 0.7)
        thickness = np.maximum(rng.uniform(2.0, 4.5) + 1.2 * texture(6.0), 0.5)
        core = _soft(core_depth - thickness, 0.7)
        # A third of the tumours hardly enhances.
        uptake = rng.uniform(0.6, 1.0) if rng.random() < 0.67 else rng.uniform(0.0, 0.25)

        shares = np.zeros((points.shape[1], N_PARTS), dtype=np.float32)
        strength = self.severity * np.clip(0.9 + 0.2 * texture(6.0), 0.4, 1)
        shares[:, OEDEMA] = np.maximum(oedema - solid, 0) * strength
        shares[:, RIM] = (solid - core) * uptake
        shares[:, OEDEMA] += (solid - core) * (1 - uptake)
        shares[:, CORE] = core
        return shares, np.maximum(oedema, solid)


class Stroke(Lesion):
    """The territory of one artery: a wedge with its base on the cortex, without a rim."""

    def parts(self, rng, points, white, texture):
        # From a tip near the ventricles to the widest part at the surface.
        target = np.array([np.sign(self.centre[0]) * 18, 0.6 * self.centre[1] - 6, 14.0])
        axis = (self.centre - target) / np.linalg.norm(self.centre - target)
        offset = points - (self.centre - 1.6 * self.radius * axis)[:, np.newaxis]
        along = axis @ offset
        across = offset - along * axis[:, np.newaxis]
        # The territory of the middle cerebral artery is wider than high.
        width = np.sqrt(across[0] ** 2 + across[1] ** 2 + (1.35 * across[2]) ** 2)
        opening = 0.3 * self.radius + 0.75 * np.clip(along, 0, None)
        depth = np.minimum(opening - width, along)
        depth = depth + 0.13 * self.radius * np.clip(texture(0.6 * self.radius), -1.5, 1.5)
        # No artery supplies both hemispheres.
        depth = np.minimum(depth, np.sign(self.centre[0]) * points[0] - 3)
        territory = _soft(depth, 0.9)
        shares = np.zeros((points.shape[1], N_PARTS), dtype=np.float32)
        strength = self.severity * np.clip(0.95 + 0.15 * texture(5.0), 0.4, 1)
        shares[:, INFARCT] = territory * strength
        return shares, territory


LESION_KINDS: dict[str, type[Lesion]] = {"tumour": Tumour, "stroke": Stroke}


def _soft(depth, width):
    """Smooth step from 0 outside (negative depth, in mm) to 1 inside, ``width`` mm wide."""
    return expit(2 * depth / width)


def draw_lesions(
    rng: np.random.Generator,
    kinds: Sequence[str],
    radius: tuple[float, float],
    sites: tuple[np.ndarray, np.ndarray],
) -> list[Lesion]:
    """Draw the lesions of one patient: one, or one with a smaller one beside it."""
    deep_white, convexity = sites
    kind = LESION_KINDS[kinds[int(rng.integers(len(kinds)))]]
    points = convexity if kind is Stroke else deep_white
    centre = points[rng.integers(len(points))]
    size = rng.uniform(*radius)
    lesions = [kind(centre, size, rng.uniform(0.8, 1.0))]
    second = radius[0] + 0.4 * (size - radius[0])
    if rng.random() < 0.25:
        near = points[np.abs(points[:, 2] - centre[2]) < size]
        lesions.append(kind(near[rng.integers(len(near))], second, rng.uniform(0.8, 1.0)))
    return lesions
