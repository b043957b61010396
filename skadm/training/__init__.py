"""The trainer: staged, interruptible training on any device."""

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
