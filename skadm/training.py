"""The one training loop: batches, augmentation, precision, device."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch


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
    images : torch.Tensor of shape (n, channels, H, W)
        On the CPU.
    objectives : sequence of Objective
        One, as a rule; adversaries have one each, and take their steps in this order.
    augment : callable or None
        Takes a batch of images and the generator, returns the changed batch.
    n_epochs : int or None
        None: as many as the detector's `max_epochs`.
    """

    name: str
    images: torch.Tensor
    objectives: Sequence[Objective]
    augment: Callable[[torch.Tensor, torch.Generator], torch.Tensor] | None = None
    n_epochs: int | None = None


class _Optimiser:
    """Adam for one objective, under a one-cycle schedule."""

    def __init__(self, objective: Objective, n_batches: int, learning_rate: float) -> None:
        self.objective = objective
        beta = objective.momentum
        self.adam = torch.optim.Adam(
            objective.module.parameters(),
            lr=learning_rate,
            betas=(0.9 if beta is None else beta, 0.999),
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.adam,
            learning_rate,
            total_steps=-(-n_batches // objective.every) + 1,
            cycle_momentum=beta is None,
        )

    def step(self, loss: torch.Tensor) -> bool:
        """Take a step, unless the gradient is not finite."""
        # Gradients of this objective's parameters only: an adversary's stay as they are.
        parameters = self.adam.param_groups[0]["params"]
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        found = [gradient for gradient in gradients if gradient is not None]
        if not all(torch.isfinite(norm) for norm in torch._foreach_norm(found)):
            return False
        for parameter, gradient in zip(parameters, gradients):
            parameter.grad = gradient
        self.adam.step()
        self.schedule.step()
        return True


@dataclass(frozen=True)
class Engine:
    """Where and how batches are computed.

    Attributes
    ----------
    device : torch.device
    half : torch.dtype or None
        Type of the convolutions under autocast; None computes all in float32.
    batch_size : int
        Slices.
    generator : torch.Generator
        On the CPU, whatever the device: the same draws everywhere.
    """

    device: torch.device
    half: torch.dtype | None
    batch_size: int
    generator: torch.Generator

    def autocast(self) -> torch.autocast:
        """Context in which networks run."""
        return torch.autocast(
            self.device.type, dtype=self.half, enabled=self.half is not None
        )

    def epochs(
        self, stage: Stage, n_epochs: int, learning_rate: float
    ) -> Iterator[dict[str, float]]:
        """Train, one epoch for each item that is asked for.

        Parameters
        ----------
        stage : Stage
        n_epochs : int
            Length of the learning rate's schedule.
        learning_rate : float
            Of Adam, at the peak of a one-cycle schedule (Smith & Topin 2018): it rises
            over the first 30 % of the steps and then falls to almost nothing, so that
            the last weights are the ones to keep.

        Yields
        ------
        record : dict
            Means over the slices of the epoch of what the loss returned, and "seconds".

        Raises
        ------
        DivergenceError
            If the loss or its gradient is not finite. The step is not taken: the weights
            are the last finite ones.
        """
        n_batches = -(-len(stage.images) // self.batch_size)
        optimisers = [
            _Optimiser(objective, n_epochs * n_batches, learning_rate)
            for objective in stage.objectives
        ]
        n_seen = 0
        for _ in range(n_epochs):
            started = time.perf_counter()
            for objective in stage.objectives:
                objective.module.train()
            sums: dict[str, float] = {}
            n_slices: dict[str, int] = {}
            order = torch.randperm(len(stage.images), generator=self.generator)
            for indices in order.split(self.batch_size):
                batch = stage.images[indices]
                if stage.augment is not None:
                    batch = stage.augment(batch, self.generator)
                if not batch.any():
                    continue  # a crop without brain has nothing to learn from
                batch = self.place(batch)
                for optimiser in optimisers:
                    if n_seen % optimiser.objective.every:
                        continue
                    for name, value in self._step(stage.name, optimiser, batch).items():
                        sums[name] = sums.get(name, 0.0) + value * len(indices)
                        n_slices[name] = n_slices.get(name, 0) + len(indices)
                n_seen += 1
            record = {name: value / n_slices[name] for name, value in sums.items()}
            yield record | {"seconds": time.perf_counter() - started}

    def _step(
        self, stage: str, optimiser: _Optimiser, batch: torch.Tensor
    ) -> dict[str, float]:
        objective = optimiser.objective
        with self.autocast():
            terms = objective.loss(batch)
        loss = terms[objective.minimises]
        if not torch.isfinite(loss) or not optimiser.step(loss):
            raise DivergenceError(
                f"the loss of stage {stage!r} became {loss.item()}, or its gradient not "
                "finite; images that are not normalised, or a learning_rate too large (now "
                f"{optimiser.adam.defaults['lr']:g}), are the usual causes"
            )
        return {name: value.item() for name, value in terms.items()}

    def batches(self, images: torch.Tensor) -> Iterator[torch.Tensor]:
        """The images in their order, a batch at a time, on the device."""
        for batch in images.split(self.batch_size):
            yield self.place(batch)

    def place(self, batch: torch.Tensor) -> torch.Tensor:
        """The batch on the device, channels last, which convolutions like best."""
        return batch.to(self.device, memory_format=torch.channels_last)

    def apply(
        self, function: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor
    ) -> torch.Tensor:
        """Result of `function` on every batch, in one float32 tensor on the CPU.

        The result does not depend on the batch size. A lone slice is computed twice
        over: for one small image torch takes another convolution kernel than for two or
        more, and it rounds differently.
        """
        results = []
        with torch.inference_mode(), self.autocast():
            for batch in self.batches(images):
                pair = batch.expand(max(2, len(batch)), *batch.shape[1:])
                results.append(function(pair)[: len(batch)].float().cpu())
        return torch.cat(results)


class DivergenceError(RuntimeError):
    """A loss is not finite any more."""


class SingularCovarianceError(RuntimeError):
    """A covariance without a floor cannot be inverted any more (paper 2.7)."""
