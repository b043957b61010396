"""Contrast-to-contrast translation, G_ct (paper 2.2.1, Eq. 1-5 and 13)."""

import torch
from torch import nn

from skadm.nn.blocks import (
    ResidualBlock,
    SingleChannelConvolution,
    convolution,
    pad_to_multiple,
    upsampled_convolution,
)
from skadm.nn.pixels import brain_of

# Two stride-2 layers; at 8 × 8 the coarsest level has four pixels, the fewest for the
# norm layers to average over.
_MULTIPLE, _MINIMUM = 4, 8
# Pixels of all slices up to which all targets are translated in one call: the overhead of a
# call then takes a good part of its time. Of more, memory would be K times as much.
_SMALL = 2**16


def brain_medians(images: torch.Tensor, brain: torch.Tensor) -> torch.Tensor:
    """Compute the median of every contrast over brain pixels, (n, K); 0 without brain.

    The paper uses the median of the image. Background, more than half of the pixels,
    would dominate it and is excluded here. For an even number of pixels the lower middle
    value is used.
    """
    outside = ~brain.unsqueeze(1)
    values = images.masked_fill(outside, torch.nan).flatten(2)
    return values.nanmedian(dim=2).values.nan_to_num(nan=0.0)


class TranslationNet(nn.Module):
    """Network that translates any contrast of a slice from the others.

    The image transformation network of Johnson et al. 2016 (the paper's ref. 46): 9×9
    convolution, two stride-2 convolutions, residual blocks, two upsamplings with
    convolutions, 9×9 convolution. There is no final tanh, since intensities are z-scores.
    The channel of the target contrast holds the constant m_b instead of the image; m_b is
    also an input of the last layer (paper Fig. 3). The first layer has `width` channels.
    With `brain_channel`, the brain mask is a further input of the network.
    """

    def __init__(
        self,
        n_contrasts: int,
        width: int = 32,
        n_blocks: int = 5,
        norm: str = "batch",
        brain_channel: bool = False,
    ) -> None:
        super().__init__()
        self.brain_channel = brain_channel
        self.body = nn.Sequential(
            convolution(n_contrasts + brain_channel, width, 9, norm=norm),
            convolution(width, 2 * width, 3, stride=2, norm=norm),
            convolution(2 * width, 4 * width, 3, stride=2, norm=norm),
            *(ResidualBlock(4 * width, norm) for _ in range(n_blocks)),
            upsampled_convolution(4 * width, 2 * width, norm=norm),
            upsampled_convolution(2 * width, width, norm=norm),
        )
        self.head = SingleChannelConvolution(width + 1, 9)

    def forward(
        self, images: torch.Tensor, target: torch.Tensor, prior: torch.Tensor
    ) -> torch.Tensor:
        """Translate each slice, (n, K, H, W), into its target contrast (Eq. 2-3).

        The image of the target is replaced by m_b, `prior`. H and W are arbitrary: slices
        are padded as needed and cropped again.
        """
        height, width = images.shape[-2:]
        padded = pad_to_multiple(images, _MULTIPLE, _MINIMUM)
        constant = prior.view(-1, 1, 1, 1).to(padded.dtype).expand_as(padded[:, :1])
        channels = torch.arange(padded.shape[1], device=padded.device)
        hidden = channels == target.unsqueeze(1)
        visible = torch.where(hidden[:, :, None, None], constant, padded)
        if self.brain_channel:
            brain = brain_of(padded).unsqueeze(1).to(padded.dtype)
            visible = torch.cat([visible, brain], dim=1)
        visible = visible.contiguous(memory_format=torch.channels_last)
        features = self.body(visible)
        features = torch.cat([features, constant.to(features.dtype)], dim=1)
        return self.head(features)[:, 0, :height, :width]


def translate_all(
    net: TranslationNet, images: torch.Tensor, priors: torch.Tensor
) -> torch.Tensor:
    """All K translations of each slice, X_ct, (n, K, H, W) (Eq. 4).

    `priors` are m of every contrast, (n, K).
    """
    n_slices, n_contrasts = images.shape[:2]
    targets = torch.arange(n_contrasts, device=images.device).repeat(n_slices)
    if images[:, 0].numel() > _SMALL:
        translations = [
            net(images, targets[b::n_contrasts], priors[:, b]) for b in range(n_contrasts)
        ]
        return torch.stack(translations, dim=1)
    repeated = images.repeat_interleave(n_contrasts, dim=0)
    return net(repeated, targets, priors.flatten()).unflatten(0, (n_slices, n_contrasts))
