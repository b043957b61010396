"""Slice-level and volume-level labels and scorer, and splitting of stacks."""

from skadm.image_level._average_precision import anomaly_average_precision
from skadm.image_level._labels import slice_labels, volume_labels
from skadm.image_level._volumes_of import volumes_of

__all__ = [
    "anomaly_average_precision",
    "slice_labels",
    "volume_labels",
    "volumes_of",
]
