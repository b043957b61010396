"""Base class of the detectors that train networks."""

import os
from abc import abstractmethod
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from skadm._sklearn import Interval, StrOptions
from skadm.augmentation import Augmentation
from skadm.base import BaseDetector
from skadm.training import Checkpoints, Trainer
from skadm.training._device import computes_bfloat16, resolve_device
from skadm.training._engine import Engine
from skadm.training._weights import check_weights, load_weights, weights_of

__all__ = ["TorchDetector"]


class TorchDetector(BaseDetector):
    """Base of the detectors that train networks.

    A detector implements its networks (`_build`), the stages and losses of its training
    (`_train`) and the anomaly score of a batch (`_anomaly`).

    Parameters
    ----------
    max_epochs : int, default=50
        Epochs of each training stage, unless another parameter sets them. 0 keeps weights
        from a previous fit or a file, and refits only what depends on their output
        (densities, thresholds).
    batch_size : int, default=16
        Number of slices per training step and, on a GPU, per scoring step. Scores do not
        depend on it, except for rounding on a GPU.
    learning_rate : float, default=1e-3
        Peak learning rate of Adam with a one-cycle schedule.
    augmentation : Augmentation, "default" or None, default="default"
        Data augmentation of training slices; "default" is ``Augmentation()``, None
        disables it.
    n_iter_no_change : int, default=None
        Number of epochs without an improvement of the training loss by `tol` after which
        a stage stops. None: never. No data is held out.
    tol : float, default=1e-4
        Minimum improvement for `n_iter_no_change`.
    warm_start : bool, default=False
        Whether `fit` starts from the weights of the previous fit. `history_` is extended.
    checkpoints : str, path or Checkpoints, default=None
        Folder for checkpoints after every epoch, from which an interrupted fit resumes;
        see `skadm.training.Checkpoints`. Requires an integer `random_state`. None: no
        checkpoints.
    %(contamination)s
    device : str or torch.device, default="auto"
        "auto" uses a GPU if available.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Precision of the convolutions. "auto" is bfloat16 if the processor or GPU supports
        it natively.
    random_state : int, RandomState instance or None, default=None
        Controls all randomness: weights, order of slices, augmentation, noise.

    Attributes
    ----------
    history_ : list of dict
        One record for each epoch: "stage", "epoch", "loss" and its parts, "seconds".
    weights_ : dict of str to ndarray
        All learned parameters.
    %(offset_)s
    %(background_score_)s
    %(n_features_in_)s
    %(contrasts_)s
    """

    _parameter_constraints: dict[str, list[Any]] = {
        **BaseDetector._parameter_constraints,
        "max_epochs": [Interval(Integral, 0, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "augmentation": [None, StrOptions({"default"}), Augmentation],
        "n_iter_no_change": [None, Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "checkpoints": [None, str, os.PathLike, Checkpoints],
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
        checkpoints: str | os.PathLike | Checkpoints | None = None,
        contamination: float = 0.01,
        device: str | torch.device = "auto",
        precision: str = "auto",
        random_state: Any = None,
    ) -> None:
        super().__init__(contamination=contamination)
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.augmentation = augmentation
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.checkpoints = checkpoints
        self.device = device
        self.precision = precision
        self.random_state = random_state

    # To be implemented by a method.

    @abstractmethod
    def _build(self, n_contrasts: int, generator: torch.Generator) -> Any:
        """Return a torch module with all networks and initial weights, on the CPU."""

    @abstractmethod
    def _train(self, networks: Any, images: NDArray, trainer: Trainer) -> None:
        """Train the networks by one or more calls of ``trainer.fit_stage(...)``.

        All state to keep must be a parameter or buffer of the networks. Computations
        between two stages are repeated when a fit resumes from a checkpoint. The images
        may be on disk.
        """

    @abstractmethod
    def _anomaly(self, networks: Any, images: torch.Tensor) -> torch.Tensor:
        """Return anomaly scores (n, H, W) of a batch on the device; higher is abnormal."""

    def _check_parameters(self, n_contrasts: int) -> None:
        """Check parameters that depend on the number of contrasts, before training."""

    # Common methods.

    def _fit(self, X: np.ndarray, abnormal: np.ndarray | None = None) -> None:
        """Train networks on normal slices; `abnormal` slices are passed to the trainer."""
        self._check_parameters(X.shape[1])
        if not self.max_epochs and not self._has_weights:
            raise ValueError(
                f"max_epochs=0 leaves the networks of {type(self).__name__} untrained; "
                "expected 1 or more, or previous weights (warm_start)."
            )
        trainer = Trainer(self, self._engine(), X, abnormal)
        networks = self._build(X.shape[1], trainer.initial)
        self._initialise(networks)
        if self._continues_training:
            self._continue_from(networks, self.weights_)
            trainer.history += self.history_
        self.history_: list[dict[str, Any]] = trainer.history
        trainer.start(networks)
        self._train(networks, X, trainer)
        trainer.close()
        self._keep(networks)

    @property
    def _continues_training(self) -> bool:
        """Whether a fit starts from the weights of the previous fit."""
        return self.warm_start and hasattr(self, "weights_")

    @property
    def _has_weights(self) -> bool:
        """Whether a fit starts from trained weights."""
        return self._continues_training

    def _initialise(self, networks: Any) -> None:
        """Modify the initial weights of a fit."""

    def _continue_from(self, networks: Any, weights: dict[str, NDArray]) -> None:
        """Load the weights of the previous fit."""
        load_weights(networks, weights)

    def _keep(self, networks: torch.nn.Module) -> None:
        """Store the networks as arrays and keep them for scoring."""
        networks.eval()
        self.weights_ = weights_of(networks)
        self._networks = networks

    def _score(self, X: np.ndarray, brain: NDArray[np.bool_]) -> np.ndarray:
        anomaly = self._apply(self._anomaly, X)
        # Extreme intensities overflow: clip to the most anomalous finite score.
        most = float(np.finfo(np.float32).max)
        return -np.nan_to_num(anomaly, nan=most, posinf=most, neginf=-most)

    def _apply(
        self, function: Callable[[Any, torch.Tensor], torch.Tensor], X: np.ndarray
    ) -> np.ndarray:
        """Apply ``function(networks, images)`` to every batch; return float32."""
        engine = self._engine()
        networks = getattr(self, "_networks", None)
        if networks is None:
            networks = self._build(self.n_features_in_, torch.Generator())
            load_weights(networks, self.weights_)
            self._networks = networks
        networks.to(engine.device).eval()
        return engine.apply(lambda images: function(networks, images), X)

    def _check_learned(self) -> None:
        check_weights(
            lambda: self._build(self.n_features_in_, torch.Generator()), self.weights_
        )

    def _apply_to_checked(
        self, function: Callable[[Any, torch.Tensor], torch.Tensor], X
    ) -> NDArray[np.float32]:
        """Apply a function to user input (n, channels, H, W) after checks."""
        check_is_fitted(self)
        result = np.empty(0, np.float32)
        for part in self._checked(X):
            values = self._apply(function, part.images)
            if not result.size:
                result = np.empty((len(X), *values.shape[1:]), np.float32)
            result[part.places] = values
        return result

    def _engine(self) -> Engine:
        device = resolve_device(self.device)
        half = self.precision == "bfloat16" or (
            self.precision == "auto" and computes_bfloat16(device)
        )
        return Engine(device, torch.bfloat16 if half else None, self.batch_size)

    def __getstate__(self):
        state = dict(super().__getstate__())
        state.pop("_networks", None)  # rebuilt from weights_ on any device
        return state
