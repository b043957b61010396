"""ADM written straight from the equations of Kim et al. 2021, with torch's own layers.

The reference for the speed of the package's detector: the same networks and losses, in
float32, on whole slices. Every step makes every translation and evaluates the formulas of
the paper as printed. Nothing is done for speed, and nothing against it.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from skadm import ADMDetector

FLOOR = 1e-6  # ε of Eq. 10


class Residual(nn.Module):
    """Two 3×3 convolutions beside an identity."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(n_channels, n_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_channels),
            nn.ReLU(),
            nn.Conv2d(n_channels, n_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_channels),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features + self.body(features)


def _layer(n_in: int, n_out: int, kernel_size: int, stride: int = 1) -> list[nn.Module]:
    padding = kernel_size // 2
    return [
        nn.Conv2d(n_in, n_out, kernel_size, stride, padding, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(),
    ]


class Translation(nn.Module):
    """G_ct (Eq. 1-3): the network of Johnson et al. 2016."""

    def __init__(self, n_contrasts: int, width: int, n_blocks: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_layer(n_contrasts, width, 9),
            *_layer(width, 2 * width, 3, stride=2),
            *_layer(2 * width, 4 * width, 3, stride=2),
            *(Residual(4 * width) for _ in range(n_blocks)),
            nn.Upsample(scale_factor=2),
            *_layer(4 * width, 2 * width, 3),
            nn.Upsample(scale_factor=2),
            *_layer(2 * width, width, 3),
        )
        self.head = nn.Conv2d(width + 1, 1, 9, padding=4)

    def forward(self, images: torch.Tensor, target: int, prior: torch.Tensor):
        """Translate slices (n, K, H, W) to contrast `target`, given its medians (n,)."""
        constant = prior.view(-1, 1, 1).expand_as(images[:, 0])
        visible = images.clone()
        visible[:, target] = constant
        features = torch.cat([self.body(visible), constant.unsqueeze(1)], dim=1)
        return self.head(features)[:, 0]


class Reduction(nn.Module):
    """G_dr and F_dr (Eq. 6-7)."""

    def __init__(self, n_contrasts: int, latent_dim: int, width: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(n_contrasts, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, latent_dim, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(latent_dim, width, 1),
            nn.ReLU(),
            nn.Conv2d(width, width, 1),
            nn.ReLU(),
            nn.Conv2d(width, n_contrasts, 1),
        )

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.encoder(images)
        return features, self.decoder(features)


class Gaussians(NamedTuple):
    """Weights (C,), means (C, d) and covariances (C, d, d)."""

    weights: torch.Tensor
    means: torch.Tensor
    covariances: torch.Tensor


class PlainADM(nn.Module):
    """All networks of ADM; the parameters are those of `ADMDetector`."""

    def __init__(
        self,
        n_contrasts: int = 4,
        latent_dim: int = 3,
        n_components: int = 6,
        width: int = 32,
        n_blocks: int = 5,
        reduction_width: int = 16,
        estimation_width: int = 16,
    ) -> None:
        super().__init__()
        self.translation = Translation(n_contrasts, width, n_blocks)
        self.reduction = Reduction(n_contrasts, latent_dim, reduction_width)
        self.estimation = nn.Sequential(
            nn.Linear(n_contrasts + latent_dim, estimation_width),
            nn.Tanh(),
            nn.Linear(estimation_width, n_components),
            nn.Softmax(dim=1),
        )
        self.mixture: Gaussians | None = None  # the final one, which scores

    def translate(self, images: torch.Tensor) -> torch.Tensor:
        """All translations X_ct, (n, K, H, W) (Eq. 4)."""
        priors = medians(images)
        n_contrasts = images.shape[1]
        return torch.stack(
            [self.translation(images, b, priors[:, b]) for b in range(n_contrasts)], dim=1
        )

    def translation_loss(self, images: torch.Tensor) -> torch.Tensor:
        """Mean squared error of all translations over brain pixels (Eq. 13)."""
        errors = self.translate(images) - images
        return errors.permute(0, 2, 3, 1)[brain_of(images)].square().mean()

    def translation_errors(self, images: torch.Tensor) -> torch.Tensor:
        """Z_ct (Eq. 5), of a translation network that is not trained any more."""
        with torch.no_grad():
            return (images - self.translate(images)).abs()

    def density_loss(
        self, images: torch.Tensor, errors: torch.Tensor, energy_weight: float
    ) -> torch.Tensor:
        """Error of the reduction plus weighted energy (Eq. 14)."""
        features, restored, brain = self.features(images, errors)
        mixture = moments(features, self.estimation(features))
        squared = (images - restored).square().sum(dim=1)[brain]
        return squared.mean() + energy_weight * energy(features, mixture).mean()

    def features(
        self, images: torch.Tensor, errors: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """z of the brain pixels, (n_pixels, K + L); X_dr; and where brain is."""
        reduced, restored = self.reduction(images)
        brain = brain_of(images)
        together = torch.cat([errors, reduced], dim=1)
        return together.permute(0, 2, 3, 1)[brain], restored, brain

    def score(self, images: torch.Tensor) -> torch.Tensor:
        """Log-likelihood of every brain pixel, (n, H, W); 0 in the background."""
        if self.mixture is None:
            raise RuntimeError("the final mixture is not set")
        with torch.no_grad():
            features, _, brain = self.features(images, self.translation_errors(images))
            scores = torch.zeros(brain.shape)
            scores[brain] = -energy(features, self.mixture)
        return scores


def brain_of(images: torch.Tensor) -> torch.Tensor:
    """Pixels with any contrast other than 0, (n, H, W)."""
    return (images != 0).any(dim=1)


def medians(images: torch.Tensor) -> torch.Tensor:
    """m_b of every slice over its brain, (n, K)."""
    brain = brain_of(images)
    rows = [
        torch.stack([contrast[inside].median() for contrast in image])
        for image, inside in zip(images, brain)
    ]
    return torch.stack(rows)


def moments(features: torch.Tensor, responsibilities: torch.Tensor) -> Gaussians:
    """Mixture of (n, d) features from (n, C) responsibilities (Eq. 9)."""
    shares = responsibilities / responsibilities.sum(dim=0)
    means = (shares.unsqueeze(-1) * features.unsqueeze(1)).sum(dim=0)
    centred = features.unsqueeze(1) - means
    outer = centred.unsqueeze(-1) * centred.unsqueeze(-2)  # (n, C, d, d)
    covariances = (shares[..., None, None] * outer).sum(dim=0)
    return Gaussians(responsibilities.mean(dim=0), means, covariances)


def energy(features: torch.Tensor, mixture: Gaussians) -> torch.Tensor:
    """E_n of every pixel (Eq. 10-12), (n,)."""
    covariances = floored(mixture.covariances)
    centred = features.unsqueeze(1) - mixture.means
    inverses = torch.linalg.inv(covariances)
    distances = torch.einsum("nci,cij,ncj->nc", centred, inverses, centred)
    logdets = torch.logdet(2 * math.pi * covariances)
    exponents = mixture.weights.log() - (distances + logdets) / 2
    return -torch.logsumexp(exponents, dim=1)


def floored(covariances: torch.Tensor) -> torch.Tensor:
    """Σ^pd, covariances whose eigenvalues are at least ε (Eq. 10-11)."""
    eigenvalues, vectors = torch.linalg.eigh(covariances)
    return vectors @ torch.diag_embed(eigenvalues.clamp_min(FLOOR)) @ vectors.mT


def plain_of(detector: ADMDetector) -> PlainADM:
    """The plain networks with the weights of a fitted detector, in eval mode.

    Layers correspond by their order, not by their names. Raises a ValueError for others.
    """
    weights: Mapping[str, np.ndarray] = detector.weights_
    means = weights["mixture.means"]
    n_components, n_features = means.shape
    n_contrasts = detector.n_features_in_
    plain = PlainADM(
        n_contrasts,
        n_features - n_contrasts,
        n_components,
        detector.width,
        detector.n_blocks,
        detector.reduction_width,
        detector.estimation_width,
    )
    for part in ("translation", "reduction", "estimation"):
        network = getattr(plain, part)
        state = network.state_dict()
        arrays = [array for name, array in weights.items() if name.startswith(f"{part}.")]
        if [value.shape for value in state.values()] != [array.shape for array in arrays]:
            raise ValueError(
                f"the detector's {part} network has other layers than the paper's: "
                f"{[array.shape for array in arrays]}; expected "
                f"{[tuple(value.shape) for value in state.values()]}"
            )
        network.load_state_dict(dict(zip(state, map(torch.from_numpy, arrays))))
    plain.mixture = Gaussians(
        *(
            torch.from_numpy(weights[f"mixture.{name}"]).float()
            for name in Gaussians._fields
        )
    )
    return plain.eval()
