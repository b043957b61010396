"""Anatomy of the phantom: a brain template, deformed for every patient."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from importlib import resources

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation
from scipy.special import expit

from skadm._fields import smooth_field
from skadm.data._lesions import Lesion

# Millimetres in the template's (MNI) space: x to the right, y to the front, z up.
CENTRE = np.array([0.0, -17.0, 5.0], dtype=np.float32)
# Larger pixels are averaged from smaller ones (partial volume).
FINEST_PIXEL = 1.75

FLUID, CORTEX, DEEP, PALLIDUM, WHITE, HYPERINTENSE, VESSEL = range(7)


@dataclass(frozen=True)
class Variation:
    """Variation of patients about the template; the defaults are those of the phantom."""

    # height and width of a slice, in mm
    field_of_view: tuple[float, float] = (214.0, 214.0)
    lowest: float = -57.0  # z range of the slices in template space, in mm
    highest: float = 71.0
    size: float = 0.035  # standard deviation of the head size along each axis
    size_range: tuple[float, float] = (0.92, 1.06)  # its range
    angle: float = 1.0  # scale of the rotations
    bending: float = 1.0  # scale of the smooth deformations
    # range of the widening of ventricles, in mm
    ventricles: tuple[float, float] = (-1.0, 6.5)
    # range of the log-odds added to fluid (atrophy)
    sulci: tuple[float, float] = (-0.2, 1.0)
    spots: float = 1.0  # maximum of age-related hyperintensities
    # scale of the exponent that sharpens the template's tissue borders
    sharpness: float = 1.0
    # slices of the tissue maps (1.5 mm each) averaged into one: thick slices
    n_averaged: int = 1
    # Mean distance of the brain mask beyond the brain border in mm, negative inside.
    # None: the mask is exact.
    margin: float | None = None
    ragged: float = 0.0  # local variation of that distance, in mm


PHANTOM = Variation()


@dataclass(frozen=True)
class Template:
    """Maps of an average brain, all on one grid (x, y, z)."""

    grey: np.ndarray
    white: np.ndarray
    brain: np.ndarray
    ventricle_distance: np.ndarray
    ventricle_pull: np.ndarray
    origin: np.ndarray
    spacing: float

    def sample(
        self, map_: np.ndarray, points: np.ndarray, mode: str = "constant"
    ) -> np.ndarray:
        """Interpolate ``map_`` at ``points`` (3, ...), in mm.

        Outside the map the value is 0, or with mode "nearest" that at the border.
        """
        origin = self.origin.reshape((3,) + (1,) * (points.ndim - 1))
        index = (points - origin) / np.float32(self.spacing)
        return ndimage.map_coordinates(map_, index, order=1, mode=mode, output=np.float32)

    @cached_property
    def depth(self) -> np.ndarray:
        """Distance to the border of the brain in mm, below 0 outside."""
        inside = self.brain > 0.5
        within, beyond = map(ndimage.distance_transform_edt, (inside, ~inside))
        return ((within - beyond) * self.spacing).astype(np.float32)

    @cached_property
    def lesion_sites(self) -> tuple[np.ndarray, np.ndarray]:
        """Points (n, 3) of deep white matter and of the outer cortex, in mm."""
        points = (
            np.moveaxis(np.indices(self.grey.shape), 0, -1) * self.spacing + self.origin
        )
        x, y, z = np.moveaxis(points, -1, 0)
        inside = (z > -30) & (z < 52) & (np.abs(y - CENTRE[1]) < 68) & (np.abs(x) > 13)
        deep_white = (self.white > 0.8) & (self.ventricle_distance > 4) & inside
        outside = ndimage.distance_transform_edt(self.brain > 0.5) * self.spacing < 10
        convexity = outside & (self.grey > 0.6) & inside & (np.abs(x) > 35) & (z > -15)
        return points[deep_white], points[convexity]


@dataclass(frozen=True)
class Anatomy:
    """One patient's brain."""

    brain: np.ndarray  # (n_slices, size, size)
    fractions: np.ndarray  # (n_pixels, 7): tissue fractions at the brain pixels
    points: np.ndarray  # (3, n_pixels): template coordinates of the brain pixels, in mm
    spacing: tuple[float, float, float]  # distance between slices, rows and columns, in mm
    # (4, 4), from (column, row, slice) to mm: to the right, to the front, up
    affine: np.ndarray


