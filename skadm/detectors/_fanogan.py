"""f-AnoGAN: residual of encoder and frozen generator (Schlegl et al. 2019)."""

import os
from numbers import Integral, Real

import torch
from numpy.typing import NDArray
from sklearn.base import clone
from torch import nn

from skadm._sklearn import Interval
from skadm.augmentation import Augmentation
from skadm.neural import TorchDetector
from skadm.nn.adversarial import Critic, build_critic, gradient_penalty
from skadm.nn.autoencoder import Decoder, Encoder, pad_for_levels
from skadm.nn.blocks import build, leaky_relu
from skadm.nn.pixels import brain_mean, brain_of
from skadm.training import Checkpoints, Objective, Stage, Trainer


class FAnoGANDetector(TorchDetector):
    """Residual between a slice and its reconstruction by a GAN of normal slices.

    Fast unsupervised anomaly detection with a generative adversarial network (f-AnoGAN): a
    generator G learns to generate normal slices from noise, against a critic D. Then an
    encoder E learns to map a slice to the noise from which G generates it. G cannot
    generate anomalies: the score of a pixel is the absolute difference between the slice
    and G(E(slice)), averaged over contrasts.

    Training has two stages: first G and D, as a Wasserstein GAN with gradient penalty;
    then, with both frozen, E with the objective izi_f of the paper.

    Parameters
    ----------
    latent_dim : int, default=8
        Channels of the latent grid, which is ``2**n_levels`` times coarser than the slice.
        With four levels, 8 channels are 128 numbers for each 64 × 64 pixels, as in the
        paper.
    width : int, default=32
        Channels of the finest level of all three networks; each coarser level doubles
        them.
    n_levels : int, default=4
        Number of halvings of the slice. Slices of any size are padded as needed.
    gradient_penalty : float, default=10.0
        Weight λ of the penalty on the critic's gradients.
    critic_steps : int, default=5
        Steps of the critic for each step of the generator.
    feature_weight : float, default=1.0
        Weight κ of the critic's features relative to the residual in the encoder loss.
    encoder_epochs : int, default=None
        Epochs of the second stage. None: `max_epochs`.
    %(max_epochs)s
    %(batch_size)s
    %(learning_rate)s
    %(augmentation)s
        Crops are disabled, since the generator must generate whole slices.
    %(n_iter_no_change)s
        The loss of the critic does not decrease steadily: it falls as the critic learns,
        and rises as the generator learns.
    %(tol)s
    %(warm_start)s
    %(checkpoints)s
    %(contamination)s
    %(device)s
    %(precision)s
        The critic is always in float32.
    %(random_state)s

    Attributes
    ----------
    history_ : list of dict
        One record for each epoch: "stage" ("adversarial" or "encoder"), "epoch", "loss"
        and "seconds". The "loss" of the adversarial stage is the critic's, with its parts
        "distance" (estimate of the Wasserstein distance) and "penalty" (before its
        weight) beside it, and "generator" in epochs in which the generator took a step.
        In the encoder stage the parts are "residual" and "features" (before its weight).
    %(weights_)s
    %(offset_)s
    %(background_score_)s
    %(n_features_in_)s
    %(contrasts_)s

    Notes
    -----
    The original generates patches of 64 × 64 pixels from a vector. Here slices have any
    size, and all networks are convolutional: noise is a grid of vectors, each for a local
    region, and the output of the critic is a sum over the same grid.

    As in the paper: normal noise; tanh at the end of the encoder, which keeps normal
    slices within one standard deviation of the noise (an option in the published code,
    off by default); no batch norm in the critic; the loss of the encoder, with κ = 1; λ =
    10 and five critic steps as in Gulrajani et al., with Adam's β₁ = 0.

    Different from the paper and its code: plain convolutions instead of residual blocks,
    with leaky ReLU in the generator so that gradients reach the encoder; no layer norm in
    the critic; no tanh at the end of the generator, since intensities are z-scores; β₂ =
    0.999 instead of 0.9; Adam instead of RMSprop for the encoder; a one-cycle learning
    rate. As there, the features of izi_f are the critic's coarsest grid; here they are
    scaled as in the critic's sum.

    Not stated in the paper and chosen here: the treatment of background. The generator
    must generate it, since the critic sees whole slices. The encoder loss and the score
    use brain pixels only; the critic's features are those of G(E(x)) with the background
    of x. The paper scores an image by residual and features; the map of a slice is the
    residual, as in the paper's figures.

    The number of generator steps is the bottleneck of training: generated slices look
    like brains only after thousands of steps, and an epoch has few. If time is short, use
    smaller batches or fewer critic steps.

    References
    ----------
    T. Schlegl, P. Seeböck, S. M. Waldstein, G. Langs, U. Schmidt-Erfurth. f-AnoGAN: Fast
    unsupervised anomaly detection with generative adversarial networks. Medical Image
    Analysis 54 (2019) 30-44. doi:10.1016/j.media.2019.01.010

    I. Gulrajani, F. Ahmed, M. Arjovsky, V. Dumoulin, A. Courville. Improved training of
    Wasserstein GANs. Advances in Neural Information Processing Systems 30 (2017).

    Examples
    --------
    >>> from skadm import FAnoGANDetector
    >>> from skadm.data import make_phantom
    >>> stack = make_phantom(n_patients=2, n_slices=8, size=32, random_state=0)
    >>> detector = FAnoGANDetector(width=4, n_levels=2, max_epochs=2, random_state=0)
    >>> detector.fit(stack, stack.y).score_samples(stack).shape
    (16, 32, 32)
    """

    _paper = "Schlegl et al. 2019"
    _tune = ("latent_dim", "width", "feature_weight", "max_epochs")
    _good_at = (
        "Lesions that differ much from what they replace; wants many slices and a GPU."
    )
    _presets = {
        "quick": {"width": 8, "n_levels": 3, "max_epochs": 4},
        # As many generator steps as time allows: still few for a GAN.
        "cpu": {
            "width": 8,
            "critic_steps": 2,
            "batch_size": 4,
            "max_epochs": 20,
            "learning_rate": 3e-3,
        },
        # The authors' code: 64 channels, batches of 64, learning rate 1e-4.
        "paper": {
            "width": 64,
            "batch_size": 64,
            "learning_rate": 1e-4,
            "max_epochs": 200,
        },
    }

    _parameter_constraints = {
        **TorchDetector._parameter_constraints,
        "latent_dim": [Interval(Integral, 1, None, closed="left")],
        "width": [Interval(Integral, 1, None, closed="left")],
        "n_levels": [Interval(Integral, 1, 16, closed="both")],
        "gradient_penalty": [Interval(Real, 0, None, closed="left")],
        "critic_steps": [Interval(Integral, 1, None, closed="left")],
        "feature_weight": [Interval(Real, 0, None, closed="left")],
        "encoder_epochs": [None, Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        *,
        latent_dim: int = 8,
        width: int = 32,
        n_levels: int = 4,
        gradient_penalty: float = 10.0,
        critic_steps: int = 5,
        feature_weight: float = 1.0,
        encoder_epochs: int | None = None,
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
        self.latent_dim = latent_dim
        self.width = width
        self.n_levels = n_levels
        self.gradient_penalty = gradient_penalty
        self.critic_steps = critic_steps
        self.feature_weight = feature_weight
        self.encoder_epochs = encoder_epochs

    def _build(self, n_contrasts: int, generator: torch.Generator) -> "_Networks":
        width, n_levels = self.width, self.n_levels
        return _Networks(
            # Leaky ReLU: otherwise the encoder could reach latents where all ReLUs of the
            # frozen generator are off and gradients vanish.
            build(
                lambda: Decoder(
                    self.latent_dim, width, n_levels, n_contrasts, activation=leaky_relu
                ),
                generator,
            ),
            build_critic(n_contrasts, width, n_levels, generator),
            build(
                lambda: nn.Sequential(
                    Encoder(n_contrasts, width, n_levels),
                    nn.Conv2d(width * 2 ** (n_levels - 1), self.latent_dim, 1),
                    nn.Tanh(),
                ),
                generator,
            ),
        )

    def _train(self, networks: "_Networks", images: NDArray, trainer: Trainer) -> None:
        generator, augment = trainer.generator, _uncropped(trainer.augmentation)
        trainer.fit_stage(
            Stage(
                "adversarial",
                images,
                [
                    Objective(
                        networks.critic,
                        lambda batch: self._critic_loss(networks, batch, generator),
                        momentum=0.0,
                    ),
                    Objective(
                        networks.generator,
                        lambda batch: self._generator_loss(networks, batch, generator),
                        minimises="generator",
                        every=self.critic_steps,
                        momentum=0.0,
                    ),
                ],
                augment,
            )
        )
        for frozen in (networks.generator, networks.critic):
            frozen.eval().requires_grad_(False)
        trainer.fit_stage(
            Stage(
                "encoder",
                images,
                [
                    Objective(
                        networks.encoder,
                        lambda batch: self._encoder_loss(networks, batch),
                    )
                ],
                augment,
                self.encoder_epochs,
            )
        )

    def _anomaly(self, networks: "_Networks", images: torch.Tensor) -> torch.Tensor:
        return (images - self._restore(networks, images)).abs().mean(dim=1)

    def _critic_loss(
        self, networks: "_Networks", images: torch.Tensor, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """Negative Wasserstein distance plus weighted penalty (WGAN-GP, Eq. 3)."""
        with torch.no_grad():
            fake = self._generate(networks, images, generator)
        # One pass for both: without batch norm they are independent.
        real_scores, fake_scores = networks.critic(torch.cat([images, fake])).chunk(2)
        distance = real_scores.mean() - fake_scores.mean()
        shares = torch.rand(len(images), generator=generator).to(images.device)
        penalty = gradient_penalty(networks.critic, images, fake, shares)
        return {
            "loss": self.gradient_penalty * penalty - distance,
            "distance": distance,
            "penalty": penalty,
        }

    def _generator_loss(
        self, networks: "_Networks", images: torch.Tensor, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """Negative critic output of as many generated slices."""
        fake = self._generate(networks, images, generator)
        return {"generator": -networks.critic(fake).mean()}

    def _encoder_loss(
        self, networks: "_Networks", images: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Residual of the slice plus weighted residual of its features (izi_f)."""
        brain = brain_of(images)
        restored = self._restore(networks, images)
        residual = brain_mean((images - restored).square().mean(dim=1), brain)
        features = nn.functional.mse_loss(
            networks.critic.features(restored * brain.unsqueeze(1)),
            networks.critic.features(images),
        )
        return {
            "loss": residual + self.feature_weight * features,
            "residual": residual,
            "features": features,
        }

    def _generate(
        self, networks: "_Networks", like: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Generate slices G(z) from noise, of the shape of `like`, float32."""
        height, width = pad_for_levels(like, self.n_levels).shape[-2:]
        factor = 2**self.n_levels
        shape = (len(like), self.latent_dim, height // factor, width // factor)
        noise = torch.randn(shape, generator=generator).to(like.device)
        return _cut(networks.generator(noise), like)

    def _restore(self, networks: "_Networks", images: torch.Tensor) -> torch.Tensor:
        """Reconstruct slices, G(E(x)), float32."""
        latent = networks.encoder(pad_for_levels(images, self.n_levels))
        return _cut(networks.generator(latent), images)


def _uncropped(augmentation: Augmentation | None) -> Augmentation | None:
    """Return the augmentation without crops.

    Crops would be padded below and to the right in every step, so the generator output
    there would only be used in scoring whole slices.
    """
    return None if augmentation is None else clone(augmentation).set_params(crop=1.0)


def _cut(generated: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Crop padding to the height and width of `like`."""
    height, width = like.shape[-2:]
    return generated[:, :, :height, :width].float()


class _Networks(nn.Module):
    """G, D and E."""

    def __init__(self, generator: Decoder, critic: Critic, encoder: nn.Sequential) -> None:
        super().__init__()
        self.generator = generator
        self.critic = critic
        self.encoder = encoder
