"""Mirror images of slices, for left-right comparison."""

import torch

from skadm.nn.pixels import brain_of


def mirrored(images: torch.Tensor) -> torch.Tensor:
    """Mirror each slice, (n, K, H, W), left to right about the middle of its brain.

    The middle is the centre of mass of the brain pixels, rounded to half a pixel. Pixels
    mirrored from outside the slice are 0.
    """
    width = images.shape[-1]
    columns = torch.arange(width, device=images.device)
    counts = brain_of(images).sum(dim=1)
    # Twice the middle, so that it may lie between two pixels.
    twice = (2 * (counts * columns).sum(dim=1) / counts.sum(dim=1).clamp_min(1)).round()
    source = twice.long().unsqueeze(1) - columns
    inside = ((source >= 0) & (source < width))[:, None, None]
    index = source.clamp(0, width - 1)[:, None, None].expand_as(images)
    return images.gather(3, index) * inside
