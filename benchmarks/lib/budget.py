"""Less work with --budget, the same on every machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from skadm.base import Detector
    from skadm.data import SliceStack

BUDGET_EPOCHS = 1 / 2  # of the preset's epochs, in every stage
BUDGET_SLICES = 1000  # of all patients together


def with_fewer_epochs(detector: Detector, share: float = BUDGET_EPOCHS) -> Detector:
    """Reduce the epochs of each stage to a share of them, at least one."""
    epochs = {
        name: max(1, round(value * share))
        for name, value in detector.get_params().items()
        if name.endswith("epochs") and value
    }
    return detector.set_params(**epochs)


def with_fewer_slices(stack: SliceStack) -> SliceStack:
    """Choose about `BUDGET_SLICES` slices, evenly, the same share of each patient."""
    share = min(1, BUDGET_SLICES / len(stack))
    groups = stack.groups
    chosen = []
    for patient in dict.fromkeys(groups.tolist()):
        slices = np.flatnonzero(groups == patient)
        n_kept = max(1, round(share * len(slices)))
        places = (np.arange(n_kept) + 0.5) * len(slices) / n_kept
        chosen.append(slices[places.astype(int)])
    return stack[np.concatenate(chosen)]
