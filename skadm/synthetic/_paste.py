"""Pasting artificial lesions into slices."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state

from skadm._brain import brain_mask
from skadm._fields import smooth_field
from skadm._validation import check_shape
from skadm.data._slices import as_slices
from skadm.synthetic._kinds import LesionKind, Site

# Slices with fewer brain pixels get no lesion.
_LEAST_BRAIN = 100
# Minimum change, in standard deviations of a contrast, of an anomalous pixel.
_VISIBLE = 0.2


def paste_lesions(
    X: ArrayLike,
    kind: LesionKind,
    *,
    radius: tuple[float, float] = (0.04, 0.15),
    random_state=None,
) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Add an artificial lesion to each slice.

    Parameters
    ----------
    X : array-like of shape (n_slices, n_contrasts, H, W)
        Normal slices, preprocessed as for the detector. X is not modified.
    kind : kind of lesion
        One of `skadm.synthetic`, such as ``IntensityShift()``.
    radius : (float, float), default=(0.04, 0.15)
        Minimum and maximum radius of a lesion, relative to the square root of the number
        of brain pixels of the slice: 3 to 12 pixels in the middle of a brain of 128 ×
        128.
    random_state : int, RandomState instance or None, default=None
        Controls positions, shapes and changes.

    Returns
    -------
    X : ndarray of float32, shape (n_slices, n_contrasts, H, W)
        Slices with lesions. Brain stays brain, and background exactly 0.
    y : ndarray of int8, shape (n_slices, H, W)
        1 where any contrast changed by at least 0.2 of its standard deviation, 0 where
        nothing changed, -1 outside the brain and for smaller changes at the edge of a
        lesion. Slices with fewer than 100 brain pixels are unchanged.

    Raises
    ------
    ValueError
        If X has a wrong shape, or fewer contrasts than the kind needs.
    """
    images = np.array(as_slices(X), dtype=np.float32)
    n_slices, n_contrasts, *_ = check_shape(images)
    if n_contrasts < kind.min_contrasts:
        raise ValueError(
            f"X has {n_contrasts} contrasts; {type(kind).__name__} expects "
            f"{kind.min_contrasts} or more."
        )
    brains = brain_mask(images)
    y = np.where(brains, 0, -1).astype(np.int8)
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    # Independent generators: the lesion of a slice does not depend on the others.
    generators = [np.random.default_rng((seed, number)) for number in range(n_slices)]
    large = np.flatnonzero(brains.sum(axis=(1, 2)) >= _LEAST_BRAIN)
    originals = images.copy()
    for number in large:
        rng, brain = generators[number], brains[number]
        others = large[large != number]
        donor = originals[rng.choice(others) if len(others) else number]
        site = _draw_site(rng, brain, radius)
        image = originals[number]
        changed = kind.change(rng, image, donor, site)
        mixed = np.where(brain, image + site.weight * (changed - image), 0)
        mixed = mixed.astype(np.float32)
        # A brain pixel that is 0 in all contrasts would count as background.
        mixed[:, brain & ~brain_mask(mixed[np.newaxis])[0]] = np.finfo(np.float32).tiny
        spread = image[:, brain].std(axis=1)[:, None, None]
        change = np.abs(mixed - image)
        y[number][brain & (change > 0).any(axis=0)] = -1
        y[number][brain & (change >= _VISIBLE * spread).any(axis=0)] = 1
        images[number] = mixed
    return images, y


def _draw_site(
    rng: np.random.Generator, brain: NDArray[np.bool_], radius: tuple[float, float]
) -> Site:
    """Draw the position, size and shape of a lesion with a soft edge in the brain."""
    places = np.argwhere(brain)
    centre = places[rng.integers(len(places))].astype(np.float64)
    size = max(1.5, rng.uniform(*radius) * np.sqrt(len(places)))
    rows, columns = np.indices(brain.shape)
    distance = np.hypot(rows - centre[0], columns - centre[1]) / size
    lumps = smooth_field(rng, brain.shape, (1.0, 1.0), max(2.0, size))
    depth = 1 - distance + 0.25 * np.clip(lumps, -1.5, 1.5)
    # From 0 to 1 within about two pixels.
    weight = np.clip(0.5 + depth * size / 2, 0, 1) * brain
    return Site(centre, size, weight)
