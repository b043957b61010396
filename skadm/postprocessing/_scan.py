"""Scores relative to those of the rest of the scan."""

import numpy as np
from numpy.typing import NDArray

from skadm.postprocessing._map_transformer import MapTransformer

# The standard deviation of a normal distribution is so many of its median absolute
# deviations.
_PER_MAD = 1.4826


class ScanStandardizer(MapTransformer):
    """Scores less the median of their scan, in units of its median absolute deviation.

    Most of a scan is normal, also of a patient with a large lesion. So a scan says by
    itself what its normal scores are, however noisy it is, and however little it resembles
    what a detector was trained on. The deviation is scaled to be the standard deviation of
    normally distributed scores.

    Attributes
    ----------
    image_shape_ : tuple of int
        Height and width of the maps seen in `fit`.

    Notes
    -----
    Give whole scans: of some slices, the median is another one. A scan of which more than
    half of the scores are equal keeps them in their own units.
    """

    @property
    def _looks_through(self) -> bool:
        return True

    def _filter(self, volume: NDArray, brain: NDArray[np.bool_]) -> NDArray:
        values = volume[brain].astype(np.float64)
        median = np.median(values)
        deviation = _PER_MAD * np.median(np.abs(values - median))
        centred = volume - volume.dtype.type(median)
        return centred / volume.dtype.type(deviation) if deviation else centred
