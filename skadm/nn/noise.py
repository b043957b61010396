"""Noise of low resolution that denoisers learn to take away: everywhere, or in blobs."""

from collections.abc import Sequence

import torch

# Of what varies within a blob: size in pixels, and spread beside an amount's of 1.
_TEXTURE_SCALE, _TEXTURE_STD = 8, 0.4


def coarse_noise(
    shape: tuple[int, ...], scale: int, generator: torch.Generator
) -> torch.Tensor:
    """Gaussian noise (n, K, H, W) of low resolution, each slice and contrast its own.

    Drawn on a grid of so many pixels and interpolated bilinearly, which lowers its variance
    between the grid's points: the result is scaled back to variance 1 on average. The grid
    is moved at random, so that its points favour no place.
    """
    n_slices, n_contrasts, *sides = shape
    if scale == 1:
        return torch.randn(*shape, generator=generator)
    points = [-(-side // scale) + 2 for side in sides]
    draw = torch.randn(n_slices, n_contrasts, *points, generator=generator)
    fine = torch.nn.functional.interpolate(draw, scale_factor=float(scale), mode="bilinear")
    # From the first pixel that has a point on either side on.
    top, left = (
        scale // 2 + int(torch.randint(scale, (), generator=generator)) for _ in sides
    )
    noise = fine[:, :, top : top + sides[0], left : left + sides[1]]
    # Along an axis a pixel at t between two points has the variance t² + (1 - t)².
    t = ((torch.arange(scale) + 0.5) / scale + 0.5) % 1
    return noise / (t.square() + (1 - t).square()).mean()


def blob_noise(
    shape: tuple[int, ...],
    scales: Sequence[int],
    generator: torch.Generator,
) -> torch.Tensor:
    """Artificial lesions: blobs, each slice with its own change of each contrast.

    Where a coarse field of one channel exceeds a level, all contrasts are changed by an
    amount that is drawn for the slice, brighter or darker with equal probability, plus some
    coarse noise for texture: standard deviations of 1 and 0.4. Level, sharpness of the edge
    and size, one of `scales` in pixels for the batch, are drawn too. Most of a slice stays
    as it is, by which a network can tell what the rest should look like.
    """
    n_slices, n_contrasts, *sides = shape
    scale = scales[int(torch.randint(len(scales), (), generator=generator))]
    field = coarse_noise((n_slices, 1, *sides), scale, generator)
    level, sharpness = (
        low + width * torch.rand(n_slices, 1, 1, 1, generator=generator)
        for low, width in ((0.6, 0.9), (2, 8))
    )
    blobs = torch.sigmoid((field - level) * sharpness)
    amount = torch.randn(n_slices, n_contrasts, 1, 1, generator=generator)
    texture = coarse_noise(shape, _TEXTURE_SCALE, generator)
    return blobs * (amount + _TEXTURE_STD * texture)
