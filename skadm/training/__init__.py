"""The trainer: stages of batches, on any device, that can be interrupted."""

from skadm.training._checkpoints import Checkpoints
from skadm.training._device import computes_bfloat16, resolve_device
from skadm.training._engine import Engine
from skadm.training._pretrained import PRETRAINED, known_contrasts, pretrained_network
from skadm.training._processes import Processes, launched
from skadm.training._stage import (
    DivergenceError,
    Objective,
    SingularCovarianceError,
    Stage,
)
from skadm.training._trainer import Trainer
from skadm.training._weights import check_weights, load_weights, weights_of

__all__ = [
    "PRETRAINED",
    "Checkpoints",
    "DivergenceError",
    "Engine",
    "Objective",
    "Processes",
    "SingularCovarianceError",
    "Stage",
    "Trainer",
    "check_weights",
    "computes_bfloat16",
    "known_contrasts",
    "launched",
    "load_weights",
    "pretrained_network",
    "resolve_device",
    "weights_of",
]
