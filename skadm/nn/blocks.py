"""Building blocks that several networks share."""

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)

NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "instance": lambda n_channels: nn.InstanceNorm2d(n_channels, affine=True),
    "none": lambda n_channels: nn.Identity(),
}


LEAK = 0.2


def leaky_relu() -> nn.Module:
    """ReLU with slope `LEAK` below 0, so that no unit dies."""
    return nn.LeakyReLU(LEAK)


def build(factory: Callable[[], Network], generator: torch.Generator) -> Network:
    """Build a network on the CPU whose initial weights come from `generator` alone.

    Torch's constructors draw from the global generator. So the network is first built on
    the meta device, without drawing, and then filled with torch's default distributions
    (He et al. 2015, uniform). Within ``torch.device("meta")`` it stays there.
    """
    only_shapes = torch.empty(0).device.type == "meta"
    with torch.device("meta"):
        module = factory()
    if only_shapes:
        return module
    for layer in module.modules():
        _allocate(layer)
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
            if layer.bias is not None:
                bound = 1 / math.sqrt(layer.weight[0].numel())
                nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
        elif isinstance(layer, nn.BatchNorm2d | nn.InstanceNorm2d):
            layer.reset_parameters()  # to constants: nothing is drawn
    return module


def _allocate(layer: nn.Module) -> None:
    """Move the tensors of a layer from the meta device to the CPU, not initialised.

    As `Module.to_empty`, which imports SymPy: that takes as long as scoring ten slices.
    """
    for name, parameter in layer.named_parameters(recurse=False):
        setattr(layer, name, nn.Parameter(torch.empty(parameter.shape)))
    for name, buffer in layer.named_buffers(recurse=False):
        setattr(layer, name, torch.empty(buffer.shape, dtype=buffer.dtype))


def convolution(
    n_in: int,
    n_out: int,
    kernel_size: int,
    *,
    stride: int = 1,
    norm: str = "none",
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """Convolution with zero padding, norm layer, activation.

    Zero padding, because background is zero.
    """
    layer = nn.Conv2d(
        n_in,
        n_out,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        bias=norm == "none",  # a norm layer has an offset
    )
    return nn.Sequential(layer, NORMS[norm](n_out), activation())


def upsampled_convolution(
    n_in: int,
    n_out: int,
    *,
    norm: str = "none",
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """Upsampling to twice the size and 3×3 convolution, norm layer, activation."""
    layer = UpsampledConvolution(n_in, n_out, bias=norm == "none")
    return nn.Sequential(layer, NORMS[norm](n_out), activation())


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with a skip connection (Johnson et al. 2016)."""

    def __init__(self, n_channels: int, norm: str) -> None:
        super().__init__()
        self.body = nn.Sequential(
            convolution(n_channels, n_channels, 3, norm=norm),
            nn.Conv2d(n_channels, n_channels, 3, padding=1, bias=norm == "none"),
            NORMS[norm](n_channels),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features + self.body(features)


class SingleChannelConvolution(nn.Conv2d):
    """Convolution to one channel with stride 1, computed for 4 × 4 pixels at once.

    Libraries optimise convolutions for many output channels; a single one costs as much
    as sixteen. So sixteen neighbouring pixels become the output channels of a convolution
    of stride 4 with shifted copies of the kernel, and are then rearranged. The result is
    the same. The kernel size is odd; H and W of the images must be multiples of
    4.
    """

    _SIDE = 4

    def __init__(self, n_in: int, kernel_size: int) -> None:
        super().__init__(n_in, 1, kernel_size, padding=kernel_size // 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        side = self._SIDE
        kernel = nn.functional.pad(self.weight, (0, side - 1, 0, side - 1))
        kernels = torch.cat(
            [kernel.roll((y, x), dims=(2, 3)) for y in range(side) for x in range(side)]
        )
        assert self.bias is not None
        blocks = nn.functional.conv2d(
            images, kernels, self.bias.expand(side**2), stride=side, padding=self.padding
        )
        return nn.functional.pixel_shuffle(blocks, side)


class UpsampledConvolution(nn.Conv2d):
    """Nearest-neighbour upsampling by 2 and a 3×3 convolution, computed at low resolution.

    After upsampling, several of the nine pixels under the kernel are copies of one pixel,
    so their weights can be summed: each of the four subpixel positions has a 2×2 kernel
    on the small image (Shi et al. 2016). The result is the same, with 16 products instead
    of 36.
    """

    def __init__(self, n_in: int, n_out: int, bias: bool = True) -> None:
        super().__init__(n_in, n_out, 3, padding=1, bias=bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        height, width = images.shape[-2:]
        bias = None if self.bias is None else self.bias.repeat(4)
        # The four pixels around each pixel corner: the first subpixel positions use the
        # first corner, the last ones the last.
        corners = nn.functional.conv2d(images, self._kernels(), bias, padding=1)
        # Channels last, the memory layout: whole pixels are moved.
        places = corners.permute(0, 2, 3, 1).chunk(4, dim=3)
        rows = [
            torch.stack(
                [
                    places[2 * down + right][:, down : down + height, right : right + width]
                    for right in range(2)
                ],
                dim=3,
            ).flatten(2, 3)
            for down in range(2)
        ]
        return torch.stack(rows, dim=2).flatten(1, 2).permute(0, 3, 1, 2)

    def _kernels(self) -> torch.Tensor:
        """Return the kernels of the four subpixel positions, (4 n_out, n_in, 2, 2)."""
        with torch.autocast(self.weight.device.type, enabled=False):
            first, middle, last = self.weight.unbind(dim=2)
            rows = [
                torch.stack([first, middle + last], dim=2),
                torch.stack([first + middle, last], dim=2),
            ]
            kernels = []
            for row in rows:
                left, centre, right = row.unbind(dim=3)
                kernels.append(torch.stack([left, centre + right], dim=3))
                kernels.append(torch.stack([left + centre, right], dim=3))
            return torch.cat(kernels)


def pad_to_multiple(images: torch.Tensor, multiple: int, minimum: int) -> torch.Tensor:
    """Pad below and to the right to multiples of H and W, at least `minimum`."""
    height, width = images.shape[-2:]
    new_height, new_width = (
        max(minimum, math.ceil(n / multiple) * multiple) for n in (height, width)
    )
    return nn.functional.pad(images, (0, new_width - width, 0, new_height - height))
