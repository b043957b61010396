"""Median filter."""

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skadm._filters import median_in_brain
from skadm._sklearn import Interval
from skadm._validation import MEDIAN_SIZE
from skadm.postprocessing._map_transformer import MapTransformer


class MedianFilter(MapTransformer):
    """Apply a median filter over brain pixels only.

    Parameters
    ----------
    size : int, default=5
        Side of the square window within slices, in pixels; odd.
    size_through : int, default=1
        Number of slices of the patient in the window; odd. 1: the slice alone.

    Attributes
    ----------
    image_shape_ : tuple of int
        Height and width of the maps seen in `fit`.

    Notes
    -----
    For an even number of brain pixels, the median is the mean of the two middle values.
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "size": [MEDIAN_SIZE],
        "size_through": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, size: int = 5, *, size_through: int = 1) -> None:
        self.size = size
        self.size_through = size_through

    @property
    def _needs_neighbours(self) -> bool:
        return self.size_through > 1

    def _learn(self, maps: NDArray, brain: NDArray[np.bool_]) -> None:
        for name in ("size", "size_through"):
            if getattr(self, name) % 2 == 0:
                raise ValueError(f"{name}={getattr(self, name)}; expected an odd number.")

    def _filter(self, volume: NDArray, brain: NDArray[np.bool_]) -> NDArray:
        return median_in_brain(volume, brain, self.size, self.size_through)
