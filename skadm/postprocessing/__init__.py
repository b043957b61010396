"""Filters of score maps, as transformers.

A filter takes normality maps (n_slices, H, W) and gives such maps back. Only brain pixels
enter and are changed; slices of one patient are neighbours in the order they have.
`skadm.PostprocessedDetector` carries filters along with a detector.
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
