"""The trainer: stages of batches, on any device, that can be interrupted."""

from skadm.training._checkpoints import Checkpoints
from skadm.training._processes import launched
from skadm.training._stage import (
    Objective,
    Stage,
)
from skadm.training._trainer import Trainer

__all__ = [
    "Checkpoints",
    "Objective",
    "Stage",
    "Trainer",
    "launched",
]
