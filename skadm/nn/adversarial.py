"""Critic of a Wasserstein GAN with gradient penalty (Gulrajani et al. 2017)."""

import math

import torch
from torch import nn

from skadm.nn.autoencoder import Encoder, pad_for_levels
from skadm.nn.blocks import LEAK, build


class Critic(nn.Module):
    """How real a slice looks, as one number without bounds.

    Without batch norm: the gradient penalty holds slice by slice, and slices of a batch
    must not depend on each other. In full precision always: the penalty needs gradients of
    gradients, and the Wasserstein distance is a difference of two means.

    The first level has `width` channels, each further one twice as many; `n_levels` halve
    the slice.
    """

    def __init__(self, n_in: int, width: int, n_levels: int) -> None:
        super().__init__()
        self.n_levels = n_levels
        self.encoder = Encoder(n_in, width, n_levels, norm="none")
        self.output = nn.Linear(width * 2 ** (n_levels - 1), 1)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Map (n, n_in, H, W), for any H and W, to a coarse grid, (n, channels, h, w).

        Divided by √(hw), so that the norm of the gradient of their sum does not depend on
        the size of the slice, and the penalty asks for the same from any.
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
    """Build a critic whose gradient has a norm of about 1, as the penalty wants it.

    Weights are those of He et al. 2015, normal. With torch's own, which are smaller, the
    norm is about 0.01: until it has grown, the critic says nothing, yet the generator
    follows it, since Adam's steps do not get smaller with the gradient.
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

    The third term of Gulrajani et al. 2017, Eq. 3, without its weight. The norm is over all
    that is not the batch: channels, H and W. D maps slices (n, channels, H, W) to (n,),
    each for itself. `shares`, (n,), say where the point of each slice is: 0 is the
    generated end, 1 the real one.
    """
    points = torch.lerp(fake, real, shares[:, None, None, None])
    points = points.detach().requires_grad_()
    with torch.autocast(points.device.type, enabled=False):
        (gradients,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    norms = torch.linalg.vector_norm(gradients.flatten(start_dim=1), dim=1)
    return (norms - 1).square().mean()
