"""Density of pixel features: a Gaussian mixture inside a network (Eq. 8-12)."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import nn

from skadm.nn import blockwise
from skadm.nn.spectral import whiten

# Mass, in pixels, below which a component counts as empty; it keeps 1 / mass finite.
_EMPTY = 1e-6
_LOG_2_PI = math.log(2 * math.pi)


def _full_precision(tensor: torch.Tensor) -> torch.autocast:
    """Context without autocast, on the tensor's device.

    Half precision is for the convolutions: it leaves 8 bits for a mantissa, and a
    covariance needs the difference of nearly equal numbers.
    """
    return torch.autocast(tensor.device.type, enabled=False)


class Mixture(NamedTuple):
    """Parameters of a Gaussian mixture, in float64."""

    weights: torch.Tensor  # (C,)
    means: torch.Tensor  # (C, d)
    covariances: torch.Tensor  # (C, d, d), as estimated: without the eigenvalue floor


class EstimationNet(nn.Module):
    """Responsibilities of a pixel from its feature alone, G_de (Eq. 8).

    Layer sizes are not stated in the paper; one hidden layer of `width` units with tanh as
    in DAGMM (Zong et al. 2018). A training step drops a share of them, `dropout`: 0.5 in
    DAGMM.
    """

    def __init__(
        self, n_features: int, n_components: int, width: int = 16, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.hidden = nn.Sequential(nn.Linear(n_features, width), nn.Tanh())
        self.output = nn.Linear(width, n_components)

    def forward(
        self, features: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Map (n, d) features to (n, C) responsibilities; rows add up to 1.

        Units are dropped where there is a (CPU) generator to draw them from: torch's own
        dropout would draw from the global one.
        """
        with _full_precision(features):
            hidden = self.hidden(features)
            if generator is not None and self.dropout:
                kept = torch.rand(hidden.shape, generator=generator) >= self.dropout
                hidden = hidden * kept.to(hidden.device) / (1 - self.dropout)
            # Over the first dimension, the softmax is several times faster.
            return self.output(hidden).mT.contiguous().softmax(dim=0).mT


def estimate_mixture(features: torch.Tensor, responsibilities: torch.Tensor) -> Mixture:
    """Mixture parameters from features (n, d) and responsibilities (n, C) (Eq. 9).

    Features are of brain pixels only. The results are float64. A component without pixels
    gets weight about 0, mean 0 and covariance 0, never NaN.
    """
    with _full_precision(features):
        centre = blockwise.centre_of(features)
        sums = blockwise.weighted_moments(features, responsibilities, centre)
        return _mixture_of(*sums, centre, len(features))


def _mixture_of(
    masses: torch.Tensor,
    firsts: torch.Tensor,
    seconds: torch.Tensor,
    centre: torch.Tensor,
    n_pixels: int,
) -> Mixture:
    """Mixture from the sums of `blockwise.weighted_moments`.

    A covariance is a difference, but only of its variance and the distance from the
    centre, in float64: for float32 features the rounding of the features is larger.
    """
    held = masses.clamp_min(_EMPTY)
    shifts = firsts / held.unsqueeze(1)
    means = shifts + (masses / held).unsqueeze(1) * centre
    covariances = seconds / held[:, None, None] - shifts.unsqueeze(2) * shifts.unsqueeze(1)
    return Mixture(held / n_pixels, means, covariances)


def mixture_energy(
    features: torch.Tensor, mixture: Mixture, floor: float = 0.0
) -> torch.Tensor:
    """Negative log-likelihood of each pixel, E_n, of shape (n,) (Eq. 12).

    `floor` is ε, the least eigenvalue of every covariance (Eq. 10-11). The energy is
    computed in float64, and returned in the precision of the features, (n, d).
    """
    if not torch.isfinite(mixture.covariances).all():
        return features.new_full((len(features),), torch.nan)  # eigh would fail on them
    with _full_precision(features):
        return blockwise.energy(features, *_gaussians(mixture, floor))


