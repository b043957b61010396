"""Metrics of maps that only benchmarks use."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skadm.metrics import (
    lesion_froc_curve,
    pixel_average_precision_score,
    pixel_roc_auc_score,
    pixel_scores_at_threshold,
)


def measure(
    labels: NDArray, maps: NDArray, threshold: float | None = None
) -> dict[str, float]:
    """Compute AUC and AP of maps, and F1 at a threshold."""
    row = {
        "auc": pixel_roc_auc_score(labels, maps),
        "ap": pixel_average_precision_score(labels, maps),
    }
    if threshold is not None:
        row["f1"] = pixel_scores_at_threshold(labels, maps, threshold)["f1"]
    return row


def dice_at_fpr(labels: NDArray, maps: NDArray, fpr: float) -> float:
    """Compute Dice at a false positive rate on normal slices.

    The threshold flags at most the share `fpr` of the brain pixels of the slices without a
    lesion: setting it needs normal slices, but no mask. Dice is over all slices.
    """
    normal = ~(labels == 1).any(axis=(1, 2))
    scores = np.sort(maps[normal][labels[normal] == 0])
    if not scores.size:
        raise ValueError(
            f"each of the {len(labels)} slices holds an anomaly or no brain: there is no "
            "normal slice to fix the false positive rate on"
        )
    # This many may lie below the threshold; ties with the next do not.
    threshold = scores[int(np.floor(round(fpr * scores.size, 6)))]
    return pixel_scores_at_threshold(labels, maps, float(threshold))["dice"]


def lesion_sensitivities(
    labels: NDArray, maps: NDArray, groups: NDArray, most: tuple[float, ...], **more: Any
) -> list[float]:
    """Return the highest lesion sensitivity for a number of false alarms per patient.

    For each number in `most`; 0 where no threshold of `lesion_froc_curve`, which takes
    `more`, keeps to it.
    """
    false_alarms, sensitivity, _ = lesion_froc_curve(labels, maps, groups, **more)
    return [float(sensitivity[false_alarms <= n].max(initial=0)) for n in most]
