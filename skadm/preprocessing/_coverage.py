"""Imputation of a contrast outside its field of view."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skadm._missing import missing_contrasts
from skadm.data import SliceStack
from skadm.data._interfaces import Grid, VolumeStep
from skadm.preprocessing._field_of_view import uncovered
from skadm.preprocessing._stack_transformer import StackTransformer, keep_brain

_N_FITTED = 20_000  # voxels for fitting a regression
_FEWEST = 100  # minimum of these


class CoverageImputer(StackTransformer):
    """Estimate a contrast from the others where it was not scanned.

    The field of view of a contrast may end within the brain while other contrasts cover
    it. Values beyond its edge are near 0, which detectors would score as anomalous. This
    transformer finds such regions in whole volumes, warns, and imputes them from the
    other contrasts, which then determine the scores there. Complete volumes are
    unchanged.

    Put it first in a Pipeline, since z-scores of a cut contrast are wrong everywhere. It
    is stateless.

    Attributes
    ----------
    n_features_in_ : int
        Number of contrasts seen in `fit`.

    Notes
    -----
    An uncovered region lies beyond a plane through the brain at which the contrast ends
    abruptly: at least 90 % of the voxels in the layers outside have less than
    0.2 of the typical value of the contrast, and are at least 1 % of the brain; within 3
    layers (or 4 % of them) behind the edge, 30 % at most are so dark. At least one other
    contrast must show tissue there. Dark tissue, fluid and necrosis do not meet these
    criteria.

    The estimate is a regression of the contrast on the others (gradient-boosted trees) in
    the covered brain of the same volume. A lesion in the region is imputed from the other
    contrasts that show it; a lesion visible only in the missing contrast is lost. This
    method is not from the paper.

    Arrays are returned unchanged, since their slices are not assigned to volumes.
    """

    def transform(self, X: Any) -> Any:
        """Impute contrasts outside their field of view.

        Parameters
        ----------
        X : SliceStack or array-like of shape (n_slices, n_contrasts, H, W)
            Slices, not normalised. A stack is transformed lazily.

        Returns
        -------
        SliceStack or ndarray of float32, shape (n_slices, n_contrasts, H, W)
            A stack for a stack; an array unchanged.

        Raises
        ------
        ValueError
            If X has a wrong shape, is not finite or has no brain; or, when a volume is
            read, if too few voxels are available for the regression.

        Warns
        -----
        UserWarning
            For each volume with an incomplete contrast, when it is read.
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
    """The step of `CoverageImputer` for a whole volume, named in the warning."""

    volume: str
    contrasts: tuple[str, ...]

    def images(
        self, images: NDArray[np.float32], brain: NDArray[np.bool_], grid: Grid
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the images with imputed regions."""
        regions = uncovered(images, brain)
        if regions is None:
            return images, brain
        for name, region in zip(self.contrasts, regions):
            if region.any():
                share = np.count_nonzero(region) / np.count_nonzero(brain)
                warnings.warn(
                    f"{name} of {self.volume} does not cover {share:.0%} of the brain: "
                    "its field of view ends there. It is estimated from the other "
                    f"contrasts, so lesions visible only in {name} are missed there",
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
    """Impute contrasts in regions (n_contrasts, n_slices, H, W) from the others.

    Missing contrasts are NaN. Raises a ValueError if too few voxels show both a contrast
    and its predictors.
    """
    # Imported here: it takes a second, and few volumes need it.
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
                    f"{names[contrast]} does not cover the whole brain, and only "
                    f"{len(known)} voxels are available to estimate it from the other "
                    f"contrasts; expected at least {_FEWEST}. Leave the contrast or the "
                    "patient out"
                )
            known = known[:: len(known) // _N_FITTED + 1]
            model = HistGradientBoostingRegressor(early_stopping=False, random_state=0)
            model.fit(pixels[known][:, ~pattern], pixels[known, contrast])
            estimates[here, contrast] = model.predict(pixels[here][:, ~pattern])
    filled = np.moveaxis(images.copy(), 1, -1)
    filled[brain] = estimates
    return np.moveaxis(filled, -1, 1)
