"""Metrics of one labelled patient."""

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import UndefinedMetricWarning

from skadm.metrics import (
    best_dice_score,
    lesions_at_threshold,
    pixel_average_precision_score,
    pixel_roc_auc_score,
    pixel_scores_at_threshold,
)


def measure(labels: NDArray, scores: NDArray, threshold: float) -> dict[str, float]:
    """Compare scores, normality, with labels, over brain pixels (n_slices, H, W).

    Labels are 0 normal, 1 anomaly, -1 outside the brain. A pixel is flagged when its score
    is below the threshold. What is undefined, as the AUC is without an anomaly, is NaN.
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
    lesions = lesions_at_threshold(labels, scores, np.zeros(len(labels)), threshold)
    return ranking | {
        "Dice": pixels["dice"],
        "precision": pixels["precision"],
        "recall": pixels["recall"],
        "specificity": pixels["specificity"],
        "lesions": float(lesions.n_lesions),
        "lesions found": float(lesions.n_found),
        "false regions": float(lesions.n_false),
    }
