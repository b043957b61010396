"""Artificial lesions in normal slices, to tell detectors apart without real ones."""

from skadm.synthetic._kinds import (
    KINDS,
    ContrastInconsistency,
    Deformation,
    ForeignTexture,
    IntensityShift,
    LesionKind,
)
from skadm.synthetic._paste import paste_lesions

__all__ = [
    "KINDS",
    "ContrastInconsistency",
    "Deformation",
    "ForeignTexture",
    "IntensityShift",
    "LesionKind",
    "paste_lesions",
]
