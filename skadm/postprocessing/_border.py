"""Erosion of the brain's border."""

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from skadm._sklearn import Interval
from skadm.postprocessing._map_transformer import MapTransformer


class BorderEroder(MapTransformer):
    """Call the border of the brain normal.

    Remains of the skull, partial volume and the misfit of contrasts make the outermost
    pixels the most anomalous of many healthy brains. Lesions that lie there are lost, to
    the depth of `distance`: it should be small against them.

    Parameters
    ----------
    distance : float, default=4.0
        Brain pixels nearer than this to a pixel outside of the brain, in pixels, within
        the slice, are called normal. What lies beyond the edge of the slice is outside.

    Attributes
    ----------
    fill_ : float
        Score they get: the highest in the brain seen in `fit`.
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
            raise ValueError("no brain pixel: there is no highest score to learn.")
        self.fill_ = float(maps[brain].max())

    def _filter(self, volume: NDArray, brain: NDArray[np.bool_]) -> NDArray:
        rim = np.pad(brain, ((0, 0), (1, 1), (1, 1)))
        depth = np.stack([distance_transform_edt(inside) for inside in rim])[:, 1:-1, 1:-1]
        return np.where(depth <= self.distance, volume.dtype.type(self.fill_), volume)
