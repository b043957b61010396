"""Dimension reduction, G_dr and F_dr (paper 2.2.2, Eq. 6-7)."""

import torch
from torch import nn

from skadm.nn.blocks import convolution
from skadm.nn.pixels import with_brain


class ReductionNet(nn.Module):
    """Dimension reduction of contrasts to fewer feature images, and restoration.

    G_dr has 3×3 convolutions at full resolution. F_dr has only 1×1 convolutions, so that
    features keep their position in the image. The features are linear outputs. With
    kernels of size 1 in both, pixels are independent. With `brain_channel`, the brain mask
    is a further input of G_dr.
    """

    def __init__(
        self,
        n_contrasts: int,
        latent_dim: int,
        width: int = 16,
        kernel_size: int = 3,
        decoder_kernel_size: int = 1,
        brain_channel: bool = False,
    ) -> None:
        super().__init__()
        self.brain_channel = brain_channel
        n_in = n_contrasts + brain_channel
        self.encoder = _layers(n_in, width, latent_dim, kernel_size)
        self.decoder = _layers(latent_dim, width, n_contrasts, decoder_kernel_size)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Reduce slices (n, K, H, W) to Z_dr, (n, L, H, W), and restore them as X_dr."""
        if self.brain_channel:
            images = with_brain(images)
        features = self.encoder(images.contiguous(memory_format=torch.channels_last))
        return features, self.decoder(features)


def _layers(n_in: int, width: int, n_out: int, kernel_size: int) -> nn.Sequential:
    return nn.Sequential(
        convolution(n_in, width, kernel_size),
        convolution(width, width, kernel_size),
        nn.Conv2d(width, n_out, kernel_size, padding=kernel_size // 2),
    )