def marginal(mixture: Mixture, dropped: int, floor: float = 0.0) -> Mixture:
    """Mixture of all features but one, exactly.

    The floor comes first: marginals of the floored covariances have no eigenvalue below it
    either.
    """
    eigenvalues, vectors = torch.linalg.eigh(mixture.covariances)
    floored = (vectors * eigenvalues.clamp_min(floor).unsqueeze(-2)) @ vectors.mT
    kept = _kept(mixture.means.shape[1], dropped).to(mixture.means.device)
    return Mixture(mixture.weights, mixture.means[:, kept], floored[:, kept[:, None], kept])


def _kept(n_features: int, dropped: int) -> torch.Tensor:
    return torch.tensor([index for index in range(n_features) if index != dropped])


class Contributions(NamedTuple):
    """What a pixel's energy is made of; see `explain_energy`."""

    features: torch.Tensor  # (n, d): part of each feature in the energy
    # (n,): the rest, what the energy would be at the centre of the components
    baseline: torch.Tensor
    component: torch.Tensor  # (n,): the one that most probably made the pixel


def explain_energy(
    features: torch.Tensor, mixture: Mixture, floor: float = 0.0
) -> Contributions:
    """Part the energy of each pixel into features, without a remainder.

    With the posterior γ_c of the components (responsibilities under the mixture), the
    energy is exactly

        E = Σ_c γ_c (z - μ_c)ᵀ Σ_c⁻¹ (z - μ_c) / 2
            + Σ_c γ_c (log det(2π Σ_c) / 2 - log π_c + log γ_c)

    and the first sum is a sum over features i of (z - μ_c)_i [Σ_c⁻¹ (z - μ_c)]_i. A part
    is negative where a feature, correlated with others, speaks against their deviation.
    Not in the paper.

    Parameters
    ----------
    features : torch.Tensor of shape (n, d)
    mixture : Mixture
    floor : float
        ε, the least eigenvalue of every covariance (Eq. 10-11).

    Returns
    -------
    contributions : Contributions
        Features and baseline add up to `mixture_energy`.
    """
    with _full_precision(features):
        gaussians = _gaussians(mixture, floor)
        means, whitening, _ = gaussians
        exponents, whitened = blockwise.exponents(features, *gaussians)
        centred = features.mT - means.unsqueeze(-1)
        parts = centred * (whitening @ whitened) / 2
        explained = (exponents.softmax(dim=0).unsqueeze(1) * parts).sum(dim=0).mT
        energy = -torch.logsumexp(exponents, dim=0)
        return Contributions(
            explained.to(features.dtype),
            (energy - explained.sum(dim=1)).to(features.dtype),
            exponents.argmax(dim=0),
        )


