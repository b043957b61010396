"""The evaluation protocol: who is trained on, who is tested on, and what is measured.

Normal slices show brain and no lesion. Detectors learn from the normal slices of the
training patients; their threshold is the one with the best F1 on the abnormal slices of
the same patients (validation); they are tested on *all* slices of other patients.

Arrays or a `SliceStack` go in, rows (plain dicts) come out. A lazy stack is read again by
every method: give ``stack.in_memory()`` where there is room for it.
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
