"""The stages of one fit: run, recorded, told to callbacks, kept in checkpoints."""

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_memory

from skadm._version import __version__
from skadm.augmentation import Augmentation
from skadm.neural._weights import load_weights, weights_of
from skadm.training import (
    Checkpoints,
    Engine,
    Processes,
    SingularCovarianceError,
    Stage,
    Training,
)
from skadm.training._checkpoints import CheckpointFile, fingerprint
from skadm.training._interruption import Interruption

if TYPE_CHECKING:
    from skadm.neural._detector import TorchDetector

# What a training's result does not depend on.
_FREE = ("checkpoints", "contamination", "device", "memory", "warm_start")


class Run:
    """One fit of a detector.

    Attributes
    ----------
    engine : Engine
    augmentation : Augmentation or None
    detector : TorchDetector
        Whose fit it is.
    networks : torch.nn.Module
        All that is trained.
    abnormal : ndarray of shape (n, K, H, W) or None
        Slices with an anomaly somewhere, where a detector asks for them; never trained on.
    """

    def __init__(
        self,
        detector: "TorchDetector",
        engine: Engine,
        augmentation: Augmentation | None,
        networks: torch.nn.Module,
        images: NDArray,
        abnormal: NDArray | None = None,
    ) -> None:
        self.engine = engine
        self.abnormal = abnormal
        self.augmentation = augmentation
        self.detector = detector
        self.networks = networks
        self._checkpoints = self._resolve_checkpoints()
        if self._checkpoints is not None:
            parameters = detector.get_params(deep=False)
            settings = {name: str(value) for name, value in parameters.items()}
            self._key = type(detector).__name__ + "-" + fingerprint(
                {name: settings[name] for name in settings if name not in _FREE}
                | {"half": str(engine.half), "version": __version__},
                [images, *weights_of(networks).values()],
            )  # fmt: skip
        self._n_stages = 0
        self._context = detector._init_callback_context(max_subtasks=None)
        self._context.call_on_fit_task_begin(estimator=detector)

    def _resolve_checkpoints(self) -> Checkpoints | None:
        checkpoints = self.detector.checkpoints
        if checkpoints is None:
            return None
        if not isinstance(self.detector.random_state, int | np.integer):
            raise ValueError(
                f"checkpoints need random_state to be an integer, got "
                f"{self.detector.random_state!r}: with another seed a second fit is "
                "another training, and cannot go on from the first."
            )
        if isinstance(checkpoints, Checkpoints):
            return checkpoints
        return Checkpoints(checkpoints)

    def stage(self, stage: Stage) -> bool:
        """Train until the epochs are used up, the loss stalls, or a callback says so.

        Returns
        -------
        finished : bool
            False if a covariance became singular. The weights are then those before the
            step that would have needed its inverse.
        """
        detector = self.detector
        n_epochs = detector.max_epochs if stage.n_epochs is None else stage.n_epochs
        context = self._context.subcontext(task_name=stage.name, max_subtasks=n_epochs)
        context.call_on_fit_task_begin(estimator=detector)
        progress = _Progress(self, stage, n_epochs)
        with progress:
            while not progress.ended:
                task = context.subcontext(task_name="epoch")
                task.call_on_fit_task_begin(estimator=detector)
                record = progress.epoch()
                stop = task.call_on_fit_task_end(estimator=detector)
                if "singular" in record:
                    warnings.warn(
                        f"{stage.name} stopped in epoch {record['epoch']}: "
                        f"{record['singular']}",
                        ConvergenceWarning,
                        stacklevel=2,
                    )
                progress.epoch_ended(bool(stop))
        for objective in stage.objectives:
            objective.module.eval()
        context.call_on_fit_task_end(estimator=detector)
        return not progress.singular

    def checkpoint_file(self, stage: Stage) -> CheckpointFile | None:
        """Where the next stage is kept, if anywhere."""
        self._n_stages += 1
        if self._checkpoints is None:
            return None
        return self._checkpoints.file(self._key, self._n_stages, stage.name)

    def remembered_stage(self, stage: Stage, memory: Any, **settings: Any) -> None:
        """Train, or take what the same training gave before.

        Parameters
        ----------
        stage : Stage
        memory : None, str or joblib.Memory
            Where results are kept. None: nowhere.
        **settings
            Parameters that the loss depends on, beside the images and the weights.
        """
        detector, generators = self.detector, _generators(self.engine)
        module = torch.nn.ModuleList(each.module for each in stage.objectives)
        n_before = len(detector.history_)
        n_stages = self._n_stages

        def train() -> tuple[dict[str, NDArray], list[dict[str, Any]], list[NDArray]]:
            self.stage(stage)
            records = detector.history_[n_before:]
            return weights_of(module), records, _states(generators)

        names = ("max_epochs", "learning_rate", "augmentation", "n_iter_no_change", "tol")
        key = settings | {
            "version": __version__,
            "images": stage.parts,
            "weights": weights_of(module),
            "generators": _states(generators),
            "precision": str(self.engine.half),
            "device": self.engine.device.type,
            "batch_size": detector.batch_size,
            "epochs_before": n_before,
            **{name: getattr(detector, name) for name in names},
        }
        cached = check_memory(memory).cache(_result_of, ignore=["train"])
        weights, records, states = cached(key, train)
        load_weights(module, weights)
        module.eval()
        detector.history_[n_before:] = records
        _set_states(generators, states)
        self._n_stages = n_stages + 1

    def close(self) -> None:
        """Tell the callbacks that the fit is over."""
        self._context.call_on_fit_task_end(estimator=self.detector)


