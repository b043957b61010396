"""DAE: a U-Net trained to take coarse noise away (Kascenas et al. 2022)."""

import os
from collections.abc import Mapping
from numbers import Integral, Real

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from skadm._brain import brain_mask
from skadm._filters import median_in_brain
from skadm.augmentation import Augmentation
from skadm.detectors._contrasts import contrast_weights
from skadm.neural import TorchDetector
from skadm.neural._run import Run
from skadm.nn.blocks import NORMS, build
from skadm.nn.noise import coarse_noise
from skadm.nn.pixels import brain_mean, brain_of
from skadm.nn.unet import UNet
from skadm.training import Checkpoints, Objective, Stage


class DAEDetector(TorchDetector):
    """Denoising autoencoder: what a U-Net takes for coarse noise is an anomaly.

    Noise of low resolution is added to normal slices, in every contrast its own, and a
    U-Net learns to restore them. It restores anomalies too, which look to it like such
    noise. The score is the difference of image and restored image.

    Parameters
    ----------
    noise_std : float, default=1.0
        Standard deviation of the noise, in standard deviations of the brain, as the
        images are normalised to.
    noise_scale : int, default=8
        Size of the noise's blobs, in pixels: it is drawn on a grid so much coarser than
        the slice, and interpolated (16 × 16 for 128 × 128 in the paper).
    weights : mapping of str or int to float, default=None
        None: the score is minus the mean over contrasts of the absolute difference, as
        in the paper. Else minus the weighted sum of the *signed* differences, image
        minus restored: with a positive weight only what is brighter than it should be
        counts. By name (X must then carry names, as a SliceStack does) or by index.
    median_size : int, default=5
        Side of the median filter of the map, within the slice and the brain, in pixels;
        odd. 1: no filter.
    width : int, default=16
        Channels of the U-Net's finest level.
    n_levels : int, default=3
        Halvings of the U-Net.
    norm : {"batch", "instance", "none"}, default="batch"
        Norm layer of the U-Net.
    max_epochs : int, default=50
        Epochs.
    batch_size : int, default=16
        Slices of a training step and of a scoring step. Scores do not depend on it.
    learning_rate : float, default=1e-3
        Of Adam.
    augmentation : Augmentation, "default" or None, default="default"
        Random changes of training slices; "default" is ``Augmentation()``, None is none.
    n_iter_no_change : int, default=None
        Training stops when its loss has not fallen by `tol` for so many epochs. None:
        never.
    tol : float, default=1e-4
        See `n_iter_no_change`.
    warm_start : bool, default=False
        Whether `fit` goes on from the weights of the last fit. `history_` grows.
    checkpoints : str, path or Checkpoints, default=None
        Folder in which the training is kept while it runs, after every epoch, so that an
        interrupted fit goes on where it was; see `skadm.training.Checkpoints`. Needs an
        integer `random_state`. None: nothing is kept.
    memory : None, str or object with the joblib.Memory interface, default=None
        Keeps the trained U-Net, so that a search over `weights` and `median_size` trains it
        once.
    contamination : float, default=0.01
        Fraction of the training pixels that `predict` calls anomalous; sets `offset_`.
    device : str or torch.device, default="auto"
        "auto" is a GPU where there is one.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of the convolutions. "auto" is bfloat16 where the processor or GPU computes it
        natively.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, batches, augmentation and noise.

    Attributes
    ----------
    history_ : list of dict
        One record for each epoch: "stage" ("denoising"), "epoch", "loss", "seconds".
    weights_ : dict of str to ndarray
        All that was learned.
    offset_ : float
        Threshold of `predict` on the scale of `score_samples`.
    background_score_ : float
        Score of every background pixel.
    n_features_in_ : int
        K, the number of contrasts.
    contrasts_ : tuple of str or None
        Their names, if X carried them.

    Notes
    -----
    The idea is the paper's; the details differ. Intensities are z-scores, not scaled to
    [0, 1], and so is the noise, which is scaled to variance 1 after its interpolation; the
    loss is over brain pixels only; the median filter is 5 × 5, since a detector sees slice
    by slice; the brain is not eroded for the score. The U-Net is a plain one, with batch
    norm, ReLU and max pooling, and Adam has neither AMSGrad nor weight decay. Signed
    differences are ours: on real scans their sign says much that the absolute value
    throws away.

    References
    ----------
    A. Kascenas, N. Pugeault, A. Q. O'Neil. Denoising autoencoders for unsupervised anomaly
    detection in brain MRI. MIDL 2022, PMLR 172:653-664.

    Examples
    --------
    >>> from skadm import DAEDetector
    >>> from skadm.data import make_phantom
    >>> stack = make_phantom(n_patients=2, n_slices=8, size=32, random_state=0)
    >>> detector = DAEDetector(width=4, max_epochs=2, random_state=0)
    >>> detector.fit(stack, stack.y).score_samples(stack).shape
    (16, 32, 32)
    """

    _parameter_constraints = {
        **TorchDetector._parameter_constraints,
        "noise_std": [Interval(Real, 0, None, closed="left")],
        "noise_scale": [Interval(Integral, 1, None, closed="left")],
        "weights": [None, Mapping],
        "median_size": [Interval(Integral, 1, None, closed="left")],
        "width": [Interval(Integral, 1, None, closed="left")],
        "n_levels": [Interval(Integral, 1, 16, closed="both")],
        "norm": [StrOptions(set(NORMS))],
        "memory": [None, str, HasMethods(["cache"])],
    }

    def __init__(
        self,
        *,
        noise_std: float = 1.0,
        noise_scale: int = 8,
        weights: Mapping[str | int, float] | None = None,
        median_size: int = 5,
        width: int = 16,
        n_levels: int = 3,
        norm: str = "batch",
        max_epochs: int = 50,
        batch_size: int = 16,
        learning_rate: float = 1e-3,
        augmentation: Augmentation | str | None = "default",
        n_iter_no_change: int | None = None,
        tol: float = 1e-4,
        warm_start: bool = False,
        checkpoints: str | os.PathLike | Checkpoints | None = None,
        memory=None,
        contamination: float = 0.01,
        device: str | torch.device = "auto",
        precision: str = "auto",
        random_state=None,
    ) -> None:
        super().__init__(
            max_epochs=max_epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            augmentation=augmentation,
            n_iter_no_change=n_iter_no_change,
            tol=tol,
            warm_start=warm_start,
            checkpoints=checkpoints,
            contamination=contamination,
            device=device,
            precision=precision,
            random_state=random_state,
        )
        self.noise_std = noise_std
        self.noise_scale = noise_scale
        self.weights = weights
        self.median_size = median_size
        self.width = width
        self.n_levels = n_levels
        self.norm = norm
        self.memory = memory

    def _fit(self, X: np.ndarray) -> None:
        if self.median_size % 2 == 0:
            raise ValueError(
                f"median_size={self.median_size} has no pixel in its middle; expected an "
                "odd number."
            )
        self._contrast_weights(X.shape[1])  # a wrong name is told before the training
        super()._fit(X)

    def _contrast_weights(self, n_contrasts: int) -> np.ndarray | None:
        if self.weights is None:
            return None
        return contrast_weights(self.weights, n_contrasts, self.contrasts_)

    def _build(self, n_contrasts: int, generator: torch.Generator) -> UNet:
        return build(
            lambda: UNet(n_contrasts, n_contrasts, self.width, self.n_levels, self.norm),
            generator,
        )

    def _train(self, networks: UNet, images: NDArray, run: Run) -> None:
        generator = run.engine.generator

        def loss(batch: torch.Tensor) -> dict[str, torch.Tensor]:
            brain = brain_of(batch).unsqueeze(1)
            noise = coarse_noise(batch.shape, self.noise_scale, generator)
            noisy = batch + self.noise_std * noise.to(batch.device) * brain
            errors = (networks(noisy) - batch).square().sum(dim=1)
            return {"loss": brain_mean(errors, brain.squeeze(1))}

        run.remembered_stage(
            Stage("denoising", images, [Objective(networks, loss)], run.augmentation),
            self.memory,
            # What the weights do not tell.
            norm=self.norm,
            noise_std=self.noise_std,
            noise_scale=self.noise_scale,
        )

    def _anomaly(self, networks: UNet, images: torch.Tensor) -> torch.Tensor:
        differences = (images - networks(images)).float()
        weights = self._contrast_weights(images.shape[1])
        if weights is None:
            return differences.abs().mean(dim=1)
        scale = torch.as_tensor(weights, dtype=torch.float32, device=images.device)
        return (differences * scale.view(1, -1, 1, 1)).sum(dim=1)

    def _score(self, X: np.ndarray) -> np.ndarray:
        maps = super()._score(X)
        if self.median_size == 1:
            return maps
        return median_in_brain(maps, brain_mask(X), self.median_size)
