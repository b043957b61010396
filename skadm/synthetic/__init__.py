"""Artificial lesions in normal slices, to compare detectors without real ones."""

from skadm.synthetic._kinds import (
    ContrastInconsistency,
    Deformation,
    ForeignTexture,
    IntensityShift,
)
from skadm.synthetic._paste import paste_lesions

__all__ = [
    "ContrastInconsistency",
    "Deformation",
    "ForeignTexture",
    "IntensityShift",
    "paste_lesions",
]
