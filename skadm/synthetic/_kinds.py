"""Kinds of artificial lesion.

They make no assumption about real lesions: brighter and darker are equally likely, in any
contrast.
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
    """Position and extent of a lesion."""

    centre: NDArray[np.float64]  # (2,): row and column
    radius: float  # of a disk of about the same area, in pixels
    # (H, W): lesion fraction of each pixel, 1 inside, 0 outside, soft at the edge
    weight: NDArray[np.float64]


class LesionKind(ABC):
    """Base class of the kinds of lesion."""

    min_contrasts = 1

    @abstractmethod
    def change(
        self, rng: np.random.Generator, image: NDArray, donor: NDArray, site: Site
    ) -> NDArray:
        """Return a slice (n_contrasts, H, W) changed as if all of it were lesion.

        `donor` is another slice, if there is one; `site` is the place of the lesion.
        """


@dataclass(frozen=True)
class IntensityShift(LesionKind):
    """Brighter or darker intensity in one or more contrasts, with independent signs.

    Parameters
    ----------
    magnitude : (float, float), default=(0.5, 2.0)
        Minimum and maximum shift, in standard deviations of the contrast in the brain.
    texture : float, default=0.2
        Amplitude of the texture, relative to the shift.
    """

    magnitude: tuple[float, float] = (0.5, 2.0)
    texture: float = 0.2

    def change(self, rng, image, donor, site):
        """Add a textured shift; see the base class."""
        n_contrasts = len(image)
        shift = rng.uniform(*self.magnitude, size=n_contrasts)
        shift *= rng.choice([-1, 1], size=n_contrasts) * _some(rng, n_contrasts)
        brain = brain_mask(image[np.newaxis])[0]
        shift *= image[:, brain].std(axis=1)
        uneven = smooth_field(rng, brain.shape, (1.0, 1.0), max(2.0, site.radius / 2))
        return image + shift[:, None, None] * (1 + self.texture * uneven)


class ForeignTexture(LesionKind):
    """A patch of another slice, in all contrasts, from a random place of its brain.

    Foreign patch interpolation (Tan et al. 2020), but from a different place.
    """

    def change(self, rng, image, donor, site):
        """Shift the donor so that a random place of it is at the site."""
        return _shifted_donor(rng, image, donor, site)


@dataclass(frozen=True)
class Deformation(LesionKind):
    """Displacement of tissue: expansion, contraction or shift, as by mass effect.

    Parameters
    ----------
    strength : (float, float), default=(0.4, 0.9)
        Minimum and maximum displacement, in lesion radii.
    """

    strength: tuple[float, float] = (0.4, 0.9)

    def change(self, rng, image, donor, site):
        """Sample each pixel at a displaced position."""
        rows, columns = np.indices(image.shape[1:], dtype=np.float64)
        offset = np.stack([rows, columns]) - site.centre[:, None, None]
        angle = rng.uniform(0, 2 * np.pi)
        aside = site.radius * np.array([np.sin(angle), np.cos(angle)])[:, None, None]
        strength = rng.uniform(*self.strength)
        outwards = rng.choice([-1, 1])
        # The displacement fades within the lesion, so that it is continuous at the edge.
        distance = np.sqrt((offset**2).sum(axis=0)) / site.radius
        fading = np.clip(1 - distance**2, 0, None)
        moved = strength * fading * (outwards * offset + aside) / 2
        places = np.stack([rows, columns]) - moved
        read = np.stack([map_coordinates(channel, places, order=1) for channel in image])
        return _keep_background_out(read, image)


class ContrastInconsistency(LesionKind):
    """Some contrasts from another place: each is plausible, the combination is not."""

    min_contrasts = 2

    def change(self, rng, image, donor, site):
        """Replace some contrasts by the shifted donor."""
        foreign = _shifted_donor(rng, image, donor, site)
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
    """Draw one or more contrasts."""
    n_chosen = rng.integers(1, (at_most or n_contrasts) + 1)
    chosen = np.zeros(n_contrasts, bool)
    chosen[rng.permutation(n_contrasts)[:n_chosen]] = True
    return chosen


def _shifted_donor(
    rng: np.random.Generator, image: NDArray, donor: NDArray, site: Site
) -> NDArray:
    places = np.argwhere(brain_mask(donor[np.newaxis])[0])
    place = places[rng.integers(len(places))]
    shift = np.rint(site.centre).astype(int) - place
    moved = np.roll(donor, shift, axis=(1, 2))
    return _keep_background_out(moved, image)


def _keep_background_out(changed: NDArray, image: NDArray) -> NDArray:
    """Restore pixels that were sampled from background or outside the slice."""
    return np.where(brain_mask(changed[np.newaxis])[0], changed, image)
