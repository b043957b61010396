"""Training of a detector, from the first batch to the last."""

import time
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_memory

from skadm._version import __version__
from skadm.augmentation import Augmentation
from skadm.training._checkpoints import CheckpointFile, Checkpoints, fingerprint
from skadm.training._engine import Engine
from skadm.training._interruption import Interruption
from skadm.training._optimiser import make_optimiser, optimiser_state, restore_optimiser
from skadm.training._processes import Processes
from skadm.training._stage import (
    DivergenceError,
    Objective,
    SingularCovarianceError,
    Stage,
)
from skadm.training._weights import load_weights, weights_of
from skadm.training._windows import Windows

# Parameters without effect on the result of a training.
_WITHOUT_EFFECT = ("checkpoints", "contamination", "device", "memory", "warm_start")

# Training parameters that affect the result of a stage.
_OF_A_STAGE = (
    *("batch_size", "max_epochs", "learning_rate", "augmentation"),
    *("n_iter_no_change", "tol"),
)


@dataclass
class _Progress:
    """Progress of a stage, saved in checkpoints."""

    epoch: int = 0
    # This epoch: slices of each batch, and number of finished batches.
    batches: list[NDArray] = field(default_factory=list)
    position: int = 0
    # This epoch: sums of the losses over slices, and numbers of slices.
    sums: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    # Batches of the stage, except those without brain.
    n_seen: int = 0
    # Lowest epoch loss, and number of epochs since then.
    best: float = np.inf
    waited: int = 0
    ended: bool = False