@lru_cache(maxsize=8)
def load_template(n_averaged: int = 1) -> Template:
    """Read the tissue maps and locate the ventricles.

    Tissue is averaged over `n_averaged` slices of the maps, for thick slices.
    """
    if n_averaged > 1:
        thin = load_template()
        grey, white = (
            ndimage.uniform_filter1d(map_, n_averaged, axis=2)
            for map_ in (thin.grey, thin.white)
        )
        return replace(thin, grey=grey, white=white)
    path = resources.files("skadm.data") / "tissue_maps" / "mni152_tissue_maps.npz"
    with resources.as_file(path) as file, np.load(file) as maps:
        scale = np.float32(1 / (maps["n_levels"] - 1))
        grey, white = maps["grey"] * scale, maps["white"] * scale
        brain = np.unpackbits(maps["brain"], count=grey.size).reshape(grey.shape) > 0
        origin, spacing = maps["origin"].astype(np.float32), float(maps["spacing"])
    ventricles = _find_ventricles(brain - grey - white, origin, spacing)
    distance = ndimage.distance_transform_edt(~ventricles).astype(np.float32) * spacing
    smoothed = ndimage.gaussian_filter(ventricles.astype(np.float32), 7 / spacing)
    pull = np.stack(np.gradient(smoothed, spacing))
    pull /= np.linalg.norm(pull, axis=0).max()
    return Template(
        grey,
        white,
        brain.astype(np.float32),
        distance,
        pull.astype(np.float32),
        origin,
        spacing,
    )


def _find_ventricles(fluid, origin, spacing):
    """Find the lateral ventricles: central fluid connected to their bodies."""
    x, y, z = np.indices(fluid.shape, dtype=np.float32) * spacing + origin.reshape(
        3, 1, 1, 1
    )
    middle = (np.abs(x) < 38) & (y > -58) & (y < 38) & (z > -2) & (z < 34)
    # Excludes the cistern behind the splenium and the interhemispheric fissure.
    middle &= (np.abs(x) > 4) | ((y > -28) & (y < 26))
    parts, _ = ndimage.label((fluid > 0.45) & middle)
    seeds = np.unique(
        parts[(np.abs(np.abs(x) - 9) < 4) & (np.abs(y - 8) < 14) & (np.abs(z - 18) < 5)]
    )
    return np.isin(parts, seeds[seeds > 0])


def build_anatomy(
    rng: np.random.Generator,
    n_slices: int,
    size: int,
    lesions: Sequence[Lesion],
    variation: Variation = PHANTOM,
) -> Anatomy:
    """Draw one patient's brain, including the mass effect of lesions."""
    template = load_template(variation.n_averaged)
    scale = np.clip(rng.normal([1.0, 1.0, 1.0], variation.size), *variation.size_range)
    height, width = (length / size for length in variation.field_of_view)
    fine = max(1, round(max(height, width) / FINEST_PIXEL))
    thickness = (variation.highest - variation.lowest) * scale[2] / n_slices

    lowest = (variation.lowest - CENTRE[2]) * scale[2]
    z = lowest + thickness * (np.arange(n_slices) + 0.5)
    points = _deform(rng, template, scale, z, size * fine, lesions, variation)
    grid = (thickness, height / fine, width / fine)
    brain = _brain_mask(rng, template, points, grid, variation)
    inside = points[:, brain]
    fractions = _draw_tissues(rng, template, inside, brain, grid, variation)

    spacing = (float(thickness), height, width)
    affine = np.diag([-width, -height, thickness, 1.0])
    affine[:2, 3] = CENTRE[:2] + np.array([width, height]) * (size - 1) / 2
    affine[2, 3] = CENTRE[2] + z[0]
    if fine > 1:
        brain, fractions, inside = _average_pixels(brain, fractions, inside, fine)
    return Anatomy(brain, fractions, inside, spacing, affine)


