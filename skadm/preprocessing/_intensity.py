"""Normalisation of intensities."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skadm._missing import missing_contrasts
from skadm.data import SliceStack, brain_mask
from skadm.data._interfaces import Grid, VolumeStep
from skadm.preprocessing._base import (
    ALMOST_ZERO,
    NO_BRAIN,
    StackTransformer,
)

# Of a volume; with the skull it is 76 % and more, without it 14 to 20 % (scans of gliomas),
# and of the smallest box around a brain about a half.
MOST_BRAIN = 0.7


class IntensityNormalizer(StackTransformer):
    """Z-score of each contrast over the brain of each volume.

    MR intensities have no unit and differ between scanners and patients. After this, every
    contrast of every volume has mean 0 and standard deviation 1 over the brain (the pixels
    where any contrast is not exactly 0). Background stays exactly 0, and brain stays brain:
    a pixel whose contrasts would all become exactly 0 gets 1e-6 in the first one. A
    contrast that is constant in a volume becomes 0; one that is missing (NaN in all pixels
    of the volume) stays missing.

    It learns nothing from the training data, so there is no leak in fitting it before a
    split.

    Attributes
    ----------
    n_features_in_ : int
        Number of contrasts seen in `fit`.

    Notes
    -----
    A `SliceStack` knows its volumes: the statistics are those of the whole volume, also
    where the stack holds some of its slices, and nothing is read until it is needed. A bare
    array does not: tell which slices are one volume with ``groups``, or each slice is
    taken by itself. Slice by slice costs what sets one slice apart from the next: a lesion
    that fills much of a slice shifts the mean it is measured against and hides itself, and
    tissue gets another value at the top of the brain than in the middle.
    """

    def transform(self, X: Any, groups: ArrayLike | None = None) -> Any:
        """Normalise slices.

        Parameters
        ----------
        X : SliceStack or array-like of shape (n_slices, n_contrasts, H, W)
            Slices. A stack is changed lazily.
        groups : array-like of shape (n_slices,), default=None
            Of an array, the volume of each slice; None: each slice by itself. A stack
            knows its volumes: groups, such as the patients that a search routes here,
            change nothing, but must not part a volume.

        Returns
        -------
        SliceStack or ndarray of float32, shape (n_slices, n_contrasts, H, W)
            Normalised slices, a stack for a stack.

        Raises
        ------
        ValueError
            If X is not of the shape expected, not finite or without brain, groups are not
            one per slice, or they part a volume of a stack.
        """
        X = self._check(X)
        if isinstance(X, SliceStack):
            if groups is not None:
                _require_whole_volumes(X, groups)
            return X.map(ZScore())
        out = np.zeros_like(X)
        for members in _members(groups, len(X)):
            out[members] = zscore(X[members], brain_mask(X[members]))
        return out

    def fit_transform(self, X: Any, y: Any = None, groups: ArrayLike | None = None) -> Any:
        """Normalise slices; the same as `transform`.

        Parameters
        ----------
        X : SliceStack or array-like of shape (n_slices, n_contrasts, H, W)
            Slices.
        y : None
            Ignored.
        groups : array-like of shape (n_slices,), default=None
            As in `transform`.

        Returns
        -------
        SliceStack or ndarray of float32, shape (n_slices, n_contrasts, H, W)
            Normalised slices.
        """
        return self.fit(X).transform(X, groups)


def _members(groups: ArrayLike | None, n: int) -> list[NDArray[np.intp]]:
    """Return the slices of each volume."""
    if groups is None:
        return [np.array([index]) for index in range(n)]
    _, volume = np.unique(_one_per_slice(groups, n), return_inverse=True)
    return [np.flatnonzero(volume == index) for index in range(volume.max() + 1)]


def _one_per_slice(groups: ArrayLike, n: int) -> NDArray:
    names = np.asarray(groups)
    if names.shape != (n,):
        raise ValueError(
            f"groups have shape {names.shape}; expected ({n},), the volume of each slice"
        )
    return names


def _require_whole_volumes(stack: SliceStack, groups: ArrayLike) -> None:
    names = _one_per_slice(groups, len(stack))
    for volume, places in stack.volume_places():
        if len(parts := np.unique(names[places])) > 1:
            raise ValueError(
                f"groups part volume {volume.name!r} ({parts[0]}, {parts[1]}), which a "
                "SliceStack knows as one, and which is normalised as a whole"
            )


def zscore(images: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Z-scores of one volume, (n_slices, n_contrasts, H, W), over its brain.

    They are nowhere all exactly 0 in the brain; background is exactly 0.
    """
    n_contrasts, n_pixels = images.shape[1], images.shape[2] * images.shape[3]
    inside = np.flatnonzero(brain)
    # Places of the brain in the first contrast; contrast k lies k * n_pixels after it.
    # Three quarters of a volume are background, which is neither read nor written again.
    places = inside + inside // n_pixels * (n_contrasts - 1) * n_pixels
    flat, out = images.reshape(-1), np.zeros(images.shape, dtype=np.float32)
    scores = out.reshape(-1)
    lost = np.ones(len(inside), dtype=bool)
    missing = missing_contrasts(images).all(axis=0)
    out[:, missing] = np.nan
    for contrast in np.flatnonzero(~missing) if inside.size else []:
        values = flat[contrast * n_pixels :].take(places)
        lowest, highest = values.min(), values.max()
        if not (np.isfinite(lowest) and np.isfinite(highest)):
            raise ValueError(
                "X holds NaN or infinite values; replace them (background is 0)"
            )
        # A constant is told by its extremes: its computed deviation may be rounding noise.
        if lowest < highest:
            # In double precision: float32 sums over a million pixels lose digits.
            centred = values.astype(np.float64)
            centred -= centred.mean()
            np.divide(centred, np.sqrt(np.square(centred).mean()), out=values)
            scores[contrast * n_pixels :][places] = values
            lost &= values == 0
    scores[missing.argmin() * n_pixels :][places[lost]] = ALMOST_ZERO
    return out


@dataclass(frozen=True)
class ZScore(VolumeStep):
    """The step of `IntensityNormalizer` on a whole volume."""

    def images(
        self, images: NDArray[np.float32], brain: NDArray[np.bool_], grid: Grid
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the z-scores; a volume without brain is an error."""
        out = zscore(images, brain)
        share = brain.mean()
        if not share:
            raise ValueError(NO_BRAIN)
        if share > MOST_BRAIN:
            warnings.warn(
                f"{share:.0%} of the voxels of a volume are not exactly 0, and count as "
                "brain: is the skull still there? Scans must be skull-stripped, with the "
                "background exactly 0; skadm prepare makes them so",
                stacklevel=2,
            )
        return out, brain
