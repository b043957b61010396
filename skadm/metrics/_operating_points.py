"""Metrics at one point of the ROC curve that is named beforehand."""

import numpy as np
from numpy.typing import ArrayLike

from skadm.metrics._pixels import as_pair, count_labels, sort_pixels
from skadm.metrics._ranking import undefined
from skadm.metrics._threshold import pixel_scores_at_threshold


def pixel_fpr_at_tpr_score(y: ArrayLike, scores: ArrayLike, *, tpr: float = 0.95) -> float:
    """Compute the false positive rate at which a share of the anomalous pixels is flagged.

    Parameters
    ----------
    y : array-like of any shape
        Labels: 0 normal, 1 anomaly, -1 ignored.
    scores : array-like of the same shape
        Normality, higher = more normal, as `score_samples` returns it.
    tpr : float, default=0.95
        The share, in (0, 1].

    Returns
    -------
    float
        Least false positive rate of a threshold that flags so many or more; lower is
        better. NaN, with an `UndefinedMetricWarning`, when `y` holds no anomalous or no
        normal pixel.

    Raises
    ------
    ValueError
        If the shapes differ, `tpr` is out of its range, `y` holds other labels or only -1,
        or an evaluated score is not finite.
    """
    if not 0 < tpr <= 1:
        raise ValueError(f"tpr is {tpr}; expected more than 0 and at most 1.")
    pixels = sort_pixels(y, scores)
    if undefined(f"FPR at {tpr:g} TPR", pixels.counts):
        return float("nan")
    # Rounded first: 0.95 of 100 is 95 pixels, not 96.
    needed = int(np.ceil(round(tpr * pixels.anomalous.size, 6)))
    last = pixels.anomalous[max(needed, 1) - 1]
    flagged = np.searchsorted(pixels.normal, last, side="right")
    return float(flagged / pixels.normal.size)


def dice_at_fpr_score(y: ArrayLike, scores: ArrayLike, *, fpr: float = 0.05) -> float:
    """Compute Dice at a false positive rate that is fixed on normal slices.

    The threshold flags at most the share `fpr` of the brain pixels of the slices without a
    lesion: one that could be set without any label of a lesion. Dice is over the evaluated
    pixels of all slices.

    Parameters
    ----------
    y : array-like of shape (n_slices, ...)
        Labels: 0 normal, 1 anomaly, -1 ignored.
    scores : array-like of the same shape
        Normality, higher = more normal, as `score_samples` returns it.
    fpr : float, default=0.05
        The share, in [0, 1).

    Returns
    -------
    float
        Dice coefficient. NaN, with an `UndefinedMetricWarning`, when `y` holds no anomalous
        or no normal pixel.

    Raises
    ------
    ValueError
        If the shapes differ, `fpr` is out of its range, no slice is normal, `y` holds other
        labels or only -1, or an evaluated score is not finite.
    """
    if not 0 <= fpr < 1:
        raise ValueError(f"fpr is {fpr}; expected at least 0 and less than 1.")
    labels, values = as_pair(y, scores)
    if undefined(f"Dice at {fpr:g} FPR", count_labels(labels)):
        return float("nan")
    within = tuple(range(1, labels.ndim))
    normal = ~(labels == 1).any(axis=within) & (labels == 0).any(axis=within)
    if not normal.any():
        raise ValueError(
            f"each of the {len(labels)} slices holds an anomaly or no brain: expected "
            "normal slices, too, on which to fix the false positive rate."
        )
    found = np.sort(values[normal][labels[normal] == 0])
    # So many may lie below the threshold; of ties with the next, none does.
    threshold = found[int(np.floor(round(fpr * found.size, 6)))]
    return pixel_scores_at_threshold(labels, values, float(threshold))["dice"]
