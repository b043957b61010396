"""Stages and objectives of a training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from numpy.typing import NDArray


class DivergenceError(RuntimeError):
    """A loss is not finite."""


class SingularCovarianceError(RuntimeError):
    """A covariance without a floor has become singular (paper 2.7)."""


@dataclass(frozen=True)
class Objective:
    """A module and the loss to minimise.

    Attributes
    ----------
    module : torch.nn.Module
        The network whose parameters are optimised, in training mode.
    loss : callable
        Takes a batch of images (augmented, on the device) and returns a dict of scalar
        tensors, all of which are recorded.
    minimises : str
        Key of the loss to minimise.
    every : int
        A step is taken on every `every`-th batch, starting with the first.
    momentum : float or None
        Adam's β₁. None: cycled between 0.85 and 0.95, inversely to the learning rate.
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
        Name in the history.
    images : ndarray of shape (n, channels, H, W), or a tuple of them
        In memory or on disk. Channels of several arrays are concatenated.
    objectives : sequence of Objective
        Usually one; adversarial training has several, with steps in this order.
    augment : callable or None
        Takes a batch of images and the generator, returns the augmented batch.
    n_epochs : int or None
        None: the detector's `max_epochs`.
    """

    name: str
    images: NDArray | tuple[NDArray, ...]
    objectives: Sequence[Objective]
    augment: Callable[[torch.Tensor, torch.Generator], torch.Tensor] | None = None
    n_epochs: int | None = None

    @property
    def parts(self) -> tuple[NDArray, ...]:
        """The arrays whose channels form a slice; the first determines the brain."""
        return self.images if isinstance(self.images, tuple) else (self.images,)

    @property
    def module(self) -> torch.nn.ModuleList:
        """All trained modules."""
        return torch.nn.ModuleList(objective.module for objective in self.objectives)
