"""Low-resolution noise for training denoisers: everywhere or in blobs."""

from collections.abc import Sequence

import torch

# Texture within a blob: size in pixels, and standard deviation relative to the change.
_TEXTURE_SCALE, _TEXTURE_STD = 8, 0.4


def coarse_noise(
    shape: tuple[int, ...], scale: int, generator: torch.Generator
) -> torch.Tensor:
    """Draw low-resolution Gaussian noise (n, K, H, W), independent per slice and contrast.

    It is drawn on a coarse grid and interpolated bilinearly. Since interpolation lowers
    the variance between grid points, the result is rescaled to variance 1 on average. The
    grid is shifted at random, so that all positions are equivalent.
    """
    n_slices, n_contrasts, *sides = shape
    if scale == 1:
        return torch.randn(*shape, generator=generator)
    points = [-(-side // scale) + 2 for side in sides]
    draw = torch.randn(n_slices, n_contrasts, *points, generator=generator)
    fine = torch.nn.functional.interpolate(draw, scale_factor=float(scale), mode="bilinear")
    # Start at the first pixel between two grid points.
    top, left = (
        scale // 2 + int(torch.randint(scale, (), generator=generator)) for _ in sides
    )
    noise = fine[:, :, top : top + sides[0], left : left + sides[1]]
    # Along an axis, a pixel at position t between two points has variance t² + (1 - t)².
    t = ((torch.arange(scale) + 0.5) / scale + 0.5) % 1
    return noise / (t.square() + (1 - t).square()).mean()


def blob_noise(
    shape: tuple[int, ...],
    scales: Sequence[int],
    generator: torch.Generator,
    signs: torch.Tensor | None = None,
) -> torch.Tensor:
    """Draw artificial lesions: blobs with a random change of each contrast per slice.

    Where a coarse one-channel field exceeds a level, each contrast is changed by a random
    amount per slice, brighter or darker with equal probability, plus coarse noise for
    texture (standard deviations 1 and 0.4). Level, edge sharpness and size (one of
    `scales` in pixels, per batch) are random too. Most of a slice is unchanged, so that a
    network can infer the rest from it. `signs` (K,) restricts the direction of a contrast:
    1 brighter, -1 darker, 0 either.
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
    if signs is not None:
        signs = signs.view(-1, 1, 1)
        amount = torch.where(signs == 0, amount, amount.abs() * signs)
    texture = coarse_noise(shape, _TEXTURE_SCALE, generator)
    return blobs * (amount + _TEXTURE_STD * texture)