def _brain_mask(rng, template, points, spacing, variation):
    """Simulate the result of skull stripping: exact, too tight or too wide."""
    if variation.margin is None:
        return template.sample(template.brain, points) > 0.55
    depth = template.sample(load_template().depth, points, "nearest")
    error = variation.ragged * smooth_field(rng, depth.shape, spacing, 25.0)
    return depth + np.clip(variation.margin + error, -4, 6) > 0


def _deform(rng, template, scale, z, size, lesions, variation):
    """Return template coordinates (3, n_slices, size, size) of all pixels, in mm.

    The deformation is smooth, so it is computed on about every eighth pixel and
    interpolated.
    """
    n_nodes = 48
    y, x = (
        np.linspace(length / 2, -length / 2, n_nodes) for length in variation.field_of_view
    )
    shape = (len(z), n_nodes, n_nodes)
    spacing = (z[1] - z[0], y[0] - y[1], x[0] - x[1])
    world = np.stack(np.meshgrid(z, y, x, indexing="ij")[::-1]).reshape(3, -1)
    turned = _rotation(rng, variation.angle) @ world
    template_points = turned / scale[:, np.newaxis]
    points = (template_points + CENTRE[:, np.newaxis]).astype(np.float32).reshape(3, *shape)
    for length, amplitude in ((50.0, 3.0), (20.0, 1.4), (11.0, 0.7)):
        for axis in range(3):
            field = smooth_field(rng, shape, spacing, length)
            points[axis] += variation.bending * amplitude * field
    # Sampling nearer to the ventricles enlarges them.
    pull = rng.uniform(*variation.ventricles)
    points += pull * np.stack([template.sample(p, points) for p in template.ventricle_pull])
    for lesion in lesions:
        points = lesion.displace(points)

    pixels = (np.arange(size) + 0.5) / size * (n_nodes - 1)
    left = np.minimum(pixels.astype(int), n_nodes - 2)
    weights = np.zeros((size, n_nodes), dtype=np.float32)
    np.put_along_axis(weights, left[:, None], (left + 1 - pixels)[:, None], axis=1)
    np.put_along_axis(weights, left[:, None] + 1, (pixels - left)[:, None], axis=1)
    return weights @ points @ weights.T


def _rotation(rng, factor):
    """Draw a rotation of the head by a few degrees about each axis."""
    angles = np.clip(rng.normal(0.0, np.deg2rad([3.5, 2.5, 3.0])), -0.14, 0.14)
    nod, tilt, turn = factor * angles
    return Rotation.from_euler("XYZ", [nod, -tilt, turn]).as_matrix()


