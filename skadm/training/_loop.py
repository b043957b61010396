"""Epochs and batches of one stage."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from skadm.training._engine import Engine
from skadm.training._errors import DivergenceError
from skadm.training._optimiser import Optimiser
from skadm.training._processes import Processes
from skadm.training._stage import Stage
from skadm.training._windows import Windows


def _nothing() -> None:
    """Do nothing after a batch."""


class Training:
    """A stage under way.

    It can be saved after any batch, and go on from there to the same end.

    Parameters
    ----------
    engine : Engine
    stage : Stage
    n_epochs : int
        Length of the learning rate's schedule.
    learning_rate : float
        Of Adam, at the peak of a one-cycle schedule.
    """

    def __init__(
        self, engine: Engine, stage: Stage, n_epochs: int, learning_rate: float
    ) -> None:
        self.engine, self.stage, self.n_epochs = engine, stage, n_epochs
        self.processes = Processes()
        self._windows = Windows(stage.parts[0])
        n_batches = -(-len(stage.parts[0]) // engine.batch_size)
        self._optimisers = [
            Optimiser(
                objective,
                n_epochs * n_batches,
                learning_rate,
                engine.device,
                self.processes,
            )
            for objective in stage.objectives
        ]
        self.epoch = 0
        self._n_seen = 0
        self._begin()

    def _begin(self) -> None:
        """Be before the first batch of an epoch."""
        self._batches: list[np.ndarray] = []
        self._position = 0
        self._sums: dict[str, torch.Tensor] = {}
        self._counts: dict[str, int] = {}
        self._seconds = 0.0

    def epochs(self) -> Iterator[dict[str, float]]:
        """Train to the end, one epoch for each item that is asked for.

        Yields
        ------
        record : dict
            As `run_epoch` returns it.
        """
        while self.epoch < self.n_epochs:
            yield self.run_epoch()

    def run_epoch(self, after_batch: Callable[[], None] = _nothing) -> dict[str, float]:
        """Train to the end of the epoch.

        Parameters
        ----------
        after_batch : callable
            Called after each batch, when `state` has all that the rest depends on. What
            it raises ends the training.

        Returns
        -------
        record : dict
            Means over the slices of the epoch of what the losses returned, and "seconds".

        Raises
        ------
        DivergenceError
            If a loss or its gradient is not finite. The step is not taken: the weights
            are the last finite ones.
        """
        for optimiser in self._optimisers:
            optimiser.objective.module.train()
        if not self._batches:
            self._batches = self._shuffled()
        while self._position < len(self._batches):
            started = time.perf_counter()
            self._batch(self._batches[self._position])
            self._position += 1
            self._seconds += time.perf_counter() - started
            after_batch()
        started = time.perf_counter()
        for optimiser in self._optimisers:
            self._require_finite(optimiser, bool(optimiser.diverged))
            self.processes.average_buffers(optimiser.objective.module)
        record = self._means()
        record["seconds"] = self._seconds + time.perf_counter() - started
        self.epoch += 1
        self._begin()
        return record

    def _shuffled(self) -> list[np.ndarray]:
        """Slices of the batches of one epoch."""
        generator = self.engine.order or self.engine.generator
        order = torch.randperm(len(self.stage.parts[0]), generator=generator).numpy()
        size = self.engine.batch_size
        return np.split(order, range(size, len(order), size))

    def _batch(self, rows: np.ndarray) -> None:
        """Take a step of each objective whose turn it is."""
        own, images = self.processes.share(rows), None
        if len(own):
            batch = torch.from_numpy(self._windows.cut(self.stage.parts, own))
            if self.stage.augment is not None:
                batch = self.stage.augment(batch, self.engine.generator)
            if batch.any():  # a crop without brain has nothing to learn from
                images = self.engine.place(batch)
        n_own = 0 if images is None else len(own)
        (total,) = self.processes.sum([torch.tensor([n_own])])
        if not total:
            return
        for optimiser in self._optimisers:
            if self._n_seen % optimiser.objective.every:
                continue
            loss = None
            if images is not None:
                with self.engine.autocast():
                    terms = optimiser.objective.loss(images)
                loss = terms[optimiser.objective.minimises]
                self._record(terms, n_own)
            finite = optimiser.step(loss, n_own / int(total))
            self._require_finite(optimiser, not finite, loss)
        self._n_seen += 1

    def _record(self, terms: dict[str, torch.Tensor], n_slices: int) -> None:
        for name, value in terms.items():
            # Added up where they are: reading a number would wait for the device.
            weighted = value.detach().double() * n_slices
            self._sums[name] = self._sums.get(name, 0) + weighted
            self._counts[name] = self._counts.get(name, 0) + n_slices

    def _means(self) -> dict[str, float]:
        """Means over the slices of all processes."""
        own = {
            name: (float(total), self._counts[name]) for name, total in self._sums.items()
        }
        gathered = self.processes.gather(own)
        names = list(dict.fromkeys(name for each in gathered for name in each))
        means = {}
        for name in names:
            parts = [each[name] for each in gathered if name in each]
            means[name] = sum(part[0] for part in parts) / sum(part[1] for part in parts)
        return means

    def _require_finite(
        self, optimiser: Optimiser, diverged: bool, loss: torch.Tensor | None = None
    ) -> None:
        if diverged:
            value = "not finite" if loss is None else str(loss.item())
            raise DivergenceError(
                f"the loss of stage {self.stage.name!r} became {value}, or its gradient "
                "not finite; images that are not normalised, or a learning_rate too large "
                f"(now {optimiser.adam.defaults['lr']:g}), are the usual causes"
            )

    def state(self) -> dict[str, Any]:
        """All that the rest of the training depends on, beside weights and generators."""
        return {
            "epoch": self.epoch,
            "position": self._position,
            "batches": [np.asarray(rows) for rows in self._batches],
            "n_seen": self._n_seen,
            "sums": {name: float(total) for name, total in self._sums.items()},
            "counts": self._counts,
            "seconds": self._seconds,
            "optimisers": [optimiser.state() for optimiser in self._optimisers],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.epoch, self._position = state["epoch"], state["position"]
        self._batches, self._n_seen = state["batches"], state["n_seen"]
        self._sums = {
            name: torch.tensor(total, dtype=torch.float64, device=self.engine.device)
            for name, total in state["sums"].items()
        }
        self._counts, self._seconds = dict(state["counts"]), state["seconds"]
        for optimiser, own in zip(self._optimisers, state["optimisers"]):
            optimiser.restore(own)
