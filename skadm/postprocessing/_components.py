"""Removal of small components at every threshold."""

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skadm._sklearn import Interval
from skadm.metrics import anomaly_map
from skadm.postprocessing._map_transformer import MapTransformer


class SmallComponentRemover(MapTransformer):
    """Leave no flagged component smaller than a size, whatever the threshold.

    An area opening of the anomaly map (Vincent 1993): each peak is cut down to the level at
    which it is wide enough. Flagging the result at any threshold is flagging the map at
    that threshold and then removing its small components, so none has to be chosen.

    Parameters
    ----------
    min_size : int, default=20
        Pixels that a component must have to stay. Pixels that share a side are connected.
    through_slices : bool, default=False
        Whether components are those of the patient's volume, rather than of each slice.

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
    def _looks_through(self) -> bool:
        return self.through_slices

    def _filter(self, volume: NDArray, brain: NDArray[np.bool_]) -> NDArray:
        from skimage.morphology import area_opening

        # Ranks: exact, whatever the precision of the scores. Rank 0 is the background,
        # below everything, so that it connects nothing.
        levels, ranks = np.unique(anomaly_map(volume[brain]), return_inverse=True)
        image = np.zeros(volume.shape, np.int32)
        image[brain] = ranks + 1
        # Its neighbours are looked up past the edges of fewer than three slices.
        image = np.pad(image, 1)
        if self.through_slices:
            opened = area_opening(image, self.min_size, connectivity=1)
        else:
            opened = np.stack(
                [area_opening(plane, self.min_size, connectivity=1) for plane in image]
            )
        # A brain smaller than the size is cut down to nothing: to its least anomaly.
        cut = np.maximum(opened[1:-1, 1:-1, 1:-1], 1) - 1
        return anomaly_map(levels[cut]).astype(volume.dtype)
