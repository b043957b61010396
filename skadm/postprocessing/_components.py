"""Removal of small components at every threshold."""

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skadm._sklearn import Interval
from skadm.metrics import anomaly_map
from skadm.postprocessing._map_transformer import MapTransformer


class SmallComponentRemover(MapTransformer):
    """Remove components smaller than a given size, at every threshold.

    An area opening of the anomaly map (Vincent 1993): each peak is lowered to the level
    at which it is large enough. Thresholding the result is the same as thresholding the
    map and then removing small components, for every threshold.

    Parameters
    ----------
    min_size : int, default=20
        Minimum number of pixels of a component. Pixels that share a side are connected.
    through_slices : bool, default=False
        Whether components are three-dimensional rather than within slices.

    Attributes
    ----------
    image_shape_ : tuple of int
        Height and width of the maps seen in `fit`.

    References
    ----------
    L. Vincent. Grayscale area openings and closings, their efficient implementation and
    applications. EURASIP Workshop on Mathematical Morphology (1993) 22-27.
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "min_size": [Interval(Integral, 1, None, closed="left")],
        "through_slices": ["boolean"],
    }

    def __init__(self, min_size: int = 20, *, through_slices: bool = False) -> None:
        self.min_size = min_size
        self.through_slices = through_slices

    @property
    def _needs_neighbours(self) -> bool:
        return self.through_slices

    def _filter(self, volume: NDArray, brain: NDArray[np.bool_]) -> NDArray:
        from skimage.morphology import area_opening

        # Ranks are exact for any precision of the scores. Background has rank 0, below
        # all others, so it connects nothing.
        levels, ranks = np.unique(anomaly_map(volume[brain]), return_inverse=True)
        image = np.zeros(volume.shape, np.int32)
        image[brain] = ranks + 1
        # scikit-image accesses neighbours beyond the edges of fewer than three slices.
        image = np.pad(image, 1)
        if self.through_slices:
            opened = area_opening(image, self.min_size, connectivity=1)
        else:
            opened = np.stack(
                [area_opening(plane, self.min_size, connectivity=1) for plane in image]
            )
        # A brain smaller than min_size is lowered to its least anomaly.
        cut = np.maximum(opened[1:-1, 1:-1, 1:-1], 1) - 1
        return anomaly_map(levels[cut]).astype(volume.dtype)
