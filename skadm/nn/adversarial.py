"""Critic of a Wasserstein GAN with gradient penalty (Gulrajani et al. 2017)."""

import math

import torch
from torch import nn

from skadm.nn.autoencoder import Encoder, pad_for_levels
from skadm.nn.blocks import LEAK, build


class Critic(nn.Module):
    """Critic of slices; its output is one unbounded number per slice.

    No batch norm: the gradient penalty is per slice, so slices of a batch must be
    independent. Always in full precision: the penalty needs second derivatives, and the
    Wasserstein distance is a difference of two means.

    The first level has `width` channels, each further level doubles them; `n_levels`
    levels halve the slice.
    """

    def __init__(self, n_in: int, width: int, n_levels: int) -> None:
        super().__init__()
        self.n_levels = n_levels
        self.encoder = Encoder(n_in, width, n_levels, norm="none")
        self.output = nn.Linear(width * 2 ** (n_levels - 1), 1)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Map (n, n_in, H, W), for any H and W, to a coarse grid, (n, channels, h, w).

        Divided by √(hw), so that the gradient norm of their sum, and thus the penalty,
        does not depend on the slice size.
        """
        with torch.autocast(images.device.type, enabled=False):
            grid = self.encoder(pad_for_levels(images.float(), self.n_levels))
            return grid / math.sqrt(grid[0, 0].numel())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (n, n_in, H, W), for any H and W, to (n,); higher is more real."""
        features = self.features(images).sum(dim=(2, 3))
        with torch.autocast(images.device.type, enabled=False):
            return self.output(features)[:, 0]


def build_critic(
    n_in: int, width: int, n_levels: int, generator: torch.Generator
) -> Critic:
    """Build a critic with a gradient norm of about 1, the target of the penalty.

    Weights are initialised as in He et al. 2015 (normal). With torch's smaller default
    weights the norm is about 0.01: until it has grown, the critic is uninformative, but
    Adam's steps for the generator are of the usual size.
    """
    critic = build(lambda: Critic(n_in, width, n_levels), generator)
    for layer in critic.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, a=LEAK, generator=generator)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return critic


def gradient_penalty(
    critic: nn.Module, real: torch.Tensor, fake: torch.Tensor, shares: torch.Tensor
) -> torch.Tensor:
    """Mean of (‖∇D(x)‖ - 1)² at points between real and generated slices.

    The third term of Gulrajani et al. 2017, Eq. 3, without its weight. The norm is over
    channels, H and W. D maps slices (n, channels, H, W) to (n,) independently. `shares`,
    (n,), are the interpolation weights: 0 is generated, 1 is real.
    """
    points = torch.lerp(fake, real, shares[:, None, None, None])
    points = points.detach().requires_grad_()
    with torch.autocast(points.device.type, enabled=False):
        (gradients,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    norms = torch.linalg.vector_norm(gradients.flatten(start_dim=1), dim=1)
    return (norms - 1).square().mean()