def _draw_tissues(rng, template, points, brain, spacing, variation):
    """Draw tissue fractions (n_pixels, 7) at the template points of the brain pixels.

    The template averages many brains. A power of its probabilities restores sharp
    borders, and a random field adds an individual folding pattern.
    """

    def texture(length):
        return smooth_field(rng, brain.shape, spacing, length)[brain]

    x, y, z = points
    grey = template.sample(template.grey, points)
    white = template.sample(template.white, points)
    distance = template.sample(template.ventricle_distance, points)
    fluid = np.clip(1 - grey - white, 0, 1)
    # Partial volume lines the template's ventricles with grey matter.
    lining = grey * np.exp(-((distance / 2.5) ** 2)) * (white > 0.1) * 0.8
    grey, white = grey - lining, white + lining

    middle = _blob(np.abs(x), y, z, (17, -3, 4), (17, 30, 17))
    pallidum = _blob(np.abs(x), y, z, (20, -4, -1), (6, 9, 7))
    wide_sulci = rng.uniform(*variation.sulci)
    folds = 0.7 * texture(7.0)
    power = variation.sharpness * (3.0 - 1.2 * middle)
    odds = np.stack(
        [
            (fluid + 0.005) ** power
            * np.exp(wide_sulci - 0.5 * folds + 0.4 * texture(9.0)),
            (grey + 0.005) ** power * np.exp(folds),
            (white + 0.005) ** power * np.float32(1.4),
        ],
        axis=1,
    )
    fluid, grey, white = (odds / odds.sum(axis=1, keepdims=True)).T

    fractions = np.zeros((len(x), 7), dtype=np.float32)
    fractions[:, FLUID] = fluid
    fractions[:, CORTEX] = grey * (1 - middle)
    fractions[:, DEEP] = grey * middle
    fractions[:, WHITE] = white
    _share(fractions, (CORTEX, DEEP, WHITE), PALLIDUM, pallidum * middle)
    spots = variation.spots * _hyperintensity(rng, texture, y, distance)
    _share(fractions, (WHITE,), HYPERINTENSE, spots)
    _share(
        fractions, (FLUID, CORTEX), VESSEL, _vessels(rng, texture, points, fluid, distance)
    )
    return fractions


def _blob(x, y, z, centre, radii):
    """Return a soft ellipsoid: 1 inside, 0 outside."""
    squared = sum(((a - c) / r) ** 2 for a, c, r in zip((x, y, z), centre, radii))
    return expit(12 * (1 - np.sqrt(squared)))


def _share(fractions, sources, target, share):
    """Move a fraction ``share`` of every source tissue to the target tissue."""
    for source in sources:
        moved = fractions[:, source] * share
        fractions[:, source] -= moved
        fractions[:, target] += moved


def _hyperintensity(rng, texture, y, distance):
    """Draw age-related white matter changes: periventricular caps and spots."""
    age = rng.beta(1.3, 1.4)
    horns = np.clip(np.abs(y + 12) / 32, 0.25, 1.3)
    caps = np.exp(-distance / (2.0 + 4.5 * age * horns)) * (0.5 + 0.9 * age)
    spots = age * expit(6 * (texture(5.0) - 3.3 + 0.9 * age))
    return np.clip(caps + spots, 0, 1)


def _vessels(rng, texture, points, fluid, distance):
    """Draw healthy enhancing structures: sulcal veins, falx, choroid plexus."""
    x, y, z = points
    filling = rng.uniform(0.4, 1.0)
    veins = expit(5 * (texture(3.0) - 1.45)) * np.clip(2 * fluid, 0, 1) * (distance > 3)
    falx = (
        np.exp(-((x / 1.4) ** 2))
        * np.clip(texture(8.0) * 0.6, 0, 1)
        * (z > 5)
        * (fluid > 0.2)
    )
    plexus = _blob(np.abs(x), y, z, (22, -38, 9), (9, 12, 9)) * (distance < 1)
    plexus = plexus * np.clip(texture(3.5) + 0.6, 0, 1)
    return filling * np.clip(0.8 * veins + falx + 0.9 * plexus, 0, 1)


def _average_pixels(brain, fractions, points, factor):
    """Average ``factor`` × ``factor`` pixels into one; most must be brain for brain."""
    n_slices, size = brain.shape[0], brain.shape[1] // factor
    values = np.zeros((*brain.shape, fractions.shape[1] + 4), dtype=np.float32)
    values[brain] = np.column_stack([np.ones(len(fractions)), points.T, fractions])
    values = values.reshape(n_slices, size, factor, size, factor, -1).mean(axis=(2, 4))
    coarse = values[..., 0] >= 0.5
    values = values[coarse] / values[coarse][:, :1]
    return coarse, values[:, 4:], values[:, 1:4].T
