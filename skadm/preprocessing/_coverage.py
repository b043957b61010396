"""Estimates of a contrast where it was not scanned."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skadm._missing import missing_contrasts
from skadm.data import SliceStack
from skadm.data._interfaces import Grid, VolumeStep
from skadm.preprocessing._base import StackTransformer, keep_brain
from skadm.preprocessing._field_of_view import uncovered

_N_FITTED = 20_000  # voxels that a regression is fitted to
_FEWEST = 100  # with fewer it is none


class CoverageImputer(StackTransformer):
    """Estimate a contrast from the others where it was not scanned.

    The field of view of a contrast may end within the brain, which other contrasts show
    whole. Values beyond its edge are near 0, and every detector would take them for
    anomalies. This finds such regions in whole volumes, warns of them, and puts in their
    place what the other contrasts let expect, so that scores there rest on these.
    Volumes that are complete stay as they are, bit for bit.

    It comes first in a Pipeline, since z-scores of a contrast that is cut are wrong
    everywhere. It learns nothing from the training data.

    Attributes
    ----------
    n_features_in_ : int
        Number of contrasts seen in `fit`.

    Notes
    -----
    A region that was not scanned lies beyond a plane through the brain, at which the
    contrast ends abruptly: at least 90 % of the voxels in the layers outside have less than
    0.2 of the typical value of the contrast, and are at least 1 % of the brain; within 3
    layers (or 4 % of them) behind the edge, 30 % at most are so dark. At least one other
    contrast must show tissue there. Dark tissue, fluid and necrosis are none of that.

    The estimate is a regression of the contrast on the others (gradient-boosted trees) in
    the brain of the same volume, as far as it was scanned. A lesion there looks as others
    of the patient do, if the other contrasts show it; what only the contrast itself would
    show is lost. The way to treat the regions is ours.

    An array does not say which slices are a volume, and is returned as it is.
    """

    def transform(self, X: Any) -> Any:
        """Fill in what was not scanned.

        Parameters
        ----------
        X : SliceStack or array-like of shape (n_slices, n_contrasts, H, W)
            Slices, not normalised. A stack is changed lazily.

        Returns
        -------
        SliceStack or ndarray of float32, shape (n_slices, n_contrasts, H, W)
            A stack for a stack; an array as it is.

        Raises
        ------
        ValueError
            If X is not of the shape expected, not finite or without brain; when a volume
            is read, if too little of it shows what a contrast is to be estimated from.

        Warns
        -----
        UserWarning
            Of each volume and contrast that is not complete, when it is read.
        """
        X = self._check(X)
        if not isinstance(X, SliceStack):
            return X
        return X._with(
            [
                volume.changed(steps=(*volume.steps, FillIn(volume.name, volume.contrasts)))
                for volume in X.volumes
            ]
        )


@dataclass(frozen=True)
class FillIn(VolumeStep):
    """The step of `CoverageImputer` on a whole volume; it warns by the volume's name."""

    volume: str
    contrasts: tuple[str, ...]

    def images(
        self, images: NDArray[np.float32], brain: NDArray[np.bool_], grid: Grid
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the images, filled in where a contrast was not scanned."""
        regions = uncovered(images, brain)
        if regions is None:
            return images, brain
        for name, region in zip(self.contrasts, regions):
            if region.any():
                share = np.count_nonzero(region) / np.count_nonzero(brain)
                warnings.warn(
                    f"{name} of {self.volume} does not cover {share:.0%} of the brain: its "
                    "field of view ends there. It is estimated from the other contrasts, "
                    f"and a lesion that only {name} shows is not seen there",
                    stacklevel=2,
                )
        images = filled_in(images, brain, regions, self.contrasts)
        keep_brain(images, brain)
        return images, brain


def filled_in(
    images: NDArray[np.float32],
    brain: NDArray[np.bool_],
    regions: NDArray[np.bool_],
    names: tuple[str, ...],
) -> NDArray[np.float32]:
    """Estimate contrasts in regions (n_contrasts, n_slices, H, W) from the others there.

    A contrast that is missing is NaN. Where hardly any voxel shows a contrast and those
    that are to stand in for it, that is an error.
    """
    # Not at the top: it takes a second to import, and few volumes need it.
    from sklearn.ensemble import HistGradientBoostingRegressor

    pixels = np.moveaxis(images, 1, -1)[brain]
    absent = np.moveaxis(regions, 0, -1)[brain]
    absent |= missing_contrasts(images).all(axis=0)
    estimates = pixels.copy()
    for pattern in np.unique(absent[absent.any(axis=1)], axis=0):
        here = (absent == pattern).all(axis=1)
        if pattern.all():
            continue
        for contrast in np.flatnonzero(pattern & regions.any(axis=(1, 2, 3))):
            known = np.flatnonzero(~absent[:, ~pattern].any(axis=1) & ~absent[:, contrast])
            if len(known) < _FEWEST:
                raise ValueError(
                    f"{names[contrast]} does not cover the whole brain, and is to be "
                    "estimated where it was not scanned; but only "
                    f"{len(known)} voxels show both it and what covers the rest, expected "
                    f"{_FEWEST} at least. Leave the contrast or the patient out"
                )
            known = known[:: len(known) // _N_FITTED + 1]
            model = HistGradientBoostingRegressor(early_stopping=False, random_state=0)
            model.fit(pixels[known][:, ~pattern], pixels[known, contrast])
            estimates[here, contrast] = model.predict(pixels[here][:, ~pattern])
    filled = np.moveaxis(images.copy(), 1, -1)
    filled[brain] = estimates
    return np.moveaxis(filled, -1, 1)
