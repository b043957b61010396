"""Base of the detectors that train networks."""

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

    A detector names its networks (`_build`), its stages and their losses (`_train`) and
    the anomaly score of a batch (`_anomaly`). What all have in common is here.

    Parameters
    ----------
    max_epochs : int, default=50
        Epochs of each stage of the training, unless another parameter sets them. 0, with
        weights from a fit or a file: they stay as they are, and what is learned from their
        output (densities, thresholds) is learned again.
    batch_size : int, default=16
        Slices of a training step and, on a GPU, of a scoring step. Scores do not depend
        on it; those of a GPU only to the rounding of its convolutions.
    learning_rate : float, default=1e-3
        Of Adam, at the peak of a one-cycle schedule.
    augmentation : Augmentation, "default" or None, default="default"
        Random changes of training slices; "default" is ``Augmentation()``, None is none.
    n_iter_no_change : int, default=None
        A stage stops when its training loss has not fallen by `tol` for so many epochs.
        None: never. No data is held out.
    tol : float, default=1e-4
        See `n_iter_no_change`.
    warm_start : bool, default=False
        Whether `fit` goes on from the weights of the last fit. `history_` grows.
    checkpoints : str, path or Checkpoints, default=None
        Folder in which the training is kept while it runs, after every epoch, so that an
        interrupted fit goes on where it was; see `skadm.training.Checkpoints`. Needs an
        integer `random_state`. None: nothing is kept.
    %(contamination)s
    device : str or torch.device, default="auto"
        "auto" is a GPU where there is one.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of the convolutions. "auto" is bfloat16 where the processor or GPU computes it
        natively.
    random_state : int, RandomState instance or None, default=None
        Seed of all that is drawn at random: weights, order of slices, augmentation, noise.

    Attributes
    ----------
    history_ : list of dict
        One record for each epoch: "stage", "epoch", "loss" and its parts, "seconds".
    weights_ : dict of str to ndarray
        All that was learned.
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
        self.checkpoints = checkpoints
        self.device = device
        self.precision = precision
        self.random_state = random_state

    # What a method has to say.

    @abstractmethod
    def _build(self, n_contrasts: int, generator: torch.Generator) -> Any:
        """A torch module that holds all networks, with initial weights, on the CPU."""

    @abstractmethod
    def _train(self, networks: Any, images: NDArray, trainer: Trainer) -> None:
        """Train the networks by one or more calls of ``trainer.fit_stage(...)``.

        Whatever has to survive must be in the networks, as a parameter or buffer. What is
        computed between two stages is computed again when a fit goes on from a checkpoint.
        The images may be on disk.
        """

    @abstractmethod
    def _anomaly(self, networks: Any, images: torch.Tensor) -> torch.Tensor:
        """Anomaly score (n, H, W) of a batch on the device; higher is less normal."""

    def _check_parameters(self, n_contrasts: int) -> None:
        """Refuse, before the training, what parameters cannot have with these contrasts."""

    # The common part.

    def _fit(self, X: np.ndarray, abnormal: np.ndarray | None = None) -> None:
        """Train networks on normal slices; abnormal ones are there to be looked at."""
        self._check_parameters(X.shape[1])
        if not self.max_epochs and not self._has_weights:
            raise ValueError(
                f"max_epochs=0 leaves the networks of {type(self).__name__} untrained; "
                "expected 1 or more, or weights to start from (warm_start)."
            )
        trainer = Trainer(self, self._engine(), X, abnormal)
        networks = self._build(X.shape[1], trainer.initial)
        self._initialise(networks)
        if self._goes_on:
            self._go_on_from(networks, self.weights_)
            trainer.history += self.history_
        self.history_: list[dict[str, Any]] = trainer.history
        trainer.start(networks)
        self._train(networks, X, trainer)
        trainer.close()
        self._keep(networks)

    @property
    def _goes_on(self) -> bool:
        """Whether a fit starts from the weights of the last one."""
        return self.warm_start and hasattr(self, "weights_")

    @property
    def _has_weights(self) -> bool:
        """Whether a fit starts from weights that were trained before."""
        return self._goes_on

    def _initialise(self, networks: Any) -> None:
        """Change the random weights that a fit starts from."""

    def _go_on_from(self, networks: Any, weights: dict[str, NDArray]) -> None:
        """Start from the weights of the last fit."""
        load_weights(networks, weights)

    def _keep(self, networks: torch.nn.Module) -> None:
        """Store the networks as arrays, and keep them ready for scoring."""
        networks.eval()
        self.weights_ = weights_of(networks)
        self._networks = networks

    def _score(self, X: np.ndarray, brain: NDArray[np.bool_]) -> np.ndarray:
        anomaly = self._apply(self._anomaly, X)
        # Absurd intensities overflow: as anomalous as a number can say.
        most = float(np.finfo(np.float32).max)
        return -np.nan_to_num(anomaly, nan=most, posinf=most, neginf=-most)

    def _apply(
        self, function: Callable[[Any, torch.Tensor], torch.Tensor], X: np.ndarray
    ) -> np.ndarray:
        """Result of ``function(networks, images)`` on every batch, float32."""
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
        """The same for slices that a user gives, (n, channels, H, W)."""
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
        state.pop("_networks", None)  # rebuilt from weights_, on any device
        return state
