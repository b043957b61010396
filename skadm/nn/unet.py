"""U-Net (Ronneberger et al. 2015)."""

import torch
from torch import nn

from skadm.nn.autoencoder import pad_for_levels
from skadm.nn.blocks import convolution


class UNet(nn.Module):
    """Network from images to images, with coarser levels and skip connections.

    The finest level has `width` channels; each of the `n_levels` coarser levels doubles
    them. `norm` is "batch", "instance" or "none".
    """

    def __init__(
        self, n_in: int, n_out: int, width: int = 16, n_levels: int = 3, norm: str = "batch"
    ) -> None:
        super().__init__()
        self.n_levels = n_levels
        channels = [width * 2**level for level in range(n_levels + 1)]
        self.down = nn.ModuleList(
            _block(before, after, norm)
            for before, after in zip([n_in, *channels], channels)
        )
        self.up = nn.ModuleList(
            _block(below + here, here, norm)
            for here, below in zip(channels[-2::-1], channels[:0:-1])
        )
        self.head = nn.Conv2d(width, n_out, 1)

    def forward(
        self, images: torch.Tensor, shift: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Map (n, n_in, H, W) to (n, n_out, H, W), for any H and W.

        `shift`, (n, width), is added to the output of the first convolution.
        """
        height, width = images.shape[-2:]
        features = pad_for_levels(images, self.n_levels)
        skips = []
        for level, block in enumerate(self.down):
            if level:
                skips.append(features)
                features = nn.functional.max_pool2d(features, 2)
            if shift is not None and not level:
                features = _shifted(block, features, shift)
            else:
                features = block(features)
        for block in self.up:
            features = nn.functional.interpolate(features, scale_factor=2.0)
            features = block(torch.cat([features, skips.pop()], dim=1))
        return self.head(features)[:, :, :height, :width]


def _block(n_in: int, n_out: int, norm: str) -> nn.Sequential:
    return nn.Sequential(
        convolution(n_in, n_out, 3, norm=norm), convolution(n_out, n_out, 3, norm=norm)
    )


def _shifted(block: nn.Module, features: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    first, *others = [layer for part in block.children() for layer in part.children()]
    features = first(features) + shift[:, :, None, None]
    for layer in others:
        features = layer(features)
    return features
