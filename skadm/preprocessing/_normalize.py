"""Normalisation of intensities."""

import warnings
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skadm._missing import missing_contrasts
from skadm.data import SliceStack, brain_mask
from skadm.data._interfaces import Grid, VolumeStep
from skadm.preprocessing._stack_transformer import (
    ALMOST_ZERO,
    NO_BRAIN,
    StackTransformer,
)

# Largest plausible brain fraction of a volume. With skull it is at least 76 %, without it
# 14 to 20 % (glioma scans), and about half of a brain's bounding box.
MOST_BRAIN = 0.7


class IntensityNormalizer(StackTransformer):
    """Z-score of each contrast over the brain of each volume.

    MR intensities have arbitrary units and differ between scanners and patients. After
    the transformation, every contrast of every volume has mean 0 and standard deviation 1
    over the brain (the pixels where any contrast is not exactly 0). Background stays
    exactly 0. Brain pixels whose contrasts would all become exactly 0 get 1e-6 in the
    first contrast. A contrast that is constant in a volume becomes 0; a missing contrast
    (NaN in all pixels of the volume) stays missing.

    It is stateless, so fitting it before a split causes no data leakage.

    Attributes
    ----------
    n_features_in_ : int
        Number of contrasts seen in `fit`.

    Notes
    -----
    For a `SliceStack` the statistics are those of the whole volume, even if the stack
    holds only some of its slices, and volumes are read lazily. For an array, pass
    ``groups`` to assign slices to volumes; otherwise each slice is normalised separately.
    This loses the differences between slices: a lesion that fills much of a slice shifts
    the mean of that slice and becomes less visible, and the value of a tissue changes
    from slice to slice.
    """

    def transform(self, X: Any, groups: ArrayLike | None = None) -> Any:
        """Normalise slices.

        Parameters
        ----------
        X : SliceStack or array-like of shape (n_slices, n_contrasts, H, W)
            Slices. A stack is transformed lazily.
        groups : array-like of shape (n_slices,), default=None
            Volume of each slice, for arrays; None: each slice separately. For a stack,
            groups (e.g. patients passed by metadata routing) have no effect, but must not
            split a volume.

        Returns
        -------
        SliceStack or ndarray of float32, shape (n_slices, n_contrasts, H, W)
            Normalised slices, a stack for a stack.

        Raises
        ------
        ValueError
            If X has a wrong shape, is not finite or has no brain, groups have a wrong
            shape, or they split a volume of a stack.
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

    @overload
    def fit_transform(
        self, X: SliceStack, y: Any = None, groups: ArrayLike | None = None
    ) -> SliceStack: ...
    @overload
    def fit_transform(
        self, X: ArrayLike, y: Any = None, groups: ArrayLike | None = None
    ) -> NDArray[np.float32]: ...
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
                f"groups split volume {volume.name!r} ({parts[0]}, {parts[1]}); expected "
                "one group, since a volume is normalised as a whole"
            )


def zscore(images: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Compute z-scores of a volume (n_slices, n_contrasts, H, W) over its brain.

    Brain pixels are never exactly 0 in all contrasts; background is exactly 0.
    """
    n_contrasts, n_pixels = images.shape[1], images.shape[2] * images.shape[3]
    inside = np.flatnonzero(brain)
    # Indices of brain pixels in the first contrast; contrast k is offset by k * n_pixels.
    # Skips background, about three quarters of a volume.
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
        # Detect constants by their range: the computed deviation may be rounding noise.
        if lowest < highest:
            # Double precision: float32 sums over a million pixels are inaccurate.
            centred = values.astype(np.float64)
            centred -= centred.mean()
            np.divide(centred, np.sqrt(np.square(centred).mean()), out=values)
            scores[contrast * n_pixels :][places] = values
            lost &= values == 0
    scores[missing.argmin() * n_pixels :][places[lost]] = ALMOST_ZERO
    return out


@dataclass(frozen=True)
class ZScore(VolumeStep):
    """The step of `IntensityNormalizer` for a whole volume."""

    def images(
        self, images: NDArray[np.float32], brain: NDArray[np.bool_], grid: Grid
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the z-scores; raise if the volume has no brain."""
        out = zscore(images, brain)
        share = brain.mean()
        if not share:
            raise ValueError(NO_BRAIN)
        if share > MOST_BRAIN:
            warnings.warn(
                f"{share:.0%} of the voxels of a volume are not exactly 0 and count as "
                "brain; expected skull-stripped scans with background exactly 0. "
                "Prepare raw scans with skadm prepare",
                stacklevel=2,
            )
        return out, brain
