"""Covariances that cannot become singular, with their exact gradient (Eq. 10-11).

Eq. 10-11 replace every eigenvalue λ of a covariance Σ by p(λ) = max(λ, ε). Autograd
through `torch.linalg.eigh` divides by differences of eigenvalues and gives NaN as soon as
two coincide, as happens when latent dimensions collapse.

But Σ^(-1/2) and log det Σ, after the floor, are spectral functions: f applied to the
eigenvalues, whatever the eigenvectors. With Σ = Q diag(λ) Qᵀ, the gradient of
F(Σ) = Q diag(f(λ)) Qᵀ is Q (D ∘ Qᵀ G Q) Qᵀ, where D_ij is the divided difference
(f(λ_i) - f(λ_j)) / (λ_i - λ_j), and f' where the two are equal. For f = p^(-1/2) the
divided difference is a product of two factors without any cancellation:

    D_ij = P_ij · -1 / (√p_i √p_j (√p_i + √p_j)),    P_ij = (p_i - p_j) / (λ_i - λ_j)

and P_ij, the divided difference of the floor, is 1 where both eigenvalues are above it,
0 where both are below. So the gradient is finite for every Σ.
"""

import torch
from torch.autograd.function import once_differentiable


class _Whitening(torch.autograd.Function):
    @staticmethod
    def forward(ctx, covariances, floor):
        eigenvalues, vectors = torch.linalg.eigh(covariances)
        floored = eigenvalues.clamp_min(floor)
        root = floored.sqrt()
        whitening = (vectors / root.unsqueeze(-2)) @ vectors.mT
        ctx.save_for_backward(eigenvalues, vectors)
        ctx.floor = floor
        return whitening, floored.log().sum(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_whitening, grad_logdet):
        eigenvalues, vectors = ctx.saved_tensors
        floored = eigenvalues.clamp_min(ctx.floor)
        root = floored.sqrt()
        column, row = root.unsqueeze(-1), root.unsqueeze(-2)
        differences = -_floor_differences(eigenvalues, ctx.floor) / (
            column * row * (column + row)
        )
        rotated = vectors.mT @ grad_whitening @ vectors
        rotated = differences * (rotated + rotated.mT) / 2
        diagonal = grad_logdet.unsqueeze(-1) * _floor_slope(eigenvalues, ctx.floor)
        rotated = rotated + torch.diag_embed(diagonal / floored)
        return vectors @ rotated @ vectors.mT, None


def _floor_slope(eigenvalues: torch.Tensor, floor: float) -> torch.Tensor:
    """Derivative of max(λ, ε); at the kink the mean of both sides."""
    at_kink = torch.full((), 0.5, dtype=eigenvalues.dtype, device=eigenvalues.device)
    return torch.heaviside(eigenvalues - floor, at_kink)


def _floor_differences(eigenvalues: torch.Tensor, floor: float) -> torch.Tensor:
    """Divided differences of max(λ, ε) between all pairs of eigenvalues."""
    floored = eigenvalues.clamp_min(floor)
    gap = eigenvalues.unsqueeze(-1) - eigenvalues.unsqueeze(-2)
    rise = floored.unsqueeze(-1) - floored.unsqueeze(-2)
    slope = _floor_slope(eigenvalues, floor)
    mean_slope = (slope.unsqueeze(-1) + slope.unsqueeze(-2)) / 2
    equal = gap == 0
    return torch.where(equal, mean_slope, rise / torch.where(equal, 1.0, gap))


def whiten(
    covariances: torch.Tensor, floor: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Inverse square root and log-determinant after flooring the eigenvalues at ε.

    Covariances are symmetric, (..., d, d). The first result is (Σ^pd)^(-1/2), symmetric:
    ‖whitening · (z - μ)‖² is the squared Mahalanobis distance; the second log det Σ^pd.
    Without a floor, a singular matrix gives infinities.
    """
    return _Whitening.apply(covariances, floor)
