"""DAE: a U-Net trained to remove coarse noise (Kascenas et al. 2022)."""

import os
from numbers import Integral, Real

import numpy as np
import torch
from numpy.typing import NDArray

from skadm._brain import brain_mask
from skadm._filters import median_in_brain
from skadm._sklearn import HasMethods, Interval, StrOptions
from skadm._validation import MEDIAN_SIZE
from skadm.augmentation import Augmentation
from skadm.detectors._prior import Prior, PriorDetector
from skadm.neural import TorchDetector
from skadm.nn.blocks import NORMS, build
from skadm.nn.noise import coarse_noise
from skadm.nn.pixels import brain_mean, brain_of
from skadm.nn.unet import UNet
from skadm.training import Checkpoints, Objective, Stage, Trainer


class DAEDetector(PriorDetector, TorchDetector):
    """Denoising autoencoder: what a U-Net takes for coarse noise is an anomaly.

    Low-resolution noise is added to normal slices, independently for each contrast, and a
    U-Net learns to remove it. It also removes anomalies, which resemble such noise. The
    score is the difference between the image and the denoised image.

    Parameters
    ----------
    noise_std : float, default=1.0
        Standard deviation of the noise, in standard deviations of the normalised brain.
    noise_scale : int, default=8
        Scale of the noise in pixels: it is drawn on a grid coarser by this factor and
        interpolated (16 × 16 for 128 × 128 in the paper).
    %(prior)s
    %(prior_sign)s
    %(prior_rule)s
    median_size : int, default=5
        Side of the in-plane median filter of the map over the brain, in pixels; odd. 1:
        no filter.
    width : int, default=16
        Channels of the finest level of the U-Net.
    n_levels : int, default=3
        Number of halvings of the U-Net.
    norm : {"batch", "instance", "none"}, default="batch"
        Norm layer of the U-Net.
    %(max_epochs)s
    %(batch_size)s
    %(learning_rate)s
    %(augmentation)s
    %(n_iter_no_change)s
    %(tol)s
    %(warm_start)s
    %(checkpoints)s
    memory : None, str or object with the joblib.Memory interface, default=None
        Caches the trained U-Net, so that a search over `prior`, `prior_sign` and
        `median_size` trains it once.
    %(contamination)s
    %(device)s
    %(precision)s
    %(random_state)s

    Attributes
    ----------
    history_ : list of dict
        One record for each epoch: "stage" ("denoising"), "epoch", "loss", "seconds".
    %(weights_)s
    %(offset_)s
    %(background_score_)s
    %(axis_)s
    %(n_features_in_)s
    %(contrasts_)s

    Notes
    -----
    Without a prior the score is minus the mean over contrasts of the absolute difference,
    as in the paper. With a prior it is minus the weighted sum of the *signed* differences
    (image minus denoised image), or minus its absolute value if the sign is unknown.

    Details differ from the paper. Intensities are z-scores instead of scaled to [0, 1],
    and the noise is scaled accordingly, to variance 1 after interpolation; the loss is
    over brain pixels only; the median filter is 5 × 5, since slices are scored
    independently; the brain is not eroded for the score. The U-Net is a plain one with
    batch norm, ReLU and max pooling, and Adam has neither AMSGrad nor weight decay.
    Signed differences are ours: on real scans the sign is informative.

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

    _paper = "Kascenas et al. 2022"
    _tune = ("noise_std", "noise_scale", "prior", "median_size")
    _good_at = (
        "The strongest of the cheap networks; with a prior, lesions that are too bright."
    )
    _presets = {
        "quick": {"width": 4, "max_epochs": 4},
        "cpu": {"max_epochs": 20, "learning_rate": 2e-3},
        # The authors' code; it takes 67 200 steps of 16 slices for any number of slices.
        "paper": {"width": 64, "learning_rate": 1e-4, "max_epochs": 200},
    }

    _parameter_constraints = {
        **TorchDetector._parameter_constraints,
        **PriorDetector._parameter_constraints,
        "noise_std": [Interval(Real, 0, None, closed="left")],
        "noise_scale": [Interval(Integral, 1, None, closed="left")],
        "median_size": [MEDIAN_SIZE],
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
        prior: Prior = None,
        prior_sign: str = "known",
        prior_rule: str = "sum",
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
        self.prior = prior
        self.prior_sign = prior_sign
        self.prior_rule = prior_rule
        self.median_size = median_size
        self.width = width
        self.n_levels = n_levels
        self.norm = norm
        self.memory = memory

    def _check_parameters(self, n_contrasts: int) -> None:
        if self.median_size % 2 == 0:
            raise ValueError(
                f"median_size={self.median_size} is even; expected an odd number."
            )

    def _build(self, n_contrasts: int, generator: torch.Generator) -> UNet:
        return build(
            lambda: UNet(n_contrasts, n_contrasts, self.width, self.n_levels, self.norm),
            generator,
        )

    def _train(self, networks: UNet, images: NDArray, trainer: Trainer) -> None:
        generator = trainer.generator

        def loss(batch: torch.Tensor) -> dict[str, torch.Tensor]:
            brain = brain_of(batch).unsqueeze(1)
            noise = coarse_noise(batch.shape, self.noise_scale, generator)
            noisy = batch + self.noise_std * noise.to(batch.device) * brain
            errors = (networks(noisy) - batch).square().sum(dim=1)
            return {"loss": brain_mean(errors, brain.squeeze(1))}

        trainer.fit_stage(
            Stage("denoising", images, [Objective(networks, loss)], trainer.augmentation),
            memory=self.memory,
            # Not determined by the weights.
            norm=self.norm,
            noise_std=self.noise_std,
            noise_scale=self.noise_scale,
        )

    def _differences(self, networks: UNet, images: torch.Tensor) -> torch.Tensor:
        return (images - networks(images)).float()

    def _deviations(self, X: np.ndarray) -> np.ndarray:
        differences = self._apply(self._differences, X)
        return differences.transpose(0, 2, 3, 1)[brain_mask(X)]

    def _anomaly(self, networks: UNet, images: torch.Tensor) -> torch.Tensor:
        differences = self._differences(networks, images)
        if self.axis_ is None:
            return differences.abs().mean(dim=1)
        change = self._combined(differences.unbind(dim=1))
        return change if self._sign_is_known else change.abs()

    def _score(self, X: np.ndarray, brain: NDArray[np.bool_]) -> np.ndarray:
        maps = super()._score(X, brain)
        if self.median_size == 1:
            return maps
        return median_in_brain(maps, brain, self.median_size)
