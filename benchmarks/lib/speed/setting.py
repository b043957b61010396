"""What is measured on: slices, sizes, repeats."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skadm import ADMDetector

BATCH = 16  # slices of a step


@dataclass(frozen=True)
class Setting:
    """What all sections share."""

    images: NDArray[np.float32]  # (n, K, H, W), normalised slices without lesion
    width: int  # channels of the translation network's first layer
    repeats: int  # rounds of each measurement
    data: str  # "phantom", or a folder of scans
    metric_pixels: tuple[int, ...]  # numbers of pixels for the metrics
    volume_shape: tuple[int, int]  # side and number of slices of the phantom's files

    def some(self, n_slices: int = 2 * BATCH) -> NDArray[np.float32]:
        """So many slices at most, evenly spread: not the lowest of one patient."""
        n_slices = min(n_slices, len(self.images))
        places = np.linspace(0, len(self.images) - 1, n_slices).astype(int)
        return np.ascontiguousarray(self.images[places])

    def detector(self, **parameters: Any) -> ADMDetector:
        """The detector, not fitted; without augmentation, as the plain version."""
        chosen = {"width": self.width, "batch_size": BATCH, "augmentation": None}
        return ADMDetector(**{**chosen, "random_state": 0, **parameters})
