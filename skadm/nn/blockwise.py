"""Moments and energies of many pixels, in blocks that fit into the cache, with gradients.

Autograd would keep several arrays of C · d numbers per pixel. These functions keep none:
each block of pixels meets all components in one matrix product, and the gradient repeats
that product. All sums are in float64, whatever the precision of the features.
"""

from collections.abc import Iterator

import torch
from torch.autograd.function import once_differentiable

_PIXELS = 4096


def _blocks(features: torch.Tensor) -> Iterator[slice]:
    """Slices of the pixels of a block; a GPU takes all pixels at a time."""
    n_pixels = len(features)
    size = _PIXELS if features.device.type == "cpu" else max(n_pixels, 1)
    for start in range(0, n_pixels, size):
        yield slice(start, start + size)


def centre_of(features: torch.Tensor) -> torch.Tensor:
    """Mean of the first of (n, d) features, in float64: a point among all of them."""
    return features.detach()[:_PIXELS].double().mean(dim=0)


def weighted_moments(
    features: torch.Tensor, responsibilities: torch.Tensor, centre: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sums of 1, z - c and (z - c) (z - c)ᵀ over pixels, under the responsibilities.

    Of (n, d) features z and (n, C) responsibilities; shapes (C,), (C, d) and (C, d, d).
    The centre c, (d,), has no gradient.
    """
    sums = _Moments.apply(features, responsibilities, centre)
    n_features = len(centre)
    row, column = torch.triu_indices(n_features, n_features, device=features.device)
    place = torch.empty(n_features, n_features, dtype=torch.long, device=features.device)
    place[row, column] = place[column, row] = torch.arange(
        1 + n_features, sums.shape[1], device=features.device
    )
    return sums[:, 0], sums[:, 1 : n_features + 1], sums[:, place]


def _products(features: torch.Tensor, centre: torch.Tensor) -> torch.Tensor:
    """Rows 1, z_i and z_i z_j for i ≤ j of centred features, each of length n."""
    n_pixels, d = features.shape
    rows = centre.new_empty(1 + d + d * (d + 1) // 2, n_pixels)
    rows[0] = 1
    centred = rows[1 : d + 1].copy_(features.mT).sub_(centre.unsqueeze(1))
    start = d + 1
    for i in range(d):
        stop = start + d - i
        torch.mul(centred[i], centred[i:], out=rows[start:stop])
        start = stop
    return rows


class _Moments(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features, responsibilities, centre):
        ctx.save_for_backward(features, responsibilities, centre)
        d = len(centre)
        sums = centre.new_zeros(responsibilities.shape[1], 1 + d + d * (d + 1) // 2)
        for block in _blocks(features):
            shares = responsibilities[block].mT.to(centre.dtype)
            sums += shares @ _products(features[block], centre).mT
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        features, responsibilities, centre = ctx.saved_tensors
        d = len(centre)
        row, column = torch.triu_indices(d, d, device=grad.device)
        upper = grad.new_zeros(len(grad), d, d)
        upper[:, row, column] = grad[:, d + 1 :]
        # Derivative of a pixel's sums with respect to z_i: linear in its features.
        slopes = torch.cat([grad[:, 1 : d + 1], (upper + upper.mT).flatten(1)], dim=1).mT
        grad_features = torch.empty_like(features)
        grad_shares = torch.empty_like(responsibilities)
        for block in _blocks(features):
            rows = _products(features[block], centre)
            grad_shares[block] = (grad @ rows).mT
            slope = slopes @ responsibilities[block].mT.to(grad.dtype)
            linear = slope[d:].view(d, d, -1).mul_(rows[1 : d + 1]).sum(dim=1)
            grad_features[block] = linear.add_(slope[:d]).mT
        return grad_features, grad_shares, None


def energy(
    features: torch.Tensor,
    means: torch.Tensor,
    whitening: torch.Tensor,
    constants: torch.Tensor,
) -> torch.Tensor:
    """-log Σ_c exp(k_c - ‖W_c (z - μ_c)‖² / 2) of each pixel, shape (n,).

    Features z (n, d), means μ (C, d), whitening W (C, d, d), constants k (C,); the result
    is in the precision of the features.
    """
    return _Energy.apply(features, _joined(means, whitening), constants)


def exponents(
    features: torch.Tensor,
    means: torch.Tensor,
    whitening: torch.Tensor,
    constants: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """k_c - ‖W_c (z - μ_c)‖² / 2, (C, n), and W_c (z - μ_c), (C, d, n), in float64."""
    return _exponents(_with_one(features), _joined(means, whitening), constants)


def _joined(means: torch.Tensor, whitening: torch.Tensor) -> torch.Tensor:
    """(C, d, d + 1): times z and 1, this is W (z - μ)."""
    return torch.cat([whitening, -whitening @ means.unsqueeze(-1)], dim=-1)


def _with_one(features: torch.Tensor) -> torch.Tensor:
    """(d + 1, n) in float64: the features and a row of ones."""
    rows = features.new_empty(features.shape[1] + 1, len(features), dtype=torch.float64)
    rows[:-1] = features.mT
    rows[-1] = 1
    return rows


def _exponents(
    rows: torch.Tensor, joined: torch.Tensor, constants: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    whitened = (joined.flatten(0, 1) @ rows).view(*joined.shape[:2], -1)
    distances = whitened.square().sum(dim=1)
    return constants.unsqueeze(1) - distances / 2, whitened


class _Energy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features, joined, constants):
        energies = joined.new_empty(len(features))
        for block in _blocks(features):
            exponents, _ = _exponents(_with_one(features[block]), joined, constants)
            energies[block] = -torch.logsumexp(exponents, dim=0)
        ctx.save_for_backward(features, joined, constants, energies)
        return energies.to(features.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        features, joined, constants, energies = ctx.saved_tensors
        grad_features = torch.empty_like(features)
        grad_joined = torch.zeros_like(joined)
        grad_constants = torch.zeros_like(constants)
        for block in _blocks(features):
            rows = _with_one(features[block])
            exponents, whitened = _exponents(rows, joined, constants)
            posterior = exponents.add_(energies[block]).exp_()
            pull = posterior.mul_(grad[block])
            grad_constants -= pull.sum(dim=1)
            pulled = whitened.mul_(pull.unsqueeze(1)).flatten(0, 1)
            grad_joined += (pulled @ rows.mT).view_as(joined)
            grad_features[block] = (joined[..., :-1].flatten(0, 1).mT @ pulled).mT
        return grad_features, grad_joined, grad_constants
