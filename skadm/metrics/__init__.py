"""Metrics over brain pixels; the only module that changes the sign of scores.

Every function takes labels `y` (0 normal, 1 anomaly, -1 ignored) and `scores`, the
*normality* maps of `score_samples` (higher = more normal), of one shape, and reports with
the anomaly as the positive class. Thresholds stay on the normality scale: a pixel is
called anomalous when ``score < threshold``, so a threshold can be assigned to a detector's
`offset_` as it is.

All pixels are pooled; `per_patient` gives one value for each patient instead.
"""

from skadm.metrics._aupro import pixel_aupro_score
from skadm.metrics._curves import pixel_precision_recall_curve, pixel_roc_curve
from skadm.metrics._groups import per_patient, roc_auc_by_lesion_size
from skadm.metrics._lesion_detection import (
    lesion_froc_curve,
    lesions_at_threshold,
)
from skadm.metrics._ranking import pixel_average_precision_score, pixel_roc_auc_score
from skadm.metrics._scorers import average_precision_scorer, roc_auc_scorer
from skadm.metrics._sign import anomaly_map
from skadm.metrics._threshold import (
    best_dice_score,
    best_f1_threshold,
    pixel_fpr_at_tpr_score,
    pixel_scores_at_threshold,
)

__all__ = [
    "anomaly_map",
    "average_precision_scorer",
    "best_dice_score",
    "best_f1_threshold",
    "lesion_froc_curve",
    "lesions_at_threshold",
    "per_patient",
    "pixel_aupro_score",
    "pixel_average_precision_score",
    "pixel_fpr_at_tpr_score",
    "pixel_precision_recall_curve",
    "pixel_roc_auc_score",
    "pixel_roc_curve",
    "pixel_scores_at_threshold",
    "roc_auc_by_lesion_size",
    "roc_auc_scorer",
]
