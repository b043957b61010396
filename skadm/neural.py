"""Base of the detectors that train networks."""

import warnings
from abc import abstractmethod
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_memory

from skadm._version import __version__
from skadm.augmentation import Augmentation
from skadm.base import BaseDetector
from skadm.training import Engine, SingularCovarianceError, Stage


class TorchDetector(BaseDetector):
    """Base of the detectors that train networks.

    A detector names its networks (`_build`), its stages and their losses (`_train`) and
    the anomaly score of a batch (`_anomaly`). Device, precision, seeds, epochs, history,
    callbacks, stopping and persistence are here.
    """

    _parameter_constraints: dict[str, list[Any]] = {
        **BaseDetector._parameter_constraints,
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "augmentation": [None, StrOptions({"default"}), Augmentation],
        "n_iter_no_change": [None, Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "device": [str, torch.device],
        "precision": [StrOptions({"auto", "float32", "bfloat16"})],
        "random_state": ["random_state"],
    }

    @abstractmethod
    def __init__(
        self,
        *,
        max_epochs: int = 50,
        batch_size: int = 16,
        learning_rate: float = 1e-3,
        augmentation: Augmentation | str | None = "default",
        n_iter_no_change: int | None = None,
        tol: float = 1e-4,
        warm_start: bool = False,
        contamination: float = 0.01,
        device: str | torch.device = "auto",
        precision: str = "auto",
        random_state=None,
    ) -> None:
        super().__init__(contamination=contamination)
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.augmentation = augmentation
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.device = device
        self.precision = precision
        self.random_state = random_state

    # What a method has to say.

    @abstractmethod
    def _build(self, n_contrasts: int, generator: torch.Generator) -> Any:
        """A torch module that holds all networks, with initial weights, on the CPU."""

    @abstractmethod
    def _train(self, networks: Any, images: torch.Tensor, run) -> None:
        """Train the networks by one or more calls of ``run.stage(...)``.

        `run` is a `_Run`; whatever has to survive must be in the networks, as a
        parameter or buffer.
        """

    @abstractmethod
    def _anomaly(self, networks: Any, images: torch.Tensor) -> torch.Tensor:
        """Anomaly score (n, H, W) of a batch on the device; higher is less normal."""

    # The common part.

    def _fit(self, X: np.ndarray) -> None:
        augmentation = self.augmentation
        if isinstance(augmentation, str):  # "default"
            augmentation = Augmentation()
        if augmentation is not None:
            augmentation.check()
        random = check_random_state(self.random_state)
        # Apart from each other: with one seed, networks of any size see the same batches.
        initial, training = (
            torch.Generator().manual_seed(int(random.randint(np.iinfo(np.int32).max)))
            for _ in range(2)
        )
        engine = self._engine(training)
        continued = self.warm_start and hasattr(self, "weights_")
        before = getattr(self, "history_", [])
        networks = self._build(X.shape[1], initial)
        self.history_: list[dict[str, Any]] = []
        if continued:
            _load(networks, self.weights_)
            self.history_ += before
        networks.to(engine.device)
        run = _Run(self, engine, augmentation)
        self._train(networks, _as_tensor(X), run)
        run.close()
        self._keep(networks)

    def _keep(self, networks: torch.nn.Module) -> None:
        """Store the networks as arrays, and keep them ready for scoring."""
        networks.eval()
        self.weights_ = _weights(networks)
        self._networks = networks

    def _score(self, X: np.ndarray) -> np.ndarray:
        anomaly = self._apply(self._anomaly, X)
        # Absurd intensities overflow: as anomalous as a number can say.
        most = float(np.finfo(np.float32).max)
        return -np.nan_to_num(anomaly, nan=most, posinf=most, neginf=-most)

    def _apply(
        self, function: Callable[[Any, torch.Tensor], torch.Tensor], X: np.ndarray
    ) -> np.ndarray:
        """Result of ``function(networks, images)`` on every batch, float32."""
        engine = self._engine(torch.Generator())
        networks = getattr(self, "_networks", None)
        if networks is None:
            networks = self._build(self.n_features_in_, torch.Generator())
            _load(networks, self.weights_)
            self._networks = networks
        networks.to(engine.device).eval()
        return engine.apply(
            lambda images: function(networks, images), _as_tensor(X)
        ).numpy()

    def _engine(self, generator: torch.Generator) -> Engine:
        device = resolve_device(self.device)
        half = torch.bfloat16 if self._half_precision(device) else None
        return Engine(device, half, self.batch_size, generator)

    def _half_precision(self, device: torch.device) -> bool:
        if self.precision == "auto":
            return _computes_bfloat16(device)
        return self.precision == "bfloat16"

    def __getstate__(self):
        state = dict(super().__getstate__())
        state.pop("_networks", None)  # rebuilt from weights_, on any device
        return state


class _Run:
    """Stages of one fit: runs them, records them, tells the callbacks.

    Attributes
    ----------
    engine : Engine
    augmentation : Augmentation or None
    """

    def __init__(
        self,
        detector: TorchDetector,
        engine: Engine,
        augmentation: Augmentation | None,
    ) -> None:
        self.engine = engine
        self.augmentation = augmentation
        self._detector = detector
        self._context = detector._init_callback_context(max_subtasks=None)
        self._context.call_on_fit_task_begin(estimator=detector)

    def stage(self, stage: Stage) -> bool:
        """Train until the epochs are used up, the loss stalls, or a callback says so.

        Returns
        -------
        finished : bool
            False if a covariance became singular. The weights are then those before the
            step that would have needed its inverse.
        """
        detector = self._detector
        n_epochs = detector.max_epochs if stage.n_epochs is None else stage.n_epochs
        context = self._context.subcontext(task_name=stage.name, max_subtasks=n_epochs)
        context.call_on_fit_task_begin(estimator=detector)
        epochs = self.engine.epochs(stage, n_epochs, detector.learning_rate)
        stalled = _Stalled(detector.n_iter_no_change, detector.tol)
        finished = True
        done = sum(record["stage"] == stage.name for record in detector.history_)
        for epoch in range(done, done + n_epochs):
            task = context.subcontext(task_name="epoch")
            task.call_on_fit_task_begin(estimator=detector)
            record: dict[str, Any] = {"stage": stage.name, "epoch": epoch}
            try:
                record |= next(epochs)
            except SingularCovarianceError as error:
                record["singular"] = str(error)
                finished = False
            detector.history_.append(record)
            stop = task.call_on_fit_task_end(estimator=detector)
            if not finished:
                warnings.warn(
                    f"{stage.name} stopped in epoch {epoch}: {record['singular']}",
                    ConvergenceWarning,
                    stacklevel=2,
                )
            if stop or not finished or stalled(record.get("loss", np.inf)):
                break
        for objective in stage.objectives:
            objective.module.eval()
        context.call_on_fit_task_end(estimator=detector)
        return finished

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
        detector, generator = self._detector, self.engine.generator
        module = torch.nn.ModuleList(each.module for each in stage.objectives)
        n_before = len(detector.history_)

        def train() -> tuple[dict[str, np.ndarray], list[dict[str, Any]], np.ndarray]:
            self.stage(stage)
            records = detector.history_[n_before:]
            return _weights(module), records, generator.get_state().numpy()

        names = ("max_epochs", "learning_rate", "augmentation", "n_iter_no_change", "tol")
        key = settings | {
            "version": __version__,
            "images": stage.images.numpy(),
            "weights": _weights(module),
            "generator": generator.get_state().numpy(),
            "precision": str(self.engine.half),
            "device": self.engine.device.type,
            "batch_size": detector.batch_size,
            "epochs_before": n_before,
            **{name: getattr(detector, name) for name in names},
        }
        cached = check_memory(memory).cache(_result_of, ignore=["train"])
        weights, records, state = cached(key, train)
        _load(module, weights)
        module.eval()
        detector.history_[n_before:] = records
        generator.set_state(torch.from_numpy(state))

    def close(self) -> None:
        """Tell the callbacks that the fit is over."""
        self._context.call_on_fit_task_end(estimator=self._detector)


class _Stalled:
    """True once the loss has not fallen by `tol` for `patience` epochs on end."""

    def __init__(self, patience: int | None, tol: float) -> None:
        self.patience, self.tol = patience, tol
        self.best, self.waited = np.inf, 0

    def __call__(self, loss: float) -> bool:
        self.waited = 0 if loss < self.best - self.tol else self.waited + 1
        self.best = min(self.best, loss)
        return self.patience is not None and self.waited >= self.patience


def resolve_device(device: str | torch.device) -> torch.device:
    """Turn the name of a device into the device.

    Parameters
    ----------
    device : str or torch.device
        "auto" is the first CUDA device if there is one, else the CPU.

    Raises
    ------
    ValueError
        If torch knows no such device or this machine has none.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device={str(device)!r} cannot be used here ({error}); expected 'auto', "
            "'cpu' or a device that torch finds, such as 'cuda:0'."
        ) from error
    return resolved


def _computes_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself, and does not only emulate it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        # Older releases of torch cannot tell: float32 is right everywhere.
        ask = getattr(torch.cpu, "get_capabilities", None)
        capabilities = ask() if ask is not None else {}
        return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
    return False


def _as_tensor(X: np.ndarray) -> torch.Tensor:
    """X as a tensor; torch takes neither views that run backwards nor read-only ones."""
    return torch.from_numpy(np.require(X, requirements=["C", "W"]))


def _result_of(key: dict[str, Any], train: Any) -> Any:
    """What training gives; a function of the key alone, for joblib to remember."""
    return train()


def _weights(networks: torch.nn.Module) -> dict[str, np.ndarray]:
    return {
        name: tensor.detach().cpu().numpy().copy()
        for name, tensor in networks.state_dict().items()
    }


def _load(networks: torch.nn.Module, weights: dict[str, np.ndarray]) -> None:
    """Fill networks with weights, which must be those of the same architecture."""
    expected = {name: tuple(own.shape) for name, own in networks.state_dict().items()}
    found = {name: array.shape for name, array in weights.items()}
    if expected != found:
        name = next(n for n in {**expected, **found} if expected.get(n) != found.get(n))
        raise ValueError(
            f"the fitted weights {name!r} have shape {found.get(name)}, but the parameters "
            f"and contrasts as they are now expect {expected.get(name)}: set back what "
            "changed since the fit, or fit anew with warm_start=False."
        )
    networks.load_state_dict(
        {name: torch.from_numpy(array) for name, array in weights.items()}
    )
