"""What is measured on: slices, sizes, repeats."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skadm import ADMDetector

BATCH = 16  # slices of a step


@dataclass(frozen=True)
class Setting:
    """What all sections share.

    Attributes
    ----------
    images : ndarray of shape (n, K, H, W), float32
        Normalised slices without lesion.
    width : int
        Channels of the translation network's first layer.
    repeats : int
        Rounds of each measurement.
    data : str
        "phantom", or a folder of scans.
    metric_pixels : tuple of int
        Numbers of pixels for the metrics.
    volume_shape : tuple of int
        Side and number of slices of the phantom's files.
    """

    images: NDArray[np.float32]
    width: int
    repeats: int
    data: str
    metric_pixels: tuple[int, ...]
    volume_shape: tuple[int, int]

    @property
    def some(self) -> NDArray[np.float32]:
        """At most two batches of slices."""
        return self.images[: 2 * BATCH]

    def detector(self, **parameters: Any) -> ADMDetector:
        """The detector, not fitted; without augmentation, as the plain version."""
        chosen = {"width": self.width, "batch_size": BATCH, "augmentation": None}
        return ADMDetector(**{**chosen, "random_state": 0, **parameters})