class Trainer:
    """Trains the networks of a detector, stage by stage.

    A stage ends after its number of epochs, when its loss stops improving, or at the
    request of a callback. The optimiser is Adam with a one-cycle schedule (Smith & Topin
    2018): the learning rate rises over the first 30 % of the steps and then falls to
    almost 0, so the last weights are kept.

    In distributed training, all processes have the same weights and slice order, and draw
    random numbers for their share of each batch independently.

    Parameters
    ----------
    detector : estimator
        Provides the training parameters and callbacks.
    engine : Engine
        Device, precision and batching.
    images : ndarray of shape (n, K, H, W)
        Normal slices, in memory or on disk.
    abnormal : ndarray of shape (n, K, H, W), default=None
        Slices with an anomaly, for detectors that use them. The trainer only passes them
        on.

    Attributes
    ----------
    augmentation : Augmentation or None
        Resolved parameter of the detector.
    history : list of dict
        One record for each epoch.
    initial : torch.Generator
        Generator of the initial weights. All generators are on the CPU, so that draws do
        not depend on the device. They are separate, so that for one seed the batches do
        not depend on the network size.
    generator : torch.Generator
        Generator of augmentation and losses; independent in each process.
    order : torch.Generator
        Generator of the slice order; identical in all processes.
    networks : torch.nn.Module
        The trained networks, set by `start`.
    """

    networks: torch.nn.Module

    def __init__(
        self,
        detector: Any,
        engine: Engine,
        images: NDArray,
        abnormal: NDArray | None = None,
    ) -> None:
        self.detector, self.engine = detector, engine
        self.images, self.abnormal = images, abnormal
        augmentation = detector.augmentation
        if isinstance(augmentation, str):  # "default"
            augmentation = Augmentation()
        if augmentation is not None:
            augmentation.check()
        self.augmentation: Augmentation | None = augmentation
        self.history: list[dict[str, Any]] = []
        self.processes = Processes()
        random = check_random_state(detector.random_state)
        seeds = [int(random.randint(np.iinfo(np.int32).max)) for _ in range(3)]
        initial, order, training = self.processes.same(seeds)
        self.initial = torch.Generator().manual_seed(initial)
        self.order = torch.Generator().manual_seed(order)
        self.generator = torch.Generator().manual_seed(training + self.processes.rank)
        self._checkpoints = _resolve_checkpoints(detector)
        self._n_stages = 0

    def start(self, networks: torch.nn.Module) -> None:
        """Move the networks to the device and start.

        Parameters
        ----------
        networks : torch.nn.Module
            Networks with initial weights.
        """
        self.networks = networks.to(self.engine.device)
        if self._checkpoints is not None:
            parameters = self.detector.get_params(deep=False)
            settings = {name: str(value) for name, value in parameters.items()}
            self._key = type(self.detector).__name__ + "-" + fingerprint(
                {name: settings[name] for name in settings if name not in _WITHOUT_EFFECT}
                | {"half": str(self.engine.half), "version": __version__},
                [self.images, *weights_of(networks).values()],
            )  # fmt: skip
        self._context = self.detector._init_callback_context(max_subtasks=None)
        self._context.call_on_fit_task_begin(estimator=self.detector)

    def fit_stage(self, stage: Stage, memory: Any = None, **settings: Any) -> None:
        """Train a stage, or load its result from the memory.

        If a covariance becomes singular, the stage ends with a warning, with the weights
        before the step that would need its inverse.

        Parameters
        ----------
        stage : Stage
            The stage.
        memory : None, str or joblib.Memory, default=None
            Cache of results. None: no caching.
        **settings
            Parameters of the loss, for the memory.

        Raises
        ------
        DivergenceError
            If a loss or its gradient is not finite. The step is skipped: the weights stay
            finite.
        """
        self._n_stages += 1
        if memory is None:
            self._train_stage(stage)
            return
        n_before = len(self.history)
        key = settings | {
            "version": __version__,
            "images": stage.parts,
            "weights": weights_of(stage.module),
            "generators": self._generator_states(),
            "precision": str(self.engine.half),
            "device": self.engine.device.type,
            "epochs_before": n_before,
            **{name: getattr(self.detector, name) for name in _OF_A_STAGE},
        }
        train = check_memory(memory).cache(Trainer._train_stage, ignore=["self", "stage"])
        weights, records, states = train(self, stage, key)
        load_weights(stage.module, weights)
        stage.module.eval()
        self.history[n_before:] = records
        self._set_generator_states(states)

    def close(self) -> None:
        """Notify the callbacks that the fit has ended."""
        self._context.call_on_fit_task_end(estimator=self.detector)

    # Stages, epochs and batches.

    def _train_stage(
        self, stage: Stage, key: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray], list[dict[str, Any]], list[NDArray]]:
        """Train a stage; return weights, records and generator states.

        The result depends only on the key, which the memory uses.
        """
        detector = self.detector
        self._begin_stage(stage)
        context = self._context.subcontext(
            task_name=stage.name, max_subtasks=self._n_epochs
        )
        context.call_on_fit_task_begin(estimator=detector)
        with nullcontext() if self._file is None else self._interruption:
            while not self._progress.ended:
                task = context.subcontext(task_name="epoch")
                task.call_on_fit_task_begin(estimator=detector)
                record = {"stage": stage.name, "epoch": self._first + self._progress.epoch}
                try:
                    record |= self._train_epoch()
                except SingularCovarianceError as error:
                    record["singular"] = str(error)
                self.history.append(record)
                stop = task.call_on_fit_task_end(estimator=detector)
                self._end_epoch(record, bool(stop))
        stage.module.eval()
        context.call_on_fit_task_end(estimator=detector)
        states = self._generator_states()
        return weights_of(stage.module), self.history[self._n_before :], states

    def _begin_stage(self, stage: Stage) -> None:
        """Initialise a stage, or restore its checkpoint."""
        detector, device = self.detector, self.engine.device
        self._stage = stage
        self._n_before = len(self.history)
        self._first = sum(record["stage"] == stage.name for record in self.history)
        self._n_epochs = detector.max_epochs if stage.n_epochs is None else stage.n_epochs
        self._progress = _Progress(ended=self._n_epochs == 0)
        self._windows = Windows(stage.parts[0])
        n_batches = -(-len(stage.parts[0]) // self.engine.batch_size)
        # None without epochs: importing what an optimiser of torch needs takes seconds.
        self._optimisers = [
            make_optimiser(
                objective, self._n_epochs * n_batches, detector.learning_rate, device
            )
            for objective in stage.objectives
            if self._n_epochs
        ]
        # No synchronisation with the GPU within a step: after the first non-finite
        # gradient it skips all steps, which is checked at the end of the epoch.
        self._diverged = torch.zeros((), device=device)
        self._interruption = Interruption()
        self._file = self._checkpoint_file(stage)
        state = self.processes.same(None if self._file is None else self._file.read())
        if state is not None:
            self._restore(state)

    def _train_epoch(self) -> dict[str, float]:
        """Train to the end of an epoch; return mean losses and seconds."""
        progress, waits = self._progress, self.engine.device.type != "cuda"
        self._stage.module.train()
        if not progress.batches:
            progress.batches = self._shuffled()
        while progress.position < len(progress.batches):
            started = time.perf_counter()
            images, share = self._batch(progress.batches[progress.position])
            for objective, (adam, schedule) in zip(
                self._stage.objectives, self._optimisers
            ):
                if share is None or progress.n_seen % objective.every:
                    continue  # no brain in the batch, or no step of this objective
                loss = self._loss(objective, images)
                self._set_gradients(adam, loss, share)
                if waits:
                    self._require_finite(loss)
                else:
                    adam.found_inf = self._diverged  # type: ignore[attr-defined]
                adam.step()
                schedule.step()
            progress.n_seen += share is not None
            progress.position += 1
            progress.seconds += time.perf_counter() - started
            self._checkpoint()
        started = time.perf_counter()
        self._require_finite()
        for objective in self._stage.objectives:
            self.processes.average_buffers(objective.module)
        record = self._means()
        record["seconds"] = progress.seconds + time.perf_counter() - started
        progress.epoch += 1
        progress.batches, progress.position = [], 0
        progress.sums, progress.counts, progress.seconds = {}, {}, 0.0
        return record

    def _shuffled(self) -> list[NDArray]:
        """Return the slices of the batches of one epoch."""
        order = torch.randperm(len(self._stage.parts[0]), generator=self.order).numpy()
        size = self.engine.batch_size
        return np.split(order, range(size, len(order), size))

    def _batch(self, rows: NDArray) -> tuple[torch.Tensor | None, float | None]:
        """Return this process's part of a batch and its fraction of the batch.

        The images are None if they have no brain, and the fraction is None if no process
        has any.
        """
        part, images = self.processes.share(rows), None
        if len(part):
            batch = torch.from_numpy(self._windows.cut(self._stage.parts, part))
            if self._stage.augment is not None:
                batch = self._stage.augment(batch, self.generator)
            if batch.any():  # crops without brain are skipped
                images = self.engine.place(batch)
        n_slices = 0 if images is None else len(part)
        (total,) = self.processes.sum([torch.tensor([n_slices])])
        return images, n_slices / int(total) if total else None

    def _loss(
        self, objective: Objective, images: torch.Tensor | None
    ) -> torch.Tensor | None:
        """Compute the loss on this process's part of the batch."""
        if images is None:
            return None
        with self.engine.autocast():
            terms = objective.loss(images)
        progress = self._progress
        for name, value in terms.items():
            # Summed on the device: reading a number would synchronise.
            weighted = value.detach().double() * len(images)
            progress.sums[name] = progress.sums.get(name, 0) + weighted
            progress.counts[name] = progress.counts.get(name, 0) + len(images)
        return terms[objective.minimises]

    def _set_gradients(
        self, adam: torch.optim.Adam, loss: torch.Tensor | None, share: float
    ) -> None:
        """Set the gradients of the whole batch and record whether they are finite."""
        parameters = adam.param_groups[0]["params"]
        # Only for parameters of this objective, not of an adversary.
        gradients: Sequence[torch.Tensor | None] = (
            [None] * len(parameters)
            if loss is None
            else torch.autograd.grad(loss, parameters, allow_unused=True)
        )
        if self.processes.size > 1:
            gradients = self.processes.sum(
                [
                    torch.zeros_like(parameter) if gradient is None else gradient * share
                    for parameter, gradient in zip(parameters, gradients)
                ]
            )
        present = [gradient for gradient in gradients if gradient is not None]
        finite = torch.isfinite(torch.stack(torch._foreach_norm(present))).all()
        if loss is not None and self.processes.size == 1:
            finite &= torch.isfinite(loss)
        torch.maximum(self._diverged, (~finite).float(), out=self._diverged)
        for parameter, gradient in zip(parameters, gradients):
            # In the memory layout of the parameter, which fused Adam assumes: gradients
            # of convolutions are channels last.
            parameter.grad = (
                None if gradient is None else torch.empty_like(parameter).copy_(gradient)
            )

    def _require_finite(self, loss: torch.Tensor | None = None) -> None:
        if self._diverged:
            value = "not finite" if loss is None else str(loss.item())
            raise DivergenceError(
                f"the loss of stage {self._stage.name!r} became {value}, or its gradient "
                "is not finite. Normalise the images, or reduce the learning_rate (now "
                f"{self.detector.learning_rate:g})"
            )

    def _means(self) -> dict[str, float]:
        """Return the mean losses over the slices of all processes."""
        sums = {
            name: (float(total), self._progress.counts[name])
            for name, total in self._progress.sums.items()
        }
        gathered = self.processes.gather(sums)
        means = {}
        for name in dict.fromkeys(name for part in gathered for name in part):
            parts = [part[name] for part in gathered if name in part]
            means[name] = sum(part[0] for part in parts) / sum(part[1] for part in parts)
        return means

    def _end_epoch(self, record: dict[str, Any], stop: bool) -> None:
        """Record the epoch and check whether it was the last."""
        progress, detector = self._progress, self.detector
        if "singular" in record:
            warnings.warn(
                f"{record['stage']} stopped in epoch {record['epoch']}: "
                f"{record['singular']}",
                ConvergenceWarning,
                stacklevel=2,
            )
        loss, patience = record.get("loss", np.inf), detector.n_iter_no_change
        progress.waited = 0 if loss < progress.best - detector.tol else progress.waited + 1
        progress.best = min(progress.best, loss)
        progress.ended = (
            stop
            or "singular" in record
            or progress.epoch == self._n_epochs
            or (patience is not None and progress.waited >= patience)
        )
        self._checkpoint(epoch_ended=True)

    # Checkpoints.

    def _checkpoint_file(self, stage: Stage) -> CheckpointFile | None:
        if self._checkpoints is None:
            return None
        return self._checkpoints.file(self._key, self._n_stages, stage.name)

    def _checkpoint(self, epoch_ended: bool = False) -> None:
        """Write a checkpoint if due, and stop after a signal."""
        if self._file is None:
            return
        due = self._progress.ended or self._file.due(epoch_ended)
        stop = self._interruption.signal is not None
        # All processes stop after the same batch.
        asked = self.processes.sum([torch.tensor([int(due), int(stop)])])[0].tolist()
        if any(asked):
            generators = self.processes.gather(self._generator_states())
            if not self.processes.rank:
                self._file.write(self._state() | {"generators": generators})
        if asked[1]:
            self._interruption.stop()

    def _state(self) -> dict[str, Any]:
        """Return the state of the training, without generators."""
        sums = {name: float(total) for name, total in self._progress.sums.items()}
        return {
            "networks": weights_of(self.networks),
            "history": self.history[self._n_before :],
            "progress": asdict(self._progress) | {"sums": sums},
            # A finished stage needs no optimiser state.
            "optimisers": []
            if self._progress.ended
            else [optimiser_state(*optimiser) for optimiser in self._optimisers],
        }

    def _restore(self, state: dict[str, Any]) -> None:
        """Resume from a checkpoint."""
        if len(state["generators"]) != self.processes.size:
            raise ValueError(
                f"the checkpoint was written by {len(state['generators'])} processes; "
                f"expected the same number, but there are {self.processes.size}"
            )
        load_weights(self.networks, state["networks"])
        self._set_generator_states(state["generators"][self.processes.rank])
        self.history.extend(state["history"])
        self._progress = _Progress(**state["progress"])
        self._progress.sums = {
            name: torch.tensor(total, dtype=torch.float64, device=self.engine.device)
            for name, total in self._progress.sums.items()
        }
        for optimiser, saved in zip(self._optimisers, state["optimisers"]):
            restore_optimiser(*optimiser, saved)

    def _generator_states(self) -> list[NDArray]:
        return [generator.get_state().numpy() for generator in (self.generator, self.order)]

    def _set_generator_states(self, states: Sequence[NDArray]) -> None:
        for generator, state in zip((self.generator, self.order), states):
            generator.set_state(torch.from_numpy(state))


def _resolve_checkpoints(detector: Any) -> Checkpoints | None:
    checkpoints = detector.checkpoints
    if checkpoints is None:
        return None
    if not isinstance(detector.random_state, int | np.integer):
        raise ValueError(
            f"random_state is {detector.random_state!r}; expected an integer, since "
            "checkpoints can only resume a training with the same seed."
        )
    if isinstance(checkpoints, Checkpoints):
        return checkpoints
    return Checkpoints(checkpoints)
