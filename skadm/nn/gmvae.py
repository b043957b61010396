"""Gaussian-mixture variational autoencoder with spatial latents (You et al. 2019)."""

import math
from typing import NamedTuple

import torch
from torch import nn

from skadm.nn.autoencoder import Decoder, Encoder, pad_for_levels

_LOG_2_PI = math.log(2 * math.pi)
# Restoration follows the gradient of this network. The gradient of a ReLU is
# discontinuous: images that differ by rounding would be restored differently.
_SMOOTH = nn.SiLU


class Gaussian(NamedTuple):
    """Independent Gaussians."""

    mean: torch.Tensor
    log_variance: torch.Tensor

    def sample(self, generator: torch.Generator) -> torch.Tensor:
        """Draw one sample; `generator` is on the CPU, on any device."""
        noise = torch.randn(self.mean.shape, generator=generator).to(self.mean)
        return self.mean + (self.log_variance / 2).exp() * noise


class ElboTerms(NamedTuple):
    """The four terms of the negative ELBO in nats, summed per slice, (n,)."""

    reconstruction: torch.Tensor  # -log p(x|z), over the brain pixels
    conditional_prior: torch.Tensor  # KL(q(z|x) ‖ p(z|w,c)), weighted by p(c|z,w)
    w_prior: torch.Tensor  # KL(q(w|x) ‖ N(0, I))
    c_prior: torch.Tensor  # KL(p(c|z,w) ‖ uniform)

    @property
    def negative_elbo(self) -> torch.Tensor:
        """Sum of the terms, shape (n,)."""
        return self.reconstruction + self.conditional_prior + self.w_prior + self.c_prior


def log_density(values: torch.Tensor, gaussian: Gaussian) -> torch.Tensor:
    """log N(values; gaussian), elementwise."""
    mean, log_variance = gaussian
    distances = (values - mean).square() * (-log_variance).exp()
    return -(distances + log_variance + _LOG_2_PI) / 2


def divergence(q: Gaussian, p: Gaussian) -> torch.Tensor:
    """KL(q ‖ p), elementwise."""
    gap = q.log_variance - p.log_variance
    distances = (q.mean - p.mean).square() * (-p.log_variance).exp()
    return (gap.exp() - gap - 1 + distances) / 2


def divergence_from_standard(q: Gaussian) -> torch.Tensor:
    """KL(q ‖ N(0, 1)), elementwise."""
    zero = torch.zeros_like(q.mean)
    return divergence(q, Gaussian(zero, zero))


def log_responsibilities(z: torch.Tensor, components: Gaussian) -> torch.Tensor:
    """log p(c|z,w), (n, C, h, w), by Bayes' rule, with a uniform prior of c.

    z has shape (n, d, h, w); p(z|w,c) has a Gaussian for each component, (n, C, d, h, w).
    """
    return log_density(z.unsqueeze(1), components).sum(dim=2).log_softmax(dim=1)


def divergence_from_uniform(logs: torch.Tensor) -> torch.Tensor:
    """KL(p ‖ uniform) of probabilities whose logs are (n, C, ...), to (n, ...)."""
    return (logs.exp() * logs).sum(dim=1) + math.log(logs.shape[1])


class GMVAE(nn.Module):
    """Gaussian-mixture VAE whose latents z, w and c are grids.

    At every grid position, c selects one of C Gaussians for z; w shifts and scales them.
    The intensities are Gaussian around the decoder's output, with variance 1. z and w have
    `latent_dim` and `mixture_latent_dim` channels; encoder and decoder have `width` at full
    resolution, and the grid is 2 ** n_levels times coarser than the slice.
    """

    def __init__(
        self,
        n_contrasts: int,
        n_components: int,
        latent_dim: int,
        mixture_latent_dim: int,
        width: int = 16,
        n_levels: int = 2,
    ) -> None:
        super().__init__()
        self.n_components, self.n_levels = n_components, n_levels
        coarse = width * 2 ** (n_levels - 1)
        self.encoder = Encoder(n_contrasts, width, n_levels, activation=_SMOOTH)
        self.z_posterior = nn.Conv2d(coarse, 2 * latent_dim, 1)
        self.w_posterior = nn.Conv2d(coarse, 2 * mixture_latent_dim, 1)
        self.z_prior = nn.Sequential(
            nn.Conv2d(mixture_latent_dim, coarse, 1),
            _SMOOTH(),
            nn.Conv2d(coarse, 2 * n_components * latent_dim, 1),
        )
        self.decoder = Decoder(latent_dim, width, n_levels, n_contrasts, activation=_SMOOTH)

    def encode(self, images: torch.Tensor) -> tuple[Gaussian, Gaussian]:
        """q(z|x) and q(w|x) of (n, K, H, W), each (n, channels, h, w)."""
        features = self.encoder(pad_for_levels(images, self.n_levels))
        z, w = (
            Gaussian(*head(features).to(images.dtype).chunk(2, dim=1))
            for head in (self.z_posterior, self.w_posterior)
        )
        return z, w

    def components(self, w: torch.Tensor) -> Gaussian:
        """p(z|w,c), shape (n, C, latent_dim, h, w)."""
        parameters = self.z_prior(w).to(w.dtype)
        parameters = parameters.unflatten(1, (2, self.n_components, -1))
        return Gaussian(*parameters.unbind(dim=1))

    def decode(self, z: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """Mean of p(x|z), shape (n, K, height, width)."""
        return self.decoder(z)[:, :, :height, :width].to(z.dtype)

    def forward(
        self,
        images: torch.Tensor,
        brain: torch.Tensor,
        generator: torch.Generator | None = None,
        free_bits: float = 0.0,
    ) -> ElboTerms:
        """Terms of the negative ELBO of slices (n, K, H, W), of any H and W.

        Latents outside the brain count, since the decoder uses them for pixels inside.
        `generator`, on the CPU, draws z and w; None uses their means. `free_bits` is the
        minimum divergence of c in nats that is penalised, per grid position.
        """
        q_z, q_w = self.encode(images)
        z, w = (q.mean if generator is None else q.sample(generator) for q in (q_z, q_w))
        components = self.components(w)
        logs = log_responsibilities(z, components)
        divergences = divergence(Gaussian(*(part.unsqueeze(1) for part in q_z)), components)
        decoded = self.decode(z, *images.shape[-2:])
        noise = Gaussian(decoded, torch.zeros_like(decoded))
        return ElboTerms(
            _sums(-log_density(images, noise) * brain.unsqueeze(1)),
            _sums(logs.exp() * divergences.sum(dim=2)),
            _sums(divergence_from_standard(q_w)),
            _sums(divergence_from_uniform(logs).clamp_min(free_bits)),
        )


def _sums(values: torch.Tensor) -> torch.Tensor:
    """Sum per slice: slices of a batch must be independent."""
    return values.flatten(1).sum(dim=1)
