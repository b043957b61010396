"""Density of pixel features: a Gaussian mixture inside a network (Eq. 8-12)."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import nn

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
            return self.output(hidden).softmax(dim=1)


def estimate_mixture(features: torch.Tensor, responsibilities: torch.Tensor) -> Mixture:
    """Mixture parameters from features (n, d) and responsibilities (n, C) (Eq. 9).

    Features are of brain pixels only. The moments are matrix products over centred pixels,
    one d × d product for each component, in the precision of the features; the results are
    float64. A component without pixels gets weight about 0, mean 0 and covariance 0, never
    NaN.
    """
    mass = responsibilities.sum(dim=0).clamp_min(_EMPTY)
    means, covariances = _moments(features, responsibilities / mass)
    weights = mass / len(features)
    return Mixture(weights.double(), means.double(), covariances.double())


def _moments(
    features: torch.Tensor, shares: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Means (C, d) and covariances (C, d, d) under weights whose columns add up to 1."""
    with _full_precision(features):
        means = shares.mT @ features
        centred = features - means.unsqueeze(1)
        return means, (centred * shares.mT.unsqueeze(-1)).mT @ centred


def mixture_energy(
    features: torch.Tensor, mixture: Mixture, floor: float = 0.0
) -> torch.Tensor:
    """Negative log-likelihood of each pixel, E_n, of shape (n,) (Eq. 12).

    `floor` is ε, the least eigenvalue of every covariance (Eq. 10-11). The energy is in the
    precision of the features, (n, d).
    """
    if not torch.isfinite(mixture.covariances).all():
        return features.new_full((len(features),), torch.nan)  # eigh would fail on them
    with _full_precision(features):
        exponents, *_ = _components(features, mixture, floor)
        return -torch.logsumexp(exponents, dim=0)


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
        exponents, centred, whitened, whitening = _components(features, mixture, floor)
        posterior = exponents.softmax(dim=0)
        parts = centred * (whitened @ whitening) / 2
        explained = (posterior.unsqueeze(-1) * parts).sum(dim=0)
        energy = -torch.logsumexp(exponents, dim=0)
        return Contributions(
            explained, energy - explained.sum(dim=1), posterior.argmax(dim=0)
        )


def _components(
    features: torch.Tensor, mixture: Mixture, floor: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log of weight times density (C, n); z - μ and Σ^(-1/2) (z - μ), (C, n, d); Σ^(-1/2).

    In the precision of the features.
    """
    n_features, dtype = features.shape[1], features.dtype
    # The d × d matrices stay in float64 until they meet the pixels: float32
    # eigenvalues are uncertain by about ε.
    whitening, logdet = whiten(mixture.covariances, floor)
    constant = mixture.weights.log() - (logdet + n_features * _LOG_2_PI) / 2
    whitening = whitening.to(dtype)
    centred = features - mixture.means.to(dtype).unsqueeze(1)
    whitened = centred @ whitening
    distances = whitened.square().sum(dim=-1)
    exponents = constant.to(dtype).unsqueeze(1) - distances / 2
    return exponents, centred, whitened, whitening


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

    Batches are merged in float64 by the pairwise update of Chan et al. 1979, which does
    not cancel, so the result does not depend on how the pixels were cut into batches.
    """

    def __init__(self) -> None:
        self._mass: torch.Tensor | None = None

    def add(self, features: torch.Tensor, responsibilities: torch.Tensor) -> None:
        """Take in the (n, d) features and (n, C) responsibilities of a batch."""
        if not len(features):
            return
        features, responsibilities = features.double(), responsibilities.double()
        tiny = torch.finfo(torch.float64).tiny
        mass = responsibilities.sum(dim=0).clamp_min(tiny)
        means, covariances = _moments(features, responsibilities / mass)
        scatters = covariances * mass[:, None, None]
        if self._mass is None:
            self._mass, self._means, self._scatters = mass, means, scatters
            self._n_pixels = len(features)
            return
        shift = means - self._means
        self._mass = self._mass + mass
        share = mass / self._mass
        self._means = self._means + shift * share.unsqueeze(1)
        lever = ((self._mass - mass) * share)[:, None, None]
        self._scatters = (
            self._scatters + scatters + lever * shift[:, :, None] * shift[:, None, :]
        )
        self._n_pixels += len(features)

    def mixture(self) -> Mixture:
        """The mixture of all pixels taken in so far; a ValueError if there were none."""
        if self._mass is None:
            raise ValueError("no pixels were added: a mixture needs at least one")
        mass = self._mass.clamp_min(_EMPTY)
        covariances = self._scatters / mass[:, None, None]
        return Mixture(mass / self._n_pixels, self._means, covariances)


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
        return mixture_energy(*self._of(features, floor, dropped), floor)

    def explain(
        self, features: torch.Tensor, floor: float, dropped: int | None = None
    ) -> Contributions:
        """What the energy of (n, d) features is made of, in float64.

        The part of a feature that is `dropped` is 0.
        """
        contributions = explain_energy(*self._of(features, floor, dropped), floor)
        if dropped is None:
            return contributions
        parts = contributions.features
        nothing = parts.new_zeros(len(parts), 1)
        parts = torch.cat([parts[:, :dropped], nothing, parts[:, dropped:]], dim=1)
        return contributions._replace(features=parts)

    def _of(
        self, features: torch.Tensor, floor: float, dropped: int | None
    ) -> tuple[torch.Tensor, Mixture]:
        """Features in float64 and the mixture, both without the one that is dropped."""
        if dropped is None:
            return features.double(), self.parameters_
        kept = _kept(features.shape[1], dropped).to(features.device)
        return features[:, kept].double(), marginal(self.parameters_, dropped, floor)
