"""The evaluation protocol: splits, training, thresholds and metrics.

Normal slices show brain without lesions. Detectors are trained on the normal slices of
the training patients; the threshold has the best F1 on the abnormal slices of the same
patients (validation); testing uses *all* slices of other patients.

Input is arrays or a `SliceStack`, output is rows (plain dicts). Every method reads a lazy
stack again: pass ``stack.in_memory()`` if it fits into memory.
"""

from skadm.evaluation._baselines import intensity_baselines
from skadm.evaluation._protocol import (
    Evaluation,
    evaluate,
    evaluate_split,
    patient_split,
)
from skadm.evaluation._t_test import paired_t_tests
from skadm.evaluation._tables import (
    format_table,
    summarise_seeds,
)
from skadm.evaluation._verdict import verdict

__all__ = [
    "Evaluation",
    "evaluate",
    "evaluate_split",
    "format_table",
    "intensity_baselines",
    "paired_t_tests",
    "patient_split",
    "summarise_seeds",
    "verdict",
]
