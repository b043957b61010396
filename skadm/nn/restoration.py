"""Restoration of images to the most probable normal version (You et al. 2019)."""

import math
from collections.abc import Callable

import torch

Energy = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def total_variation(maps: torch.Tensor) -> torch.Tensor:
    """Sum the gradient magnitude over pixels and channels, (n, K, H, W) to (n,)."""
    down, right = torch.zeros_like(maps), torch.zeros_like(maps)
    down[..., :-1, :] = maps[..., 1:, :] - maps[..., :-1, :]
    right[..., :-1] = maps[..., 1:] - maps[..., :-1]
    return torch.hypot(down, right).flatten(1).sum(dim=1)


class TotalVariationStep:
    """Proximal step of the total variation for maps (n, H, W), 0 outside the brain.

    argmin over u of ½ ‖u - v‖² + weight · TV(u), by accelerated projected gradients of its
    dual (Beck & Teboulle 2009). Each call starts from the previous dual solution, so that
    few iterations suffice. The result is a continuous function of v, unlike a gradient
    step, which flips signs where u is flat.
    """

    # One over the largest eigenvalue of the discrete Laplacian.
    _STEP = 1 / 8

    def __init__(self, brain: torch.Tensor, n_iterations: int) -> None:
        self.brain = brain.unsqueeze(1)
        self.n_iterations = n_iterations
        self._dual: tuple[torch.Tensor, torch.Tensor] | None = None

    def __call__(self, values: torch.Tensor, weight: float) -> torch.Tensor:
        """Return the minimiser for v = `values`, shape (n, K, H, W)."""
        if not weight:
            return values * self.brain
        if self._dual is None:
            self._dual = torch.zeros_like(values), torch.zeros_like(values)
        # In place throughout: these loops are limited by memory bandwidth.
        old_down, old_right = self._dual
        down, right = old_down.clone(), old_right.clone()
        lengths, pace = torch.empty_like(values), 1.0
        for _ in range(self.n_iterations):
            maps = self._primal(values, down, right)
            down[..., :-1, :].add_(maps[..., 1:, :], alpha=self._STEP)
            down[..., :-1, :].sub_(maps[..., :-1, :], alpha=self._STEP)
            right[..., :-1].add_(maps[..., 1:], alpha=self._STEP)
            right[..., :-1].sub_(maps[..., :-1], alpha=self._STEP)
            torch.hypot(down, right, out=lengths)
            lengths.clamp_(min=weight).reciprocal_().mul_(weight)
            down.mul_(lengths)
            right.mul_(lengths)
            next_pace = (1 + math.sqrt(1 + 4 * pace**2)) / 2
            ahead = 1 + (pace - 1) / next_pace
            old_down, down = down, old_down.lerp(down, ahead)
            old_right, right = right, old_right.lerp(right, ahead)
            pace = next_pace
        self._dual = old_down, old_right
        return self._primal(values, old_down, old_right)

    def _primal(
        self, values: torch.Tensor, down: torch.Tensor, right: torch.Tensor
    ) -> torch.Tensor:
        """Return v plus the divergence of the dual field."""
        maps = values + down
        maps[..., 1:, :].sub_(down[..., :-1, :])
        maps.add_(right)
        maps[..., 1:].sub_(right[..., :-1])
        return maps.mul_(self.brain)


def restore(
    images: torch.Tensor,
    brain: torch.Tensor,
    energy: Energy,
    tv_weight: float,
    n_steps: int,
    step_size: float,
    tv_iterations: int = 20,
) -> torch.Tensor:
    """Minimise energy(x) + tv_weight · TV(x - image), starting at the image, (n, K, H, W).

    Each step follows the gradient of the energy, which maps images and brain to (n,), and
    then takes a proximal step of the total variation with `tv_iterations`. Pixels outside
    the brain are unchanged. Always in full precision, even under autocast, since rounding
    errors would accumulate. Gradients are with respect to the image only, also under
    `torch.inference_mode`.
    """
    full_precision = torch.autocast(images.device.type, enabled=False)
    with torch.inference_mode(False), torch.enable_grad(), full_precision:
        # Copies: tensors created in inference mode cannot have gradients.
        start = images.clone(memory_format=torch.channels_last)
        brain = brain.clone()
        change = torch.zeros_like(start)
        smoothed = TotalVariationStep(brain, tv_iterations)
        for _ in range(n_steps):
            current = (start + change).requires_grad_()
            # The gradient of the sum gives the gradient of each slice, since slices are
            # independent.
            (slope,) = torch.autograd.grad(energy(current, brain).sum(), current)
            change = smoothed(change - step_size * slope, step_size * tv_weight)
        return start + change
