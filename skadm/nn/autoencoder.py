"""Convolutional encoder and decoder of slices of any size."""

import itertools
from collections.abc import Callable

import torch
from torch import nn

from skadm.nn.blocks import (
    convolution,
    leaky_relu,
    pad_to_multiple,
    upsampled_convolution,
)


class Encoder(nn.Sequential):
    """Encoder to a coarse grid of features, with a stride-2 convolution per level.

    The first level has `width` channels, each further level doubles them; the grid is 2
    ** n_levels times coarser than the slice. `norm` is "batch", "instance" or "none";
    `activation` creates the activation of a layer.
    """

    def __init__(
        self,
        n_in: int,
        width: int,
        n_levels: int,
        norm: str = "batch",
        activation: Callable[[], nn.Module] = leaky_relu,
    ) -> None:
        channels = [n_in, *(width * 2**level for level in range(n_levels))]
        super().__init__(
            *(
                convolution(before, after, 3, stride=2, norm=norm, activation=activation)
                for before, after in itertools.pairwise(channels)
            )
        )


class Decoder(nn.Sequential):
    """Decoder from a coarse grid of features to slices, mirroring `Encoder`.

    Each level has upsampling and a convolution, which avoids the checkerboard artefacts
    of transposed convolutions (Odena et al. 2016). The last hidden level, at full
    resolution, has `width` channels. The output is linear: intensities are z-scores.
    """

    def __init__(
        self,
        n_in: int,
        width: int,
        n_levels: int,
        n_out: int,
        norm: str = "batch",
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        channels = [width * 2**level for level in reversed(range(n_levels))]
        layers: list[nn.Module] = [
            convolution(n_in, channels[0], 3, norm=norm, activation=activation)
        ]
        for before, after in zip(channels, [*channels[1:], width]):
            layers.append(
                upsampled_convolution(before, after, norm=norm, activation=activation)
            )
        super().__init__(*layers, nn.Conv2d(width, n_out, 3, padding=1))


def pad_for_levels(images: torch.Tensor, n_levels: int) -> torch.Tensor:
    """Add background until the coarsest of `n_levels` levels has 2 × 2 pixels or more.

    With a single pixel, a norm layer would have nothing to average over.
    """
    multiple = 2**n_levels
    return pad_to_multiple(images, multiple, 2 * multiple)
