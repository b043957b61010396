"""Conversion between images and brain pixels."""

import torch


def brain_of(images: torch.Tensor) -> torch.Tensor:
    """Return the pixels with any nonzero contrast, (n, K, H, W) to (n, H, W)."""
    return (images != 0).any(dim=1)


def with_brain(images: torch.Tensor) -> torch.Tensor:
    """Slices (n, K, H, W) with a further channel: 1 in the brain, 0 elsewhere."""
    return torch.cat([images, brain_of(images).unsqueeze(1).to(images.dtype)], dim=1)


def pixels_of(features: torch.Tensor, brain: torch.Tensor) -> torch.Tensor:
    """Gather features of brain pixels, (n, d, H, W) to (n_pixels, d), float32."""
    return features.permute(0, 2, 3, 1)[brain].float()


def map_of(values: torch.Tensor, brain: torch.Tensor) -> torch.Tensor:
    """Scatter one value per brain pixel to maps (n, H, W), float32; 0 elsewhere."""
    maps = torch.zeros(brain.shape, device=brain.device)
    return maps.masked_scatter(brain, values.float())


def brain_mean(values: torch.Tensor, brain: torch.Tensor) -> torch.Tensor:
    """Compute the mean of (n, H, W) values over the brain pixels, a float32 scalar.

    Pixels are not gathered, which would synchronise with the GPU.
    """
    return torch.where(brain, values.float(), 0).sum() / brain.sum()