class _Progress:
    """How far a stage is: in memory, and in its checkpoint."""

    def __init__(self, run: Run, stage: Stage, n_epochs: int) -> None:
        self._run, self.detector, self._stage = run, run.detector, stage
        self._training = Training(run.engine, stage, n_epochs, run.detector.learning_rate)
        self._n_before = len(run.detector.history_)
        self._first = sum(record["stage"] == stage.name for record in run.detector.history_)
        self._stalled = _Stalled(run.detector.n_iter_no_change, run.detector.tol)
        self.ended = n_epochs == 0
        self._interruption = Interruption()
        self._processes = Processes()
        self._file = run.checkpoint_file(stage)
        state = self._processes.same(None if self._file is None else self._file.read())
        if state is not None:
            self._restore(state)

    def __enter__(self) -> "_Progress":
        if self._file is not None:
            self._interruption.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._interruption.__exit__(*error)

    @property
    def singular(self) -> bool:
        """Whether the stage ended with a singular covariance."""
        own = self.detector.history_[self._n_before :]
        return bool(own) and "singular" in own[-1]

    def epoch(self) -> dict[str, Any]:
        """Train an epoch, and record it."""
        place = {"stage": self._stage.name, "epoch": self._first + self._training.epoch}
        try:
            record = place | self._training.run_epoch(self._batch_ended)
        except SingularCovarianceError as error:
            record = place | {"singular": str(error)}
        self.detector.history_.append(record)
        return record

    def epoch_ended(self, stop: bool) -> None:
        """See whether it was the last one, and keep what there is."""
        loss = self.detector.history_[-1].get("loss", np.inf)
        self.ended = (
            self._training.epoch == self._training.n_epochs
            or stop
            or self.singular
            or self._stalled(loss)
        )
        self._batch_ended(epoch_ended=True)

    def _batch_ended(self, epoch_ended: bool = False) -> None:
        if self._file is None:
            return
        due = self.ended or self._file.due(epoch_ended)
        stop = self._interruption.signal is not None
        # Together: all processes stop after the same batch.
        asked = self._processes.sum([torch.tensor([int(due), int(stop)])])[0]
        due, stop = bool(asked[0]), bool(asked[1])
        if due or stop:
            self._write()
        if stop:
            self._interruption.stop()

    def _write(self) -> None:
        assert self._file is not None
        generators = self._processes.gather(_states(_generators(self._run.engine)))
        if self._processes.rank:
            return
        self._file.write(
            {
                "networks": weights_of(self._run.networks),
                "generators": generators,
                "history": self.detector.history_[self._n_before :],
                "stalled": [self._stalled.best, self._stalled.waited],
                "ended": self.ended,
                # What is over needs no momentum: the file of a finished stage is smaller.
                "training": None if self.ended else self._training.state(),
            }
        )

    def _restore(self, state: dict[str, Any]) -> None:
        if len(state["generators"]) != self._processes.size:
            raise ValueError(
                f"the checkpoint was written by {len(state['generators'])} processes "
                f"together, and cannot go on with {self._processes.size}"
            )
        load_weights(self._run.networks, state["networks"])
        own = state["generators"][self._processes.rank]
        _set_states(_generators(self._run.engine), own)
        self.detector.history_.extend(state["history"])
        self._stalled.best, self._stalled.waited = state["stalled"]
        self.ended = state["ended"]
        if state["training"] is not None:
            self._training.restore(state["training"])


class _Stalled:
    """True once the loss has not fallen by `tol` for `patience` epochs on end."""

    def __init__(self, patience: int | None, tol: float) -> None:
        self.patience, self.tol = patience, tol
        self.best, self.waited = np.inf, 0

    def __call__(self, loss: float) -> bool:
        self.waited = 0 if loss < self.best - self.tol else self.waited + 1
        self.best = min(self.best, loss)
        return self.patience is not None and self.waited >= self.patience


def _generators(engine: Engine) -> list[torch.Generator]:
    return [each for each in (engine.generator, engine.order) if each is not None]


def _states(generators: Sequence[torch.Generator]) -> list[NDArray]:
    return [generator.get_state().numpy() for generator in generators]


def _set_states(generators: Sequence[torch.Generator], states: Sequence[NDArray]) -> None:
    for generator, state in zip(generators, states):
        generator.set_state(torch.from_numpy(state))


def _result_of(key: dict[str, Any], train: Callable[[], Any]) -> Any:
    """What training gives; a function of the key alone, for joblib to remember."""
    return train()
