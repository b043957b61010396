"""Gaussian smoothing."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skadm._filters import smooth_in_brain
from skadm._validation import FILTER_WIDTH
from skadm.postprocessing._map_transformer import MapTransformer


class GaussianSmoother(MapTransformer):
    """Smooth maps with a Gaussian over brain pixels only.

    Normalised convolution: weights outside the brain are 0, and the others sum to 1.

    Parameters
    ----------
    sigma : float, default=2.0
        Standard deviation within slices, in pixels.
    sigma_through : float, default=0.0
        Standard deviation through the slices of a patient, in slices. 0: none.

    Attributes
    ----------
    image_shape_ : tuple of int
        Height and width of the maps seen in `fit`.
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "sigma": [FILTER_WIDTH],
        "sigma_through": [FILTER_WIDTH],
    }

    def __init__(self, sigma: float = 2.0, *, sigma_through: float = 0.0) -> None:
        self.sigma = sigma
        self.sigma_through = sigma_through

    @property
    def _needs_neighbours(self) -> bool:
        return self.sigma_through > 0

    def _filter(self, volume: NDArray, brain: NDArray[np.bool_]) -> NDArray:
        return smooth_in_brain(volume, brain, self.sigma, self.sigma_through)
