"""The one training loop: stages of batches, on any device, that can be interrupted."""

from skadm.training._checkpoints import Checkpoints
from skadm.training._engine import Engine
from skadm.training._errors import DivergenceError, SingularCovarianceError
from skadm.training._loop import Training
from skadm.training._processes import Processes, launched
from skadm.training._stage import Objective, Stage

__all__ = [
    "Checkpoints",
    "DivergenceError",
    "Engine",
    "Objective",
    "Processes",
    "SingularCovarianceError",
    "Stage",
    "Training",
    "launched",
]
