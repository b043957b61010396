"""Gaussian and edge-aware smoothing over brain pixels only."""

import torch

# Variance of the guide in a window, in squared standard deviations of the brain, below
# which the guided filter smooths. Chosen on lower-grade gliomas, between 0.02 and 1.
_FLAT = 0.1


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


def guided_in_brain(
    scores: torch.Tensor, guides: torch.Tensor, brain: torch.Tensor, radius: int
) -> torch.Tensor:
    """Smooth maps (n, H, W) over brain pixels, but not across edges of a guide.

    The guided filter of He et al. (2013), with square windows of 2 `radius` + 1 pixels: in
    each window the result is a linear function of the guide. The mean over several guides,
    (n, G, H, W). 0 outside the brain.
    """
    inside = brain.unsqueeze(1).float()

    def box(values: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(values, 2 * radius + 1, 1, radius)

    def mean(values: torch.Tensor) -> torch.Tensor:
        return box(values * inside) / weight

    with torch.autocast(scores.device.type, enabled=False):
        weight = box(inside).clamp_min(1e-6)
        guides, targets = guides.float(), scores.float().unsqueeze(1)
        centre, level = mean(guides), mean(targets)
        variance = mean(guides.square()) - centre.square()
        slope = (mean(guides * targets) - centre * level) / (variance + _FLAT)
        smooth = mean(slope) * guides + mean(level - slope * centre)
        return smooth.mean(dim=1) * brain
