"""Dimension reduction, G_dr and F_dr (paper 2.2.2, Eq. 6-7)."""

import torch
from torch import nn

from skadm.nn.blocks import convolution


class ReductionNet(nn.Module):
    """Contrasts to fewer feature images, and back.

    G_dr sees a neighbourhood through 3×3 convolutions at full resolution. F_dr has
    1×1 convolutions only, so that a feature has to keep its place in the image. The
    features are linear outputs.

    Parameters
    ----------
    n_contrasts : int
        K.
    latent_dim : int
        L, the number of feature images.
    width : int
        Channels of the hidden layers.
    """

    def __init__(self, n_contrasts: int, latent_dim: int, width: int = 16) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            convolution(n_contrasts, width, 3),
            convolution(width, width, 3),
            nn.Conv2d(width, latent_dim, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            convolution(latent_dim, width, 1),
            convolution(width, width, 1),
            nn.Conv2d(width, n_contrasts, 1),
        )

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Reduce and restore.

        Parameters
        ----------
        images : torch.Tensor of shape (n, K, H, W)

        Returns
        -------
        features : torch.Tensor of shape (n, L, H, W)
            Z_dr.
        restored : torch.Tensor of shape (n, K, H, W)
            X_dr.
        """
        features = self.encoder(images.contiguous(memory_format=torch.channels_last))
        return features, self.decoder(features)
