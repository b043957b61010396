"""DSVDD: features of normal pixels close to one centre (Ruff et al. 2018)."""

import os
from numbers import Integral, Real

import torch
from numpy.typing import NDArray
from torch import nn

from skadm._brain import brain_values
from skadm._quantile import value_of_rank
from skadm._sklearn import Interval, StrOptions
from skadm.augmentation import Augmentation
from skadm.neural import TorchDetector
from skadm.nn.autoencoder import Decoder, pad_for_levels
from skadm.nn.blocks import build
from skadm.nn.pixels import brain_mean, brain_of, pixels_of
from skadm.training import Checkpoints, Objective, Stage, Trainer
from skadm.training._engine import Engine

# Minimum absolute value of coordinates of the centre: weights of 0 would reach a centre
# of 0.
_LEAST_COORDINATE = 0.1


class DSVDDDetector(TorchDetector):
    """Distance of the features of a pixel to the centre of normal features.

    Deep support vector data description, fully convolutional: an encoder computes a
    feature vector for every pixel. It is first trained as an autoencoder, then to move
    the features of normal pixels close to their mean. The squared distance is the anomaly
    score.

    Parameters
    ----------
    objective : {"one-class", "soft-boundary"}, default="one-class"
        Mean squared distance to the centre; or a sphere with a fraction `nu` of the
        training pixels outside, of which only the distances beyond it are minimised.
    nu : float, default=0.1
        Fraction ν of pixels outside the soft boundary, in (0, 1).
    weight_decay : float, default=1e-6
        Weight λ of half the sum of all squared weights in the objective.
    latent_dim : int, default=32
        Dimension of a pixel's feature vector.
    width : int, default=16
        Channels of the encoder's first layer; each halving doubles them.
    n_levels : int, default=2
        Number of halvings of the encoder. Distances are interpolated to pixels.
    pretraining_epochs : int, default=None
        Epochs of the autoencoder. None: `max_epochs`; 0: no pretraining, so the centre is
        that of an untrained network.
    warm_up_epochs : int, default=10
        Epochs with the one-class objective before the soft boundary is used.
    %(max_epochs)s
    %(batch_size)s
    %(learning_rate)s
    %(augmentation)s
    %(n_iter_no_change)s
    %(tol)s
    %(warm_start)s
        The centre is kept, without pretraining or warm-up.
    %(checkpoints)s
    %(contamination)s
    %(device)s
    %(precision)s
    %(random_state)s

    Attributes
    ----------
    history_ : list of dict
        One record for each epoch: "stage" ("pretraining", "one-class", "soft-boundary"),
        "epoch", "loss", "seconds", and in the last two "distance", the mean squared
        distance; with a soft boundary "radius".
    weights_ : dict of str to ndarray
        All learned parameters, including the centre and the radius.
    %(offset_)s
    %(background_score_)s
    %(n_features_in_)s
    %(contrasts_)s

    Notes
    -----
    As in the original: no encoder layer has a bias or an affine norm, which could map
    everything to the centre; the centre is the mean of one pass in evaluation mode after
    pretraining, with coordinates moved to at least ±0.1, and then fixed; the radius is
    the (1 - ν) quantile of the distances in a batch, and finally of all training pixels.

    Chosen here: the original scores images; this detector is fully convolutional with one
    centre for all pixels, and the layer sizes are ours, since the paper (Kim et al. 2021)
    states none.

    References
    ----------
    L. Ruff, R. Vandermeulen, N. Goernitz, L. Deecke, S. A. Siddiqui, A. Binder, E. Müller,
    M. Kloft. Deep one-class classification. ICML 2018, PMLR 80:4393-4402.

    Examples
    --------
    >>> from skadm import DSVDDDetector
    >>> from skadm.data import make_phantom
    >>> stack = make_phantom(n_patients=2, n_slices=8, size=32, random_state=0)
    >>> detector = DSVDDDetector(width=4, max_epochs=2, random_state=0)
    >>> detector.fit(stack, stack.y).score_samples(stack).shape
    (16, 32, 32)
    """

    _paper = "Ruff et al. 2018"
    _tune = ("objective", "nu", "latent_dim", "n_levels")
    _good_at = (
        "Large regions of unusual texture; coarse, and takes the rim of the brain for one."
    )
    _presets = {
        "quick": {"width": 8, "pretraining_epochs": 2, "max_epochs": 4},
        "cpu": {"pretraining_epochs": 15, "max_epochs": 15, "learning_rate": 2e-3},
        # Ruff et al. 2018, 4.3: their net for CIFAR-10.
        "paper": {
            "width": 32,
            "latent_dim": 128,
            "pretraining_epochs": 350,
            "max_epochs": 150,
            "learning_rate": 1e-4,
        },
    }

    _parameter_constraints = {
        **TorchDetector._parameter_constraints,
        "objective": [StrOptions({"one-class", "soft-boundary"})],
        "nu": [Interval(Real, 0, 1, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "latent_dim": [Interval(Integral, 1, None, closed="left")],
        "width": [Interval(Integral, 1, None, closed="left")],
        "n_levels": [Interval(Integral, 1, 16, closed="both")],
        "pretraining_epochs": [None, Interval(Integral, 0, None, closed="left")],
        "warm_up_epochs": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        *,
        objective: str = "one-class",
        nu: float = 0.1,
        weight_decay: float = 1e-6,
        latent_dim: int = 32,
        width: int = 16,
        n_levels: int = 2,
        pretraining_epochs: int | None = None,
        warm_up_epochs: int = 10,
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
        self.objective = objective
        self.nu = nu
        self.weight_decay = weight_decay
        self.latent_dim = latent_dim
        self.width = width
        self.n_levels = n_levels
        self.pretraining_epochs = pretraining_epochs
        self.warm_up_epochs = warm_up_epochs

    def _build(self, n_contrasts: int, generator: torch.Generator) -> "_Networks":
        encoder = build(
            lambda: _Encoder(n_contrasts, self.width, self.n_levels, self.latent_dim),
            generator,
        )
        decoder = build(
            lambda: Decoder(self.latent_dim, self.width, self.n_levels, n_contrasts),
            generator,
        )
        return _Networks(encoder, decoder, self.latent_dim)

    def _train(self, networks: "_Networks", images: NDArray, trainer: Trainer) -> None:
        augmentation = trainer.augmentation
        if not networks.centre.any():  # a warm start keeps the centre
            if self.pretraining_epochs != 0:
                autoencoder = nn.ModuleList([networks.encoder, networks.decoder])
                errors = [Objective(autoencoder, lambda x: _restoration(networks, x))]
                epochs = self.pretraining_epochs
                trainer.fit_stage(
                    Stage("pretraining", images, errors, augmentation, epochs)
                )
            networks.centre.copy_(_centre(networks.encoder, images, trainer.engine))
        one_class = [Objective(networks.encoder, lambda x: self._one_class(networks, x))]
        if self.objective == "one-class":
            networks.radius.zero_()
            trainer.fit_stage(Stage("one-class", images, one_class, augmentation))
            return
        if not networks.radius:
            epochs = self.warm_up_epochs
            trainer.fit_stage(Stage("one-class", images, one_class, augmentation, epochs))
        soft = [Objective(networks.encoder, lambda x: self._soft_boundary(networks, x))]
        trainer.fit_stage(Stage("soft-boundary", images, soft, augmentation))
        networks.radius.fill_(self._radius(networks, images, trainer.engine))

    def _one_class(
        self, networks: "_Networks", images: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Mean squared distance (Ruff et al. 2018, Eq. 4)."""
        distance = brain_mean(networks.distances(images), brain_of(images))
        return {"loss": distance + self._decay(networks.encoder), "distance": distance}

    def _soft_boundary(
        self, networks: "_Networks", images: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Radius, and distances beyond it (Ruff et al. 2018, Eq. 3)."""
        distances = networks.distances(images)[brain_of(images)]
        # The optimal radius has a closed form for given weights.
        squared = self._boundary(distances.detach())
        beyond = (distances - squared).clamp_min(0).mean()
        loss = squared + beyond / self.nu + self._decay(networks.encoder)
        return {"loss": loss, "distance": distances.mean(), "radius": squared.sqrt()}

    def _radius(self, networks: "_Networks", images: NDArray, engine: Engine) -> float:
        """Return the radius with a fraction ν of all training pixels outside."""
        squares = brain_values(
            lambda some, _: engine.apply(networks.distances, some), images
        )
        return value_of_rank(squares, self._rank(len(squares)) - 1) ** 0.5

    def _boundary(self, squares: torch.Tensor) -> torch.Tensor:
        """Return the (1 - ν) quantile."""
        # By rank: torch.quantile is limited to 2**24 values.
        return squares.kthvalue(self._rank(len(squares))).values

    def _rank(self, n_pixels: int) -> int:
        return max(1, round((1 - self.nu) * n_pixels))

    def _decay(self, encoder: nn.Module) -> torch.Tensor:
        squares = [weight.square().sum() for weight in encoder.parameters()]
        return self.weight_decay / 2 * torch.stack(squares).sum()

    def _anomaly(self, networks: "_Networks", images: torch.Tensor) -> torch.Tensor:
        return networks.distances(images) - networks.radius.square()


class _Encoder(nn.Module):
    """Pixel encoder without bias, affine norm or bounded activation."""

    def __init__(
        self, n_contrasts: int, width: int, n_levels: int, latent_dim: int
    ) -> None:
        super().__init__()
        self.n_levels = n_levels
        channels = [width * 2**level for level in range(n_levels + 1)]
        self.layers = nn.Sequential(
            _layer(n_contrasts, width, stride=1),
            *(_layer(n, 2 * n, stride=2) for n in channels[:-1]),
            nn.Conv2d(channels[-1], latent_dim, 1, bias=False),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Features on the coarse grid of the padded slices."""
        return self.layers(pad_for_levels(images, self.n_levels))

    def to_pixels(self, grid: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """Interpolate values on the grid to the pixels of the slices, float32."""
        height, width = images.shape[-2:]
        fine = nn.functional.interpolate(
            grid.float(), scale_factor=float(2**self.n_levels), mode="bilinear"
        )
        return fine[:, :, :height, :width]


def _layer(n_in: int, n_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(n_out, affine=False),
        nn.LeakyReLU(0.1),
    )


class _Networks(nn.Module):
    """Encoder, the decoder it is pre-trained with, centre c and radius R."""

    centre: torch.Tensor
    radius: torch.Tensor

    def __init__(self, encoder: _Encoder, decoder: Decoder, latent_dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.register_buffer("centre", torch.zeros(latent_dim))
        self.register_buffer("radius", torch.zeros(()))

    def restore(self, images: torch.Tensor) -> torch.Tensor:
        """Decode slices from their features."""
        height, width = images.shape[-2:]
        return self.decoder(self.encoder(images))[:, :, :height, :width]

    def distances(self, images: torch.Tensor) -> torch.Tensor:
        """Squared distance of every pixel's features to the centre, (n, H, W)."""
        differences = self.encoder(images).float() - self.centre.view(1, -1, 1, 1)
        # Interpolate distances, not features: averaged features between grid points would
        # be closer to the centre.
        squared = differences.square().sum(dim=1, keepdim=True)
        return self.encoder.to_pixels(squared, images)[:, 0]


def _restoration(networks: _Networks, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Mean squared error of the autoencoder over brain pixels."""
    errors = (networks.restore(images) - images).square().sum(dim=1)
    return {"loss": brain_mean(errors, brain_of(images))}


def _centre(encoder: _Encoder, images: NDArray, engine: Engine) -> torch.Tensor:
    """Return the mean features of all brain pixels, with coordinates away from 0."""
    encoder.eval()
    total, n_pixels = torch.zeros((), dtype=torch.float64), 0
    with torch.inference_mode(), engine.autocast():
        for batch in engine.batches(images):
            features = encoder.to_pixels(encoder(batch), batch)
            features = pixels_of(features, brain_of(batch))
            total = total + features.double().sum(dim=0).cpu()
            n_pixels += len(features)
    centre = (total / n_pixels).float()
    away = torch.where(centre < 0, -_LEAST_COORDINATE, _LEAST_COORDINATE)
    return torch.where(centre.abs() < _LEAST_COORDINATE, away, centre)
