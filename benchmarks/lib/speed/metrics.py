"""Exact AUC and average precision of pixels against scikit-learn."""

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.lib.speed.memory import peak_mib
from benchmarks.lib.speed.rows import Row
from benchmarks.lib.speed.setting import Setting
from benchmarks.lib.speed.timing import interleave, timed
from skadm.metrics import pixel_average_precision_score, pixel_roc_auc_score

GOAL = 8
ANOMALOUS = 0.03  # share of the pixels


def draw(n_pixels: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Labels and normality of brain pixels; those of anomalies are lower on average."""
    random = np.random.default_rng(0)
    y = (random.random(n_pixels, dtype=np.float32) < ANOMALOUS).astype(np.int8)
    scores = random.standard_normal(n_pixels, dtype=np.float32)
    scores -= 1.5 * y.astype(np.float32)
    return y, scores


def measure(setting: Setting) -> list[Row]:
    """A row for each metric and number of pixels."""
    pairs = {
        "ROC AUC": (pixel_roc_auc_score, roc_auc_score),
        "average precision": (pixel_average_precision_score, average_precision_score),
    }
    rows = []
    for n_pixels in setting.metric_pixels:
        y, scores = draw(n_pixels)
        anomaly = -scores
        for name, (ours, theirs) in pairs.items():
            tasks = [
                timed("ours", lambda f=ours, y=y, s=scores: f(y, s)),
                timed("scikit-learn", lambda f=theirs, y=y, s=anomaly: f(y, s)),
            ]
            medians = interleave(tasks, setting.repeats)
            difference = abs(ours(y, scores) - theirs(y, anomaly))
            rows.append(
                Row(
                    f"{name} of {n_pixels:.0e} pixels, against scikit-learn",
                    medians["ours"],
                    medians["scikit-learn"],
                    GOAL,
                    f"values differ by {difference:.1g}",
                    peak_mib(tasks[0]),
                    peak_mib(tasks[1]),
                )
            )
    return rows
