"""Between images and the brain pixels in them."""

import torch


def brain_of(images: torch.Tensor) -> torch.Tensor:
    """Pixels with any contrast other than 0, (n, K, H, W) to (n, H, W)."""
    return (images != 0).any(dim=1)


def with_brain(images: torch.Tensor) -> torch.Tensor:
    """Slices (n, K, H, W) with a further channel: 1 in the brain, 0 elsewhere."""
    return torch.cat([images, brain_of(images).unsqueeze(1).to(images.dtype)], dim=1)


def pixels_of(features: torch.Tensor, brain: torch.Tensor) -> torch.Tensor:
    """Features of the brain pixels, (n, d, H, W) to (n_pixels, d), float32."""
    return features.permute(0, 2, 3, 1)[brain].float()


def map_of(values: torch.Tensor, brain: torch.Tensor) -> torch.Tensor:
    """One value for each brain pixel back in its place, (n, H, W), float32; 0 elsewhere."""
    maps = torch.zeros(brain.shape, device=brain.device)
    return maps.masked_scatter(brain, values.float())


def brain_mean(values: torch.Tensor, brain: torch.Tensor) -> torch.Tensor:
    """Mean of (n, H, W) values over the brain pixels, a scalar, float32.

    The pixels are not gathered, for which a GPU would have to be waited for.
    """
    return torch.where(brain, values.float(), 0).sum() / brain.sum()
