"""Gaussian smoothing over brain pixels only."""

import torch


def smooth_in_brain(
    images: torch.Tensor, brain: torch.Tensor, sigma: float
) -> torch.Tensor:
    """Smooth each channel (n, K, H, W) over brain pixels only; 0 outside.

    The Gaussian, with `sigma` in pixels, is truncated at 4 sigma. 0: no smoothing.
    """
    inside = brain.unsqueeze(1).float()
    if not sigma:
        return images.float() * inside
    reach = int(4 * sigma + 0.5)
    distance = torch.arange(-reach, reach + 1, device=images.device) / sigma
    kernel = torch.exp(-distance.square() / 2)
    kernel = kernel / kernel.sum()
    with torch.autocast(images.device.type, enabled=False):
        stacked = torch.cat([images.float() * inside, inside], dim=1)
        channels = stacked.flatten(0, 1).unsqueeze(1)
        for axis in (-2, -1):
            shape = [1, 1, 1, 1]
            shape[axis] = len(kernel)
            padding = (reach, 0) if axis == -2 else (0, reach)
            channels = torch.nn.functional.conv2d(
                channels, kernel.view(shape), padding=padding
            )
        total = channels.view_as(stacked)
        return total[:, :-1] / total[:, -1:].clamp_min(1e-12) * inside
