"""Detectors that are made of other detectors.

Each trains the detectors inside and changes their scores: averaging over seeds or mirror
images, filtering, controlling the false positive rate, or one score per slice or volume.
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
