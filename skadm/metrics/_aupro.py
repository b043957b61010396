"""Per-region overlap: all lesions have equal weight, regardless of size."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import generate_binary_structure, label

from skadm.metrics._pixels import as_pair, described, sort_pixels
from skadm.metrics._ranking import undefined


@described
def pixel_aupro_score(
    y: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    max_fpr: float = 0.3,
) -> float:
    """Compute the area under the per-region-overlap curve (AUPRO), exactly.

    The curve plots the mean, over lesions, of the fraction of each lesion that is flagged
    against the false positive rate: a ROC curve in which all lesions have equal weight
    (Bergmann et al. 2021, 3.3.3).

    Parameters
    ----------
    %(y_of_slices)s
    %(scores)s
    groups : array-like of shape (n_slices,), default=None
        Patient of each slice, with slices in the order of the volume: lesions are then
        three-dimensional components. None: components within a slice.
    max_fpr : float, default=0.3
        Maximum false positive rate of the area, in (0, 1]; the area is divided by it.

    Returns
    -------
    float
        Between 0 and 1. NaN, with an `UndefinedMetricWarning`, when `y` holds no anomalous
        or no normal pixel.

    Raises
    ------
    ValueError
        If shapes do not match, `max_fpr` is out of range, `y` holds other labels or only
        -1, or an evaluated score is not finite.

    Notes
    -----
    No threshold grid is needed. A lesion pixel raises the curve by its weight at the
    false positive rate at which it is flagged (ties: linearly over the rates they span),
    so it contributes its weight times the distance from that rate to `max_fpr`.

    References
    ----------
    P. Bergmann, K. Batzner, M. Fauser, D. Sattlegger, C. Steger. The MVTec anomaly
    detection dataset. International Journal of Computer Vision 129 (2021) 1038-1059.
    """
    if not 0 < max_fpr <= 1:
        raise ValueError(f"max_fpr is {max_fpr}; expected a number in (0, 1].")
    labels, values = as_pair(y, scores)
    if labels.ndim != 3:
        raise ValueError(f"y has shape {labels.shape}; expected (n_slices, H, W).")
    pixels = sort_pixels(labels, values)
    if undefined("AUPRO", pixels.counts):
        return float("nan")
    structure = generate_binary_structure(3, 3)
    if groups is None:
        structure[[0, 2]] = False  # nothing connects slices
        parts = [slice(None)]
    else:
        patients = np.asarray(groups)
        if patients.shape != labels.shape[:1]:
            raise ValueError(
                f"groups have shape {patients.shape}; expected ({len(labels)},), one "
                "patient for each slice."
            )
        parts = [patients == name for name in dict.fromkeys(patients.tolist())]
    area = 0.0
    n_regions = 0
    for part in parts:
        regions, n_in_part = label(labels[part] == 1, structure)
        n_regions += n_in_part
        inside = regions > 0
        weights = 1 / np.bincount(regions[inside], minlength=n_in_part + 1)[regions[inside]]
        lesion_scores = values[part][inside]
        first, last = (
            np.searchsorted(pixels.normal, lesion_scores, side=side) / pixels.normal.size
            for side in ("left", "right")
        )
        area += float(weights @ _area_after(first, last, max_fpr))
    return area / (n_regions * max_fpr)


def _area_after(first: np.ndarray, last: np.ndarray, end: float) -> np.ndarray:
    """Return the area up to `end` under a ramp from 0 at `first` to 1 at `last`."""
    width = np.where(last > first, last - first, 1.0)
    rising = np.square(np.clip(end - first, 0, None)) / (2 * width)
    return np.where(end >= last, end - (first + last) / 2, rising)
