"""Removal of the brain border."""

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from skadm._sklearn import Interval
from skadm.postprocessing._map_transformer import MapTransformer


class BorderEroder(MapTransformer):
    """Score the border of the brain as normal.

    Skull remnants, partial volume and misregistration make the outermost pixels the most
    anomalous of many healthy brains. Lesions within `distance` of the border are lost, so
    it should be small relative to them.

    Parameters
    ----------
    distance : float, default=4.0
        In-plane distance in pixels to the nearest pixel outside the brain, below which
        brain pixels are scored as normal. Everything beyond the edge of the slice is
        outside.

    Attributes
    ----------
    fill_ : float
        Their score: the highest score in the brain seen in `fit`.
    image_shape_ : tuple of int
        Height and width of the maps seen in `fit`.
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "distance": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(self, distance: float = 4.0) -> None:
        self.distance = distance

    def _learn(self, maps: NDArray, brain: NDArray[np.bool_]) -> None:
        if not brain.any():
            raise ValueError(
                "brain has no pixel; expected brain pixels to learn the highest score from."
            )
        self.fill_ = float(maps[brain].max())

    def _filter(self, volume: NDArray, brain: NDArray[np.bool_]) -> NDArray:
        rim = np.pad(brain, ((0, 0), (1, 1), (1, 1)))
        depth = np.stack([distance_transform_edt(inside) for inside in rim])[:, 1:-1, 1:-1]
        return np.where(depth <= self.distance, volume.dtype.type(self.fill_), volume)
