"""Regions of what is flagged: components, split where the anomaly sinks between peaks."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from skadm._filters import smooth_in_brain

# Chosen on the patients of `lgg` (docs/report.md); the other data took no part.
_SMOOTHING = 3.0  # mm: standard deviation of the Gaussian before peaks are looked for
_SADDLE = 0.6  # of the lower peak; where the way between two is lower, they are split

_TOUCHING = np.ones((3, 3, 3), bool)


def flagged_regions(height: NDArray, voxel_size: Sequence[float]) -> NDArray[np.int32]:
    """Number the regions of a volume from 1; 0 is where nothing is flagged.

    A component of flagged voxels, connected over faces, edges or corners, is one region if
    its anomaly has one peak. Two peaks are two regions if the way between them sinks below
    0.6 of the lower one. That is a watershed from peaks of high dynamics (Grimaud 1992),
    which are measured as a share of the peak, since anomaly has no unit. Before, heights
    are smoothed over flagged voxels by a Gaussian of 3 mm. So two lesions that touch, or a
    lesion and the rim of the brain, are separated for any thickness of the slices.

    `height`, (n_slices, H, W), is the anomaly above the threshold, positive where a voxel
    is flagged; `voxel_size` is in mm along slices, rows and columns.
    """
    from skimage.morphology import local_maxima, reconstruction
    from skimage.segmentation import watershed

    regions = np.zeros(height.shape, np.int32)
    boxes = ndimage.find_objects((height > 0).astype(np.int8))
    if not boxes:
        return regions
    padded = np.pad(height[boxes[0]].astype(np.float64), 1)
    flagged = padded > 0
    through, *within = (_SMOOTHING / size for size in voxel_size)
    smooth = smooth_in_brain(padded, flagged, within, through)
    # A peak outlives being lowered to this share if all ways to a higher one sink below it.
    left = reconstruction(_SADDLE * smooth, smooth, footprint=_TOUCHING)
    peaks, _ = ndimage.label(local_maxima(left) & flagged, _TOUCHING)
    segments = watershed(-smooth, peaks, connectivity=_TOUCHING, mask=flagged)
    regions[boxes[0]] = segments[1:-1, 1:-1, 1:-1]
    return regions
