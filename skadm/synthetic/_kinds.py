"""What an artificial lesion does to the tissue.

None of them knows what real lesions look like: brighter and darker are equally likely, and
in any contrast.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from skadm._brain import brain_mask
from skadm._fields import smooth_field


class Site(NamedTuple):
    """Where a lesion lies."""

    centre: NDArray[np.float64]  # (2,): row and column
    radius: float  # of the disk of about its area, in pixels
    # (H, W): share of the lesion in each pixel: 1 within, 0 outside, between at its edge
    weight: NDArray[np.float64]


class LesionKind(ABC):
    """Base of the kinds of lesions."""

    min_contrasts = 1

    @abstractmethod
    def change(
        self, rng: np.random.Generator, image: NDArray, donor: NDArray, site: Site
    ) -> NDArray:
        """Change a slice (n_contrasts, H, W) as if all of it were lesion; return a new one.

        `donor` is another slice, where there is one; `site` says where the lesion will be.
        """


@dataclass(frozen=True)
class IntensityShift(LesionKind):
    """Brighter or darker, in one contrast or several, each in a direction of its own.

    Parameters
    ----------
    magnitude : (float, float), default=(0.5, 2.0)
        Least and most of the shift, in standard deviations of the contrast in the brain.
    texture : float, default=0.2
        Unevenness of the shift, relative to it.
    """

    magnitude: tuple[float, float] = (0.5, 2.0)
    texture: float = 0.2

    def change(self, rng, image, donor, site):
        """Add an uneven shift; see the base class."""
        n_contrasts = len(image)
        shift = rng.uniform(*self.magnitude, size=n_contrasts)
        shift *= rng.choice([-1, 1], size=n_contrasts) * _some(rng, n_contrasts)
        brain = brain_mask(image[np.newaxis])[0]
        shift *= image[:, brain].std(axis=1)
        uneven = smooth_field(rng, brain.shape, (1.0, 1.0), max(2.0, site.radius / 2))
        return image + shift[:, None, None] * (1 + self.texture * uneven)


class ForeignTexture(LesionKind):
    """A piece of another slice, all contrasts of it, from any place of its brain.

    Foreign patch interpolation (Tan et al. 2020), with another place, too.
    """

    def change(self, rng, image, donor, site):
        """Move the donor so that a random place of it is the site."""
        return _from_elsewhere(rng, image, donor, site)


@dataclass(frozen=True)
class Deformation(LesionKind):
    """Tissue pushed apart, drawn together or aside, as by a mass.

    Parameters
    ----------
    strength : (float, float), default=(0.4, 0.9)
        Least and most of the displacement, in radii of the lesion.
    """

    strength: tuple[float, float] = (0.4, 0.9)

    def change(self, rng, image, donor, site):
        """Read each pixel from a displaced place."""
        rows, columns = np.indices(image.shape[1:], dtype=np.float64)
        offset = np.stack([rows, columns]) - site.centre[:, None, None]
        angle = rng.uniform(0, 2 * np.pi)
        aside = site.radius * np.array([np.sin(angle), np.cos(angle)])[:, None, None]
        strength = rng.uniform(*self.strength)
        outwards = rng.choice([-1, 1])
        # It fades within the lesion, so that the tissue does not tear at its edge.
        distance = np.sqrt((offset**2).sum(axis=0)) / site.radius
        fading = np.clip(1 - distance**2, 0, None)
        moved = strength * fading * (outwards * offset + aside) / 2
        places = np.stack([rows, columns]) - moved
        read = np.stack([map_coordinates(channel, places, order=1) for channel in image])
        return _keep_background_out(read, image)


class ContrastInconsistency(LesionKind):
    """One contrast or some, not all, from another place: each plausible, together not."""

    min_contrasts = 2

    def change(self, rng, image, donor, site):
        """Move some contrasts of the donor, and keep the others."""
        foreign = _from_elsewhere(rng, image, donor, site)
        chosen = _some(rng, len(image), at_most=len(image) - 1)
        return np.where(chosen[:, None, None], foreign, image)


KINDS: dict[str, LesionKind] = {
    "intensity": IntensityShift(),
    "texture": ForeignTexture(),
    "deformation": Deformation(),
    "inconsistency": ContrastInconsistency(),
}
"""All kinds, with their default parameters."""


def _some(
    rng: np.random.Generator, n_contrasts: int, at_most: int | None = None
) -> NDArray[np.bool_]:
    """One contrast or more, drawn."""
    n_chosen = rng.integers(1, (at_most or n_contrasts) + 1)
    chosen = np.zeros(n_contrasts, bool)
    chosen[rng.permutation(n_contrasts)[:n_chosen]] = True
    return chosen


def _from_elsewhere(
    rng: np.random.Generator, image: NDArray, donor: NDArray, site: Site
) -> NDArray:
    places = np.argwhere(brain_mask(donor[np.newaxis])[0])
    place = places[rng.integers(len(places))]
    shift = np.rint(site.centre).astype(int) - place
    moved = np.roll(donor, shift, axis=(1, 2))
    return _keep_background_out(moved, image)


def _keep_background_out(changed: NDArray, image: NDArray) -> NDArray:
    """What comes from the background, or from beyond it, stays as it was."""
    return np.where(brain_mask(changed[np.newaxis])[0], changed, image)
