"""The one training loop: batches, augmentation, precision, device."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Stage:
    """One stage of a training: what is optimised, on which images, by which loss.

    Attributes
    ----------
    name : str
        Stands in the history.
    module : torch.nn.Module
        The network whose parameters are optimised; it is in training mode meanwhile.
    images : torch.Tensor of shape (n, channels, H, W)
        On the CPU.
    loss : callable
        Takes a batch of images (augmented, on the device) and returns a dict of scalar
        tensors. The one under "loss" is minimised; all are recorded.
    augment : callable or None
        Takes a batch of images and the generator, returns the changed batch.
    """

    name: str
    module: torch.nn.Module
    images: torch.Tensor
    loss: Callable[[torch.Tensor], dict[str, torch.Tensor]]
    augment: Callable[[torch.Tensor, torch.Generator], torch.Tensor] | None = None


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
            If the loss is not finite. The step is not taken: the weights are the last
            finite ones.
        """
        optimiser = torch.optim.Adam(stage.module.parameters(), lr=learning_rate)
        n_batches = -(-len(stage.images) // self.batch_size)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, learning_rate, total_steps=n_epochs * n_batches + 1
        )
        for _ in range(n_epochs):
            started = time.perf_counter()
            stage.module.train()
            sums: dict[str, float] = {}
            n_slices = 0
            order = torch.randperm(len(stage.images), generator=self.generator)
            for indices in order.split(self.batch_size):
                batch = stage.images[indices]
                if stage.augment is not None:
                    batch = stage.augment(batch, self.generator)
                if not batch.any():
                    continue  # a crop without brain has nothing to learn from
                with self.autocast():
                    terms = stage.loss(self.place(batch))
                if not torch.isfinite(terms["loss"]):
                    raise DivergenceError(
                        f"the loss of stage {stage.name!r} became "
                        f"{terms['loss'].item()}; a smaller learning_rate "
                        f"(now {learning_rate:g}) usually helps"
                    )
                optimiser.zero_grad()
                terms["loss"].backward()
                optimiser.step()
                schedule.step()
                for name, value in terms.items():
                    sums[name] = sums.get(name, 0.0) + value.item() * len(indices)
                n_slices += len(indices)
            record = {name: value / max(n_slices, 1) for name, value in sums.items()}
            yield record | {"seconds": time.perf_counter() - started}

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
