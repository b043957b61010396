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
    """Slices to a coarse grid of features: a stride-2 convolution for each level.

    The first level has `width` channels, each further one twice as many; the grid is 2 **
    n_levels times coarser than the slice. `norm` is "batch", "instance" or "none";
    `activation` makes the activation of a layer.
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
    """A coarse grid of features to slices: the mirror image of `Encoder`.

    Upsampling and a convolution for each level, which leaves no checkerboard as a
    transposed convolution does (Odena et al. 2016). The last hidden level, at full
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

    A single one would leave a norm layer nothing to average over.
    """
    multiple = 2**n_levels
    return pad_to_multiple(images, multiple, 2 * multiple)
