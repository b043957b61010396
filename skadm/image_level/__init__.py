"""Detection at the level of images: one score for a whole slice, or a whole volume."""

from skadm.image_level._labels import slice_labels, volume_labels
from skadm.image_level._scorer import anomaly_average_precision
from skadm.image_level._slices import SliceDetector
from skadm.image_level._split import volumes_of
from skadm.image_level._volumes import VolumeDetector

__all__ = [
    "SliceDetector",
    "VolumeDetector",
    "anomaly_average_precision",
    "slice_labels",
    "volume_labels",
    "volumes_of",
]
