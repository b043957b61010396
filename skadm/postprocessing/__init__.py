"""Filters of score maps, as transformers.

A filter maps normality maps (n_slices, H, W) to filtered ones. Only brain pixels are used
and changed; slices of one patient are neighbours in their given order.
`skadm.PostprocessedDetector` combines filters with a detector.
"""

from skadm.postprocessing._border import BorderEroder
from skadm.postprocessing._components import SmallComponentRemover
from skadm.postprocessing._gaussian import GaussianSmoother
from skadm.postprocessing._median import MedianFilter

__all__ = [
    "BorderEroder",
    "GaussianSmoother",
    "MedianFilter",
    "SmallComponentRemover",
]