def _gaussians(
    mixture: Mixture, floor: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Means, Σ^(-1/2), and the logarithm of weight times density at the mean."""
    whitening, logdet = whiten(mixture.covariances, floor)
    n_features = mixture.means.shape[1]
    constants = mixture.weights.log() - (logdet + n_features * _LOG_2_PI) / 2
    return mixture.means, whitening, constants


def diagonal_penalty(mixture: Mixture, floor: float = 0.0) -> torch.Tensor:
    """Sum of 1 / Σ_ii over components and dimensions, L_p / λ_p (paper 2.7, ref. 36).

    A variance below `floor` counts as `floor`.
    """
    variances = mixture.covariances.diagonal(dim1=-2, dim2=-1)
    return variances.clamp_min(floor).reciprocal().sum()


def least_eigenvalue(mixture: Mixture) -> torch.Tensor:
    """Smallest eigenvalue of all covariances, before any floor; a scalar."""
    return torch.linalg.eigvalsh(mixture.covariances.detach()).min()


def is_singular(mixture: Mixture) -> bool:
    """Whether a covariance cannot be inverted in the precision of its features.

    That is, whether a smallest eigenvalue is below the rounding error of the largest:
    d times the float32 machine epsilon, NumPy's and MATLAB's rule for the rank.
    Components without pixels do not count.
    """
    if not all(torch.isfinite(part).all() for part in mixture):
        return True
    held = mixture.weights.detach() > _EMPTY
    eigenvalues = torch.linalg.eigvalsh(mixture.covariances.detach()[held])
    tolerance = eigenvalues.shape[-1] * torch.finfo(torch.float32).eps
    return bool((eigenvalues[:, 0] <= tolerance * eigenvalues[:, -1]).any())


class MixtureAccumulator:
    """Mixture parameters over any number of batches, as if they were one (Eq. 9).

    Sums are in float64, about a point among the pixels, so the result does not depend
    on how the pixels were cut into batches.
    """

    def __init__(self) -> None:
        self._n_pixels = 0
        self._centre: torch.Tensor | None = None
        self._sums: list[torch.Tensor] = []  # of `blockwise.weighted_moments`

    def add(self, features: torch.Tensor, responsibilities: torch.Tensor) -> None:
        """Take in the (n, d) features and (n, C) responsibilities of a batch."""
        if not len(features):
            return
        if self._centre is None:
            self._centre = blockwise.centre_of(features)
        sums = blockwise.weighted_moments(features, responsibilities, self._centre)
        self._sums = [a + b for a, b in zip(self._sums, sums)] if self._sums else [*sums]
        self._n_pixels += len(features)

    def mixture(self) -> Mixture:
        """The mixture of all pixels taken in so far; a ValueError if there were none."""
        if self._centre is None:
            raise ValueError("no pixels were added: a mixture needs at least one")
        masses, firsts, seconds = self._sums
        return _mixture_of(masses, firsts, seconds, self._centre, self._n_pixels)


def fit_mixture(batches: Iterable[torch.Tensor], estimation: EstimationNet) -> Mixture:
    """Mixture of any number of pixels, without gradients (Eq. 8-9).

    Batches of features (n, d) are taken in one pass: it is the mixture of all training
    pixels, not of the last batch.
    """
    mixture = MixtureAccumulator()
    with torch.inference_mode():
        for features in batches:
            mixture.add(features, estimation(features))
    return mixture.mixture()


class FittedMixture(nn.Module):
    """Holds the final mixture among the weights of a network."""

    weights: torch.Tensor
    means: torch.Tensor
    covariances: torch.Tensor

    def __init__(self, n_components: int, n_features: int) -> None:
        super().__init__()
        shape = (n_components, n_features)
        double = torch.float64
        self.register_buffer("weights", torch.zeros(n_components, dtype=double))
        self.register_buffer("means", torch.zeros(shape, dtype=double))
        self.register_buffer("covariances", torch.zeros(*shape, n_features, dtype=double))

    def set(self, mixture: Mixture) -> None:
        """Take over the parameters."""
        for name, value in mixture._asdict().items():
            getattr(self, name).copy_(value)

    @property
    def parameters_(self) -> Mixture:
        """The mixture."""
        return Mixture(self.weights, self.means, self.covariances)

    def energy(
        self, features: torch.Tensor, floor: float, dropped: int | None = None
    ) -> torch.Tensor:
        """Energy of (n, d) features under the final mixture (Eq. 12), shape (n,).

        In float64: a covariance may be nearly singular, and whitening magnifies rounding.
        A feature that is `dropped` is not looked at.
        """
        return mixture_energy(*self._without_feature(features, floor, dropped), floor)

    def explain(
        self, features: torch.Tensor, floor: float, dropped: int | None = None
    ) -> Contributions:
        """What the energy of (n, d) features is made of, in float64.

        The part of a feature that is `dropped` is 0.
        """
        contributions = explain_energy(
            *self._without_feature(features, floor, dropped), floor
        )
        if dropped is None:
            return contributions
        parts = contributions.features
        nothing = parts.new_zeros(len(parts), 1)
        parts = torch.cat([parts[:, :dropped], nothing, parts[:, dropped:]], dim=1)
        return contributions._replace(features=parts)

    def _without_feature(
        self, features: torch.Tensor, floor: float, dropped: int | None
    ) -> tuple[torch.Tensor, Mixture]:
        """Features in float64 and the mixture, both without the one that is dropped."""
        if dropped is None:
            return features.double(), self.parameters_
        kept = _kept(features.shape[1], dropped).to(features.device)
        return features[:, kept].double(), marginal(self.parameters_, dropped, floor)
