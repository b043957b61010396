"""ADM: translation, reduction and density of multicontrast slices (Kim et al. 2021)."""

import os
from collections.abc import Iterator
from numbers import Integral, Real

import numpy as np
import torch
from numpy.typing import NDArray

from skadm._sklearn import HasMethods, Interval, StrOptions
from skadm.augmentation import Augmentation
from skadm.detectors._adm_networks import ADMNetworks
from skadm.detectors._adm_scoring import ADMScoring
from skadm.detectors._em import mixture_by_em
from skadm.neural import TorchDetector
from skadm.nn.blocks import NORMS, build
from skadm.nn.density import (
    EstimationNet,
    FittedMixture,
    Mixture,
    diagonal_penalty,
    estimate_mixture,
    fit_mixture,
    is_singular,
    least_eigenvalue,
    mixture_energy,
)
from skadm.nn.pixels import brain_mean, brain_of, pixels_of
from skadm.nn.reduction import ReductionNet
from skadm.nn.substitution import Substitution
from skadm.nn.translation import TranslationNet
from skadm.training import Checkpoints, Objective, Stage, Trainer
from skadm.training._stage import SingularCovarianceError

# More pixels hardly change a mixture by expectation maximisation.
_EM_SAMPLES = 100_000


class ADMDetector(ADMScoring):
    """Density of how contrasts translate into each other, and of their reduction.

    Anomaly detection in multicontrast MR images (ADM): contrasts are translated into each
    other and reduced in number; the density of the translation errors and the reduced
    contrasts of a pixel is a Gaussian mixture whose covariances cannot become singular.
    Its log-likelihood is the score.

    Training has two stages: first the translation network (Eq. 13); then, with the
    translation errors fixed, the reduction and the density networks together (Eq. 14).

    Parameters
    ----------
    n_components : int, default=6
        C, the number of Gaussians.
    energy_weight : float, default=5e-4
        Weight λ of the mean energy beside the mean squared error of the reduction, in
        Eq. 14. The paper took 5e-4 for BraTS and 5e-3 for ISLES.
    latent_dim : int, default=None
        L, the number of reduced contrasts. None: one fewer than there are contrasts,
        at least 1 (3 of 4 in the paper).
    covariance_floor : float, default=1e-6
        Least eigenvalue ε of a covariance, in Eq. 10.
    features : {"both", "translation", "reduction"}, default="both"
        What the density sees: translation errors and reduced contrasts, or only one of
        them (the paper's ablations ADM_ct and ADM_dr).
    joint : bool, default=True
        Whether the energy trains the reduction network too. False is the ablation
        ADM_woj: each term of Eq. 14 trains its own network.
    constraint : {"floor", "penalty", "none"}, default="floor"
        What keeps covariances from becoming singular (paper 2.7): the eigenvalue floor;
        a penalty on small variances, ``penalty_weight * sum(1 / Σ_ii)``, with which they
        still can; or nothing. Without the floor, a training whose covariance becomes
        singular stops there with a ConvergenceWarning, and `history_` says in which
        epoch; scores then use a floor at the float32 machine epsilon.
    penalty_weight : float, default=1e-5
        Weight λ_p of the penalty.
    density : {"network", "em"}, default="network"
        What the final mixture is: that of the density network's responsibilities (the
        paper); or one that expectation maximisation fits to the same features, of 100,000
        brain pixels drawn at random. `covariance_floor` is then also added to the diagonal
        of its covariances. A mixture by a network need not be the likeliest of its
        features. The training is the same.
    median_prior : bool, default=True
        Whether the translation network gets the median m_b of the contrast it shall
        make. False gives 0 instead, the mean of a normalised volume.
    brain_channel : bool, default=False
        Whether the translation and the reduction network also get the brain as a further
        channel, 1 in the brain and 0 elsewhere. Without it (the paper) they cannot tell the
        background from the mean of a normalised volume: both are 0.
    targets_per_step : int, default=1
        Contrasts of each slice that are translated in a training step, drawn at random.
        One is an unbiased estimate of Eq. 13 at 1/K of the cost; K or more takes all.
    width : int, default=32
        Channels of the translation network's first layer.
    n_blocks : int, default=5
        Residual blocks of the translation network.
    norm : {"batch", "instance", "none"}, default="batch"
        Norm layer of the translation network.
    reduction_width : int, default=16
        Channels of the reduction network's hidden layers.
    estimation_width : int, default=16
        Units of the density network's hidden layer.
    %(max_epochs)s
        50 for BraTS in the paper, 200 for ISLES.
    %(batch_size)s
    %(learning_rate)s
    %(augmentation)s
        In the second stage, where the translation errors are fixed, slices are flipped,
        translated and cropped together with their errors, and not scaled.
    %(n_iter_no_change)s
    %(tol)s
    %(warm_start)s
    %(checkpoints)s
    memory : None, str or object with the joblib.Memory interface, default=None
        Where trained networks are kept. A search over parameters of the second stage (λ,
        C, L, ...) then trains each fold's translation network once, not once for each
        candidate, and one over `density` trains nothing twice; results are the same, with
        one `random_state`. Without the floor, the second stage is not kept. A str is a
        folder. None: nowhere. What a callback does is not part of the memory: do not use
        it with one that stops the training early.
    %(contamination)s
    %(device)s
    %(precision)s
        Density and reduction are float32, the covariances float64, always.
    %(random_state)s

    Attributes
    ----------
    history_ : list of dict
        One record for each epoch: "stage" ("translation" or "density"), "epoch",
        "loss", "seconds", and in the density stage "reconstruction", "energy" and
        "least_eigenvalue" (before the floor); "singular" where the training had to stop.
    weights_ : dict of str to ndarray
        All that was learned, the final mixture included.
    %(offset_)s
    %(background_score_)s
    %(n_features_in_)s
    %(contrasts_)s

    Notes
    -----
    Not stated in the paper, and chosen here: layer sizes, learning rate and batch size;
    the median over brain pixels only; the mean over pixels of the squared error in
    Eq. 14 (the paper writes a sum beside an average, for which λ = 5e-4 makes no
    sense); augmentation sizes. Only brain pixels enter Eq. 9 and 12-14. The final
    mixture is estimated in one pass over all normal training slices, unaugmented.

    Slices to be scored may lack one contrast: its channel is NaN in all pixels. It is
    translated from the others, with the mean of the training medians for m_b, its error
    is left out of the density, and scores are brought to the scale of those with all
    contrasts by the quantiles of training scores. Not in the paper.

    References
    ----------
    B. Kim, K. Kwon, C. Oh, H. Park. Unsupervised anomaly detection in MR images using
    multicontrast information. Medical Physics 48 (2021) 7346-7359.
    doi:10.1002/mp.15269

    Examples
    --------
    >>> from skadm import ADMDetector
    >>> from skadm.data import make_phantom
    >>> stack = make_phantom(n_patients=2, n_slices=8, size=32, random_state=0)
    >>> detector = ADMDetector(width=4, max_epochs=2, random_state=0)
    >>> detector.fit(stack, stack.y).score_samples(stack).shape
    (16, 32, 32)
    """

    _paper = "Kim et al. 2021"
    _tune = ("energy_weight", "n_components", "width", "features")
    _good_at = (
        "Contrasts that contradict each other, bright or not. Two contrasts or more; slow."
    )
    _presets = {
        "quick": {"width": 8, "n_blocks": 2, "max_epochs": 4},
        "cpu": {
            "width": 16,
            "max_epochs": 30,
            "learning_rate": 2e-3,
            "energy_weight": 5e-3,
        },
        # As published (2.3): λ and epochs; width and learning rate are ours.
        "paper-brats": {"energy_weight": 5e-4, "max_epochs": 50, "targets_per_step": 4},
        "paper-isles": {"energy_weight": 5e-3, "max_epochs": 200, "targets_per_step": 4},
    }

    _parameter_constraints = {
        **TorchDetector._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "energy_weight": [Interval(Real, 0, None, closed="left")],
        "latent_dim": [None, Interval(Integral, 1, None, closed="left")],
        "covariance_floor": [Interval(Real, 0, None, closed="neither")],
        "features": [StrOptions({"both", "translation", "reduction"})],
        "joint": ["boolean"],
        "constraint": [StrOptions({"floor", "penalty", "none"})],
        "penalty_weight": [Interval(Real, 0, None, closed="left")],
        "density": [StrOptions({"network", "em"})],
        "median_prior": ["boolean"],
        "brain_channel": ["boolean"],
        "targets_per_step": [Interval(Integral, 1, None, closed="left")],
        "width": [Interval(Integral, 1, None, closed="left")],
        "n_blocks": [Interval(Integral, 0, None, closed="left")],
        "norm": [StrOptions(set(NORMS))],
        "reduction_width": [Interval(Integral, 1, None, closed="left")],
        "estimation_width": [Interval(Integral, 1, None, closed="left")],
        "memory": [None, str, HasMethods(["cache"])],
    }

    def __init__(
        self,
        *,
        n_components: int = 6,
        energy_weight: float = 5e-4,
        latent_dim: int | None = None,
        covariance_floor: float = 1e-6,
        features: str = "both",
        joint: bool = True,
        constraint: str = "floor",
        penalty_weight: float = 1e-5,
        density: str = "network",
        median_prior: bool = True,
        brain_channel: bool = False,
        targets_per_step: int = 1,
        width: int = 32,
        n_blocks: int = 5,
        norm: str = "batch",
        reduction_width: int = 16,
        estimation_width: int = 16,
        max_epochs: int = 50,
        batch_size: int = 16,
        learning_rate: float = 1e-3,
        augmentation: Augmentation | str | None = "default",
        n_iter_no_change: int | None = None,
        tol: float = 1e-4,
        warm_start: bool = False,
        checkpoints: str | os.PathLike | Checkpoints | None = None,
        memory=None,
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
        self.energy_weight = energy_weight
        self.latent_dim = latent_dim
        self.covariance_floor = covariance_floor
        self.features = features
        self.joint = joint
        self.constraint = constraint
        self.penalty_weight = penalty_weight
        self.density = density
        self.median_prior = median_prior
        self.brain_channel = brain_channel
        self.targets_per_step = targets_per_step
        self.width = width
        self.n_blocks = n_blocks
        self.norm = norm
        self.reduction_width = reduction_width
        self.estimation_width = estimation_width
        self.memory = memory

    def _build(self, n_contrasts: int, generator: torch.Generator) -> ADMNetworks:
        translation = reduction = substitution = None
        n_features = 0
        if self.features != "reduction":
            translation = build(
                lambda: TranslationNet(
                    n_contrasts, self.width, self.n_blocks, self.norm, self.brain_channel
                ),
                generator,
            )
            n_features += n_contrasts
            substitution = Substitution(n_contrasts)
        if self.features != "translation":
            latent_dim = self.latent_dim or max(1, n_contrasts - 1)
            reduction = build(
                lambda: ReductionNet(
                    n_contrasts,
                    latent_dim,
                    self.reduction_width,
                    brain_channel=self.brain_channel,
                ),
                generator,
            )
            n_features += latent_dim
        estimation = build(
            lambda: EstimationNet(n_features, self.n_components, self.estimation_width),
            generator,
        )
        mixture = FittedMixture(self.n_components, n_features)
        return ADMNetworks(translation, reduction, estimation, mixture, substitution)

    def _train(self, networks: ADMNetworks, images: NDArray, trainer: Trainer) -> None:
        n_contrasts = images.shape[1]
        parts: tuple[NDArray, ...] = (images,)
        generator, augmentation = trainer.generator, trainer.augmentation
        translation = networks.translation
        if translation is not None:
            objective = Objective(
                translation,
                lambda batch: self._translation_loss(translation, batch, generator),
            )
            trainer.fit_stage(
                Stage("translation", images, [objective], augmentation),
                memory=self.memory,
                # What the weights do not tell.
                norm=self.norm,
                median_prior=self.median_prior,
                targets_per_step=self.targets_per_step,
            )
            # Only G_ct makes them, and it is finished: one pass serves all epochs. They
            # come out of half precision, and need no more to be kept.
            errors = trainer.engine.apply(
                lambda batch: self._translation_errors(translation, batch),
                images,
                np.float32 if trainer.engine.half is None else np.float16,
            )
            parts = (images, errors)
        trainer.fit_stage(
            Stage(
                "density",
                parts,
                [
                    Objective(
                        networks.of_density(),
                        lambda batch: self._density_loss(networks, batch, n_contrasts),
                    )
                ],
                None if augmentation is None else augmentation.move,
            ),
            # A stage that ends early says so only where it is trained.
            memory=self.memory if self.constraint == "floor" else None,
            # What the weights do not tell.
            energy_weight=self.energy_weight,
            covariance_floor=self.covariance_floor,
            joint=self.joint,
        )
        networks.mixture.set(self._final_mixture(networks, parts, trainer))
        if networks.substitution is not None:
            self._learn_substitution(
                networks, networks.substitution, images, trainer.engine
            )

    def _final_mixture(
        self, networks: ADMNetworks, parts: tuple[NDArray, ...], trainer: Trainer
    ) -> Mixture:
        """The mixture of all normal training slices, unaugmented."""
        batches = self._pixels(networks, parts, trainer)
        if self.density == "network":
            return fit_mixture(batches, networks.estimation)
        return mixture_by_em(
            (pixels.cpu().numpy() for pixels in batches),
            parts[0],
            trainer,
            n_components=self.n_components,
            floor=self._scoring_floor(),
            max_samples=_EM_SAMPLES,
        )

    def _pixels(
        self, networks: ADMNetworks, parts: tuple[NDArray, ...], trainer: Trainer
    ) -> Iterator[torch.Tensor]:
        """Yield z of the brain pixels, shape (n_pixels, d), a batch of slices at a time."""
        n_contrasts = parts[0].shape[1]
        for batch in trainer.engine.batches(*parts):
            images, errors = batch[:, :n_contrasts], batch[:, n_contrasts:]
            with torch.inference_mode():
                features = self._density_features(networks, images, errors)[0]
                pixels = pixels_of(features, brain_of(images))
            yield pixels  # outside inference mode

    def _translation_loss(
        self, net: TranslationNet, images: torch.Tensor, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """Mean squared error over brain pixels and targets (Eq. 13)."""
        n_slices, n_contrasts = images.shape[:2]
        draws = torch.rand(n_slices, n_contrasts, generator=generator).argsort(dim=1)
        priors, brain = self._priors(images), brain_of(images)
        rows = torch.arange(n_slices, device=images.device)
        targets = draws[:, : self.targets_per_step].T.to(images.device, non_blocking=True)
        errors = [
            net(images, target, priors[rows, target]) - images[rows, target]
            for target in targets
        ]
        return {"loss": brain_mean(torch.stack(errors).square().mean(dim=0), brain)}

    def _density_loss(
        self, networks: ADMNetworks, batch: torch.Tensor, n_contrasts: int
    ) -> dict[str, torch.Tensor]:
        """Error of the reduction plus weighted energy (Eq. 14)."""
        images, errors = batch[:, :n_contrasts], batch[:, n_contrasts:]
        brain = brain_of(images)
        features, restored = self._density_features(networks, images, errors)
        reconstruction = features.new_zeros(())
        if restored is not None:
            reconstruction = brain_mean((images - restored).square().sum(dim=1), brain)
        pixels = pixels_of(features if self.joint else features.detach(), brain)
        mixture = estimate_mixture(pixels, networks.estimation(pixels))
        if self.constraint != "floor" and is_singular(mixture):
            raise SingularCovarianceError(
                "a covariance became singular: its least eigenvalue is "
                f"{least_eigenvalue(mixture).item():.3g}"
            )
        energy = mixture_energy(pixels, mixture, self._floor()).mean()
        loss = reconstruction + self.energy_weight * energy
        if self.constraint == "penalty":
            loss = loss + self.penalty_weight * diagonal_penalty(mixture)
        return {
            "loss": loss,
            "reconstruction": reconstruction,
            "energy": energy,
            "least_eigenvalue": least_eigenvalue(mixture),
        }
