"""Detectors that are made of other detectors.

Each trains the detectors inside and changes their scores: their mean over seeds or mirror
images, filters, a false positive rate that is held, one score for a slice or a volume.
"""

from skadm.wrappers._conformal import ConformalDetector
from skadm.wrappers._ensemble import EnsembleDetector
from skadm.wrappers._flips import FlipAveragedDetector
from skadm.wrappers._postprocessed import PostprocessedDetector
from skadm.wrappers._slice_scores import SliceDetector
from skadm.wrappers._volume_scores import VolumeDetector

__all__ = [
    "ConformalDetector",
    "EnsembleDetector",
    "FlipAveragedDetector",
    "PostprocessedDetector",
    "SliceDetector",
    "VolumeDetector",
]
