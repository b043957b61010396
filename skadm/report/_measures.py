"""Metrics of one labelled patient."""

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import UndefinedMetricWarning

from skadm.metrics import (
    best_dice_score,
    pixel_average_precision_score,
    pixel_roc_auc_score,
    pixel_scores_at_threshold,
)
from skadm.metrics._lesion_detection import count_hits


def measure(
    labels: NDArray, scores: NDArray, threshold: float, regions: NDArray[np.int32]
) -> dict[str, float]:
    """Compare scores, normality, with labels, over brain pixels (n_slices, H, W).

    Labels are 0 normal, 1 anomaly, -1 outside the brain. A pixel is flagged when its score
    is below the threshold; `regions` numbers the flagged regions from 1. What is undefined,
    as the AUC is without an anomaly, is NaN.
    """
    with warnings.catch_warnings():
        # A patient without lesion is no surprise.
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        ranking = {
            "ROC AUC": pixel_roc_auc_score(labels, scores),
            "average precision": pixel_average_precision_score(labels, scores),
            "best possible Dice": best_dice_score(labels, scores),
        }
    pixels = pixel_scores_at_threshold(labels, scores, threshold, zero_division=np.nan)
    lesions = count_hits(np.where(labels >= 0, regions, 0), labels == 1)
    return ranking | {
        "Dice": pixels["dice"],
        "precision": pixels["precision"],
        "recall": pixels["recall"],
        "specificity": pixels["specificity"],
        "lesions": float(lesions.n_lesions),
        "lesions found": float(lesions.n_found),
        "false regions": float(lesions.n_false),
    }
