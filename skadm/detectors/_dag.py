"""DAG and DAGc: autoencoder and Gaussian mixture, trained together (Zong et al. 2018)."""

import os
from functools import partial
from numbers import Integral, Real
from typing import ClassVar

import torch
from numpy.typing import NDArray

from skadm._brain import brain_values
from skadm._quantile import value_of_rank
from skadm._sklearn import Interval
from skadm.augmentation import Augmentation
from skadm.neural import TorchDetector
from skadm.nn.blocks import build
from skadm.nn.density import (
    EstimationNet,
    FittedMixture,
    diagonal_penalty,
    estimate_mixture,
    fit_mixture,
    mixture_energy,
)
from skadm.nn.pixels import brain_of, map_of, pixels_of
from skadm.nn.reduction import ReductionNet
from skadm.training import Checkpoints, Objective, Stage, Trainer

# Fraction of brain pixels below the reference intensity 0.
_DARKEST = 0.001
# Minimum norm of a pixel in the relative error, in standard deviations of the brain:
# otherwise the darkest pixels have huge errors, which Gaussians cannot model.
_LEAST_NORM = 1.0


class DAGDetector(TorchDetector):
    """Mixture density of each pixel's code and reconstruction error, trained as one.

    The deep autoencoding Gaussian mixture model (DAGMM) on single pixels, with the
    contrasts as features. The density is over the code and two measures of the
    reconstruction: relative Euclidean error and cosine similarity. Its log-likelihood is
    the score. The paper includes this method under the name DAG.

    Parameters
    ----------
    n_components : int, default=4
        C, the number of Gaussians.
    latent_dim : int, default=2
        Dimension of the code.
    energy_weight : float, default=0.1
        Weight λ₁ of the mean energy relative to the mean squared reconstruction error.
    penalty_weight : float, default=0.005
        Weight λ₂ of the sum of 1 / Σ_ii, which prevents vanishing variances.
    covariance_floor : float, default=1e-6
        Minimum eigenvalue of a covariance. The penalty alone does not prevent singular
        covariances (paper 2.7); DAGMM has no floor.
    dropout : float, default=0.5
        Dropout rate of the hidden units of the estimation network.
    width : int, default=16
        Channels of the autoencoder's hidden layers.
    estimation_width : int, default=10
        Units of the estimation network's hidden layer.
    %(max_epochs)s
    %(batch_size)s
    %(learning_rate)s
    %(augmentation)s
    %(n_iter_no_change)s
    %(tol)s
    %(warm_start)s
    %(checkpoints)s
    %(contamination)s
    %(device)s
    %(precision)s
        Has no effect here: computations are in float32, covariances in float64.
    %(random_state)s

    Attributes
    ----------
    history_ : list of dict
        One record for each epoch: "stage" ("density"), "epoch", "loss",
        "reconstruction", "energy", "penalty", "seconds".
    weights_ : dict of str to ndarray
        All learned parameters, including the final mixture.
    %(offset_)s
    %(background_score_)s
    %(n_features_in_)s
    %(contrasts_)s

    See Also
    --------
    DAGcDetector : Variant with convolutions.
    ADMDetector : Uses translation errors and a floor instead of a penalty.

    Notes
    -----
    Energy weight, penalty weight and dropout are those of DAGMM. Its layer sizes depend
    on the data set; here encoder and decoder have two hidden layers, with ReLU instead of
    tanh. Chosen here: error and similarity use intensities relative to the darkest of the
    training brains, since a z-score of 0 has no direction and no relative error; the norm
    of a pixel is at least 1 standard deviation; the covariance floor. Scores use one
    mixture of all training pixels, estimated after training without dropout.

    References
    ----------
    B. Zong, Q. Song, M. R. Min, W. Cheng, C. Lumezanu, D. Cho, H. Chen. Deep autoencoding
    Gaussian mixture model for unsupervised anomaly detection. ICLR 2018.

    Examples
    --------
    >>> from skadm import DAGDetector
    >>> from skadm.data import make_phantom
    >>> stack = make_phantom(n_patients=2, n_slices=8, size=32, random_state=0)
    >>> detector = DAGDetector(max_epochs=2, random_state=0)
    >>> detector.fit(stack, stack.y).score_samples(stack).shape
    (16, 32, 32)
    """

    _paper = "Zong et al. 2018"
    _tune = ("latent_dim", "n_components", "energy_weight", "penalty_weight")
    _good_at = (
        "Unusual combinations of intensities in one pixel; cheap. Blind to surroundings."
    )
    _presets = {
        "quick": {"max_epochs": 4},
        # Energy and penalty weights by validation: those of DAGMM limit the precision of
        # the reconstruction measures.
        "cpu": {
            "energy_weight": 0.02,
            "penalty_weight": 1e-4,
            "max_epochs": 30,
            "learning_rate": 5e-3,
        },
        # DAGMM's largest, for KDDCUP99 (Zong et al. 2018, 4.3); Kim et al. give no sizes.
        "paper": {
            "latent_dim": 1,
            "width": 60,
            "learning_rate": 1e-4,
            "max_epochs": 200,
        },
    }

    _parameter_constraints = {
        **TorchDetector._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "latent_dim": [Interval(Integral, 1, None, closed="left")],
        "energy_weight": [Interval(Real, 0, None, closed="left")],
        "penalty_weight": [Interval(Real, 0, None, closed="left")],
        "covariance_floor": [Interval(Real, 0, None, closed="neither")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "width": [Interval(Integral, 1, None, closed="left")],
        "estimation_width": [Interval(Integral, 1, None, closed="left")],
    }

    _kernel_size: ClassVar[int] = 1

    def __init__(
        self,
        *,
        n_components: int = 4,
        latent_dim: int = 2,
        energy_weight: float = 0.1,
        penalty_weight: float = 0.005,
        covariance_floor: float = 1e-6,
        dropout: float = 0.5,
        width: int = 16,
        estimation_width: int = 10,
        max_epochs: int = 50,
        batch_size: int = 16,
        learning_rate: float = 1e-3,
        augmentation: Augmentation | str | None = "default",
        n_iter_no_change: int | None = None,
        tol: float = 1e-4,
        warm_start: bool = False,
        checkpoints: str | os.PathLike | Checkpoints | None = None,
        contamination: float = 0.01,
        device: str | torch.device = "auto",
        precision: str = "auto",
        random_state=None,
    ) -> None:
        super().__init__(
            max_epochs=max_epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            augmentation=augmentation,
            n_iter_no_change=n_iter_no_change,
            tol=tol,
            warm_start=warm_start,
            checkpoints=checkpoints,
            contamination=contamination,
            device=device,
            precision=precision,
            random_state=random_state,
        )
        self.n_components = n_components
        self.latent_dim = latent_dim
        self.energy_weight = energy_weight
        self.penalty_weight = penalty_weight
        self.covariance_floor = covariance_floor
        self.dropout = dropout
        self.width = width
        self.estimation_width = estimation_width

    def _build(self, n_contrasts: int, generator: torch.Generator) -> "_Networks":
        n_features = self.latent_dim + 2
        size = self._kernel_size
        return _Networks(
            build(
                lambda: ReductionNet(n_contrasts, self.latent_dim, self.width, size, size),
                generator,
            ),
            build(
                lambda: EstimationNet(
                    n_features, self.n_components, self.estimation_width, self.dropout
                ),
                generator,
            ),
            FittedMixture(self.n_components, n_features),
            n_contrasts,
        )

    def _train(self, networks: "_Networks", images: NDArray, trainer: Trainer) -> None:
        networks.darkest.copy_(darkest(images))
        trained = torch.nn.ModuleList([networks.autoencoder, networks.estimation])
        trainer.fit_stage(
            Stage(
                "density",
                images,
                [
                    Objective(
                        trained,
                        lambda batch: self._loss(networks, batch, trainer.generator),
                    )
                ],
                trainer.augmentation,
            )
        )
        networks.mixture.set(
            fit_mixture(
                (networks.features(batch)[0] for batch in trainer.engine.batches(images)),
                networks.estimation,
            )
        )

    def _loss(
        self, networks: "_Networks", images: torch.Tensor, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """Reconstruction, energy and penalty (Zong et al. 2018, Eq. 7)."""
        features, errors = networks.features(images)
        mixture = estimate_mixture(features, networks.estimation(features, generator))
        energy = mixture_energy(features, mixture, self.covariance_floor).mean()
        penalty = diagonal_penalty(mixture, self.covariance_floor)
        reconstruction = errors.mean()
        return {
            "loss": reconstruction
            + self.energy_weight * energy
            + self.penalty_weight * penalty,
            "reconstruction": reconstruction,
            "energy": energy,
            "penalty": penalty,
        }

    def _anomaly(self, networks: "_Networks", images: torch.Tensor) -> torch.Tensor:
        features = networks.features(images)[0]
        energy = networks.mixture.energy(features, self.covariance_floor)
        return map_of(energy, brain_of(images))


class DAGcDetector(DAGDetector):
    """DAG with convolutions: the code of a pixel depends on its neighbourhood.

    The paper's modification of DAGMM, DAGc: encoder and decoder have 3×3 convolutions at
    full resolution, with one feature vector per pixel. Otherwise it is a `DAGDetector`.

    Parameters
    ----------
    %(n_components)s
    %(latent_dim)s
    %(energy_weight)s
    %(penalty_weight)s
    %(covariance_floor)s
    %(dropout)s
    %(width)s
    %(estimation_width)s
    %(max_epochs)s
    %(batch_size)s
    %(learning_rate)s
    %(augmentation)s
    %(n_iter_no_change)s
    %(tol)s
    %(warm_start)s
    %(checkpoints)s
    %(contamination)s
    %(device)s
    %(precision)s
    %(random_state)s

    Attributes
    ----------
    %(history_)s
    %(weights_)s
    %(offset_)s
    %(background_score_)s
    %(n_features_in_)s
    %(contrasts_)s

    See Also
    --------
    DAGDetector : Variant for single pixels.

    Notes
    -----
    The paper does not state the number and size of the layers. They are those of
    ADMDetector's reduction network, with 3×3 convolutions in the decoder too. See also
    `DAGDetector`.

    References
    ----------
    B. Zong et al. Deep autoencoding Gaussian mixture model for unsupervised anomaly
    detection. ICLR 2018.

    B. Kim, K. Kwon, C. Oh, H. Park. Unsupervised anomaly detection in MR images using
    multicontrast information. Medical Physics 48 (2021) 7346-7359, section 2.5.
    doi:10.1002/mp.15269

    Examples
    --------
    >>> from skadm import DAGcDetector
    >>> from skadm.data import make_phantom
    >>> stack = make_phantom(n_patients=2, n_slices=8, size=32, random_state=0)
    >>> detector = DAGcDetector(max_epochs=2, random_state=0)
    >>> detector.fit(stack, stack.y).score_samples(stack).shape
    (16, 32, 32)
    """

    _paper = "Zong et al. 2018, Kim et al. 2021"
    _good_at = "As DAG, with texture and edges; edges of the brain are unusual too."
    _presets = {
        "quick": {"width": 8, "max_epochs": 4},
        "cpu": DAGDetector._presets["cpu"],
        "paper": {"width": 60, "learning_rate": 1e-4, "max_epochs": 200},
    }

    _kernel_size = 3


class _Networks(torch.nn.Module):
    """Autoencoder, estimation network, the final mixture and the darkest intensities."""

    darkest: torch.Tensor

    def __init__(
        self,
        autoencoder: ReductionNet,
        estimation: EstimationNet,
        mixture: FittedMixture,
        n_contrasts: int,
    ) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.estimation = estimation
        self.mixture = mixture
        self.register_buffer("darkest", torch.zeros(n_contrasts))

    def features(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (n_pixels, d) and squared errors (n_pixels,) of the brain pixels."""
        # Full precision: rounding noise would count as variance in the covariances.
        with torch.autocast(images.device.type, enabled=False):
            code, restored = self.autoencoder(images)
            brain = brain_of(images)
            original, decoded = pixels_of(images, brain), pixels_of(restored, brain)
            measures = reconstruction_features(
                original - self.darkest, decoded - self.darkest
            )
            features = torch.cat([pixels_of(code, brain), measures], dim=1)
            return features, (original - decoded).square().sum(dim=1)


def _channel(images: NDArray, brain: NDArray, contrast: int) -> NDArray:
    return images[:, contrast]


def darkest(images: NDArray) -> torch.Tensor:
    """Return the 0.1 % quantile of each contrast over brain pixels, shape (K,)."""
    values_of_contrasts = []
    for contrast in range(images.shape[1]):
        values = brain_values(partial(_channel, contrast=contrast), images)
        rank = max(1, round(_DARKEST * len(values)))
        values_of_contrasts.append(value_of_rank(values, rank - 1))
    return torch.tensor(values_of_contrasts)


def reconstruction_features(pixels: torch.Tensor, restored: torch.Tensor) -> torch.Tensor:
    """Relative Euclidean error and cosine similarity (Zong et al. 2018, 3.2), (n, 2)."""
    norm = pixels.norm(dim=1).clamp_min(_LEAST_NORM)
    relative = (pixels - restored).norm(dim=1) / norm
    cosine = torch.nn.functional.cosine_similarity(pixels, restored, dim=1)
    return torch.stack([relative, cosine], dim=1)
