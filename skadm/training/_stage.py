"""What is trained, on what, by which loss."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from numpy.typing import NDArray


class DivergenceError(RuntimeError):
    """A loss is not finite any more."""


class SingularCovarianceError(RuntimeError):
    """A covariance without a floor cannot be inverted any more (paper 2.7)."""


@dataclass(frozen=True)
class Objective:
    """What is optimised, and by which loss.

    Attributes
    ----------
    module : torch.nn.Module
        The network whose parameters are optimised; it is in training mode meanwhile.
    loss : callable
        Takes a batch of images (augmented, on the device) and returns a dict of scalar
        tensors, all of which are recorded.
    minimises : str
        The one of them that is minimised.
    every : int
        A step is taken for the first of so many batches, and for none of the others.
    momentum : float or None
        Adam's β₁. None: it moves between 0.85 and 0.95 against the learning rate.
    """

    module: torch.nn.Module
    loss: Callable[[torch.Tensor], dict[str, torch.Tensor]]
    minimises: str = "loss"
    every: int = 1
    momentum: float | None = None


@dataclass(frozen=True)
class Stage:
    """One stage of a training.

    Attributes
    ----------
    name : str
        Stands in the history.
    images : ndarray of shape (n, channels, H, W), or a tuple of them
        In memory or on disk. The channels of several go side by side.
    objectives : sequence of Objective
        One, as a rule; adversaries have one each, and take their steps in this order.
    augment : callable or None
        Takes a batch of images and the generator, returns the changed batch.
    n_epochs : int or None
        None: as many as the detector's `max_epochs`.
    """

    name: str
    images: NDArray | tuple[NDArray, ...]
    objectives: Sequence[Objective]
    augment: Callable[[torch.Tensor, torch.Generator], torch.Tensor] | None = None
    n_epochs: int | None = None

    @property
    def parts(self) -> tuple[NDArray, ...]:
        """The arrays whose channels make a slice; the first one tells where brain is."""
        return self.images if isinstance(self.images, tuple) else (self.images,)

    @property
    def module(self) -> torch.nn.ModuleList:
        """All that is trained."""
        return torch.nn.ModuleList(objective.module for objective in self.objectives)
