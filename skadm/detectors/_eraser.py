"""Eraser: a U-Net trained to remove artificial lesions."""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skadm._sklearn import HasMethods, Interval, StrOptions
from skadm._validation import FILTER_WIDTH
from skadm.augmentation import Augmentation
from skadm.detectors._em import mixture_by_em
from skadm.detectors._eraser_networks import Erasers, erasing_loss, erasing_networks
from skadm.detectors._eraser_scoring import FLOOR, EraserScoring
from skadm.detectors._prior import Prior, learned_axis
from skadm.detectors._self_training import self_train
from skadm.nn.blocks import NORMS
from skadm.nn.density import FittedMixture
from skadm.nn.pixels import brain_of, pixels_of
from skadm.nn.unet import UNet
from skadm.training import Checkpoints, Objective, Stage, Trainer
from skadm.training._pretrained_networks import PRETRAINED, pretrained_network
from skadm.training._weights import load_weights

# Minimum ratio of abnormal to normal variance along a learned axis. In gliomas it is 3 or
# more; where strokes of a few millilitres misled the axis, it was below 1.1.
_LEAST_RATIO = 1.5

_CPU = {"n_networks": 3, "max_epochs": 20, "learning_rate": 2e-3}  # a preset
# A preset: acute strokes, in slices of about 2 mm.
_STROKES = {
    "prior": {"DWI": 1, "ADC": -1},
    "prior_rule": "all",
    "lesion_direction": "prior",
    "init": "synthetic",
    "evidence": "residual+intensity",
    "lesion_scales": (2, 4, 8, 16),
    "sigma": 0.5,
    "max_epochs": 20,
}


class EraserDetector(EraserScoring):
    """Blobs in normal slices are erased by a U-Net; what it erases in a scan is a lesion.

    Blobs of random shape, size and sharpness change all contrasts of a normal slice by
    random amounts of either sign. A U-Net, whose input is the slice and its mirror image,
    learns to restore the slice. A Gaussian mixture is then fitted to the signed residuals
    of the same normal slices without blobs.

    Parameters
    ----------
    %(prior)s
    %(prior_sign)s
    %(prior_rule)s
    init : None or "synthetic", default=None
        Initial weights. None: random. "synthetic": weights of a network pretrained on
        synthetic brains, for any of the contrasts T1, T1ce, T2, PD, FLAIR, DWI and ADC. X
        must then have contrast names, as a SliceStack, and `mirror`, `width`, `n_levels`
        and `norm` must be the defaults. Few epochs are then sufficient.
    evidence : {"residual", "presence", "residual+intensity"}, default="residual"
        Basis of the score: the residual of the U-Net, the predicted presence of a blob
        (second task), or the sum of residual and image; see Notes.
    lesion_std : float, default=1.2
        Standard deviation of the change of a contrast in a blob, in standard deviations
        of the normalised brain.
    lesion_scales : sequence of int, default=(8, 16, 32)
        Sizes of the blobs in pixels; one is drawn per batch.
    lesion_direction : {"any", "prior"}, default="any"
        Direction in which blobs change the contrasts. "any": brighter or darker. "prior":
        as `prior` states; contrasts that it does not name in any direction. The score is
        then multiplied by the probability of such a blob; see Notes. "prior" needs
        contrasts in `prior`, with a known sign.
    presence_weight : float, default=2.0
        Weight in the loss of a second task, the detection of the blobs, in squared
        standard deviations. 0: no such task.
    self_training_epochs : int, default=0
        Epochs of self-training. It needs y, but uses only slice-level labels: the score
        marks the most abnormal regions of slices with an anomaly, and a U-Net that starts
        from the trained one learns to find them; see Notes. 0: none.
    mirror : bool, default=True
        Whether the mirror image of the slice (left to right, last axis) is also an input:
        a brain is nearly symmetric, a lesion is not.
    sigma : float, default=2.0
        Standard deviation in pixels of the in-plane Gaussian that smooths residuals and
        the log-density over the brain. 0: no smoothing.
    edge_aware : bool, default=False
        Whether scores are also smoothed by a guided filter with windows of 3 `sigma` on
        either side, which does not smooth across edges of the slice; see Notes.
    n_networks : int, default=1
        Number of U-Nets, trained one after another with different weights, batches and
        blobs; restored slices are averaged. This reduces false positives of single
        networks.
    n_components : int, default=4
        Number of Gaussians of the mixture.
    max_samples : int, default=100_000
        Number of brain pixels sampled to fit the mixture.
    width : int, default=16
        Channels of the U-Net's finest level.
    n_levels : int, default=3
        Halvings of the U-Net.
    norm : {"batch", "instance", "none"}, default="batch"
        Norm layer of the U-Net.
    %(max_epochs)s
    %(batch_size)s
    %(learning_rate)s
    augmentation : Augmentation, "default" or None, default="default"
        Data augmentation; "default" is ``Augmentation(crop=1)``, since the middle of a
        cropped brain is not its plane of symmetry. None disables it.
    %(n_iter_no_change)s
    %(tol)s
    %(warm_start)s
    %(checkpoints)s
    memory : None, str or object with the joblib.Memory interface, default=None
        Caches the trained U-Net, so that a search over `prior`, `prior_sign`, `sigma` and
        `n_components` trains it once. It depends on `prior` if `lesion_direction` is
        "prior".
    %(contamination)s
    %(device)s
    %(precision)s
    %(random_state)s

    Attributes
    ----------
    history_ : list of dict
        One record for each epoch: "stage" ("erasing 1", ...), "epoch", "loss" and its parts
        "error" and "presence", "seconds".
    %(weights_)s
    %(offset_)s
    %(background_score_)s
    %(axis_)s
    %(n_features_in_)s
    %(contrasts_)s

    See Also
    --------
    DAEDetector : Denoiser with noise everywhere in the slice.
    skadm.load_pretrained : A pretrained eraser.

    Notes
    -----
    Without a prior the score is the smoothed log-density of the residuals of all
    contrasts. With a prior of unknown sign it is the log-density of the weighted sum of
    the residuals, and with a known sign minus that sum.

    The density only describes scans like those of the training. For other scans, such as
    real scans after synthetic training, the second task generalises better. With
    ``evidence="presence"`` and no prior, the score is minus the logit of a blob. With a
    prior it is minus the probability of a blob times the positive part of the weighted
    sum of the contrasts, or, for an unknown sign, times the absolute weighted sum of the
    residuals. All of these are smoothed.

    With ``lesion_direction="prior"``, the second task learns to tell lesions as stated from
    normal tissue that is as bright. The score is minus the smoothed probability of such a
    blob times the positive part of the combined contrasts. This helps on strokes.

    Lesions of a few pixels are erased only in part and are rarely brighter than other
    tissue. With ``evidence="residual+intensity"``, the score is minus the weighted sum of
    residual and intensity. It needs a prior with a known sign. Combine it with slices at
    full resolution, small blobs and little smoothing: the preset "small-lesions".

    Targets of self-training are found without masks. In slices with an anomaly, a region
    whose scores exceed 98 % of the normal pixels is a lesion if one of its pixels exceeds
    99.9 %; other regions are left out. In normal slices nothing is a lesion. The score,
    above its median on normal pixels, is multiplied by the smoothed probability of a
    lesion. This is pseudo-labelling (Lee 2013); quantiles and product are ours.

    The guided filter (He et al. 2013) follows the contrasts as the prior combines them.
    Without a prior, the results for all contrasts are averaged.

    By default the blobs make no assumption about lesions: brighter and darker are equally
    likely, independently for each contrast. Since most of a slice is unchanged, the U-Net
    can use it as reference. Unlike a denoiser with noise everywhere (`DAEDetector`), it
    hardly changes normal tissue, so residuals of normal tissue are small.

    References
    ----------
    A. Kascenas, N. Pugeault, A. Q. O'Neil. Denoising autoencoders for unsupervised anomaly
    detection in brain MRI. MIDL 2022, PMLR 172:653-664.

    A. Abid, M. J. Zhang, V. K. Bagaria, J. Zou. Exploring patterns enriched in a dataset
    with contrastive principal component analysis. Nature Communications 9:2134, 2018.

    K. He, J. Sun, X. Tang. Guided image filtering. IEEE TPAMI 35(6):1397-1409, 2013.

    D.-H. Lee. Pseudo-label: the simple and efficient semi-supervised learning method for
    deep neural networks. ICML workshop on challenges in representation learning, 2013.

    Examples
    --------
    >>> from skadm import EraserDetector
    >>> from skadm.data import make_phantom
    >>> stack = make_phantom(n_patients=2, n_slices=8, size=32, random_state=0)
    >>> detector = EraserDetector(width=4, max_epochs=2, random_state=0)
    >>> detector.fit(stack, stack.y).score_samples(stack).shape
    (16, 32, 32)
    """

    _paper = "Kascenas et al. 2022, changed"
    _tune = ("prior", "prior_sign", "init", "sigma", "lesion_scales", "max_epochs")
    _good_at = "Lesions in nearly symmetric organs; better with a prior, as intensity is."
    _presets = {
        "quick": {"width": 4, "max_epochs": 4, "max_samples": 2_000},
        "cpu": _CPU,
        # With self-training, a third of the epochs before it is enough.
        "self-trained": {
            "n_networks": 3,
            "max_epochs": 7,
            "learning_rate": 3e-3,
            "prior": "learned",
            "self_training_epochs": 4,
            "edge_aware": True,
        },
        # There is no paper; the training length is that of the DAE.
        "paper": {"width": 64, "learning_rate": 1e-4, "max_epochs": 200},
        # From pretrained weights: at most a minute per patient on two cores.
        "fine-tune": {"init": "synthetic", "max_epochs": 5, "learning_rate": 2e-3},
        # Slices at full resolution, about 1 mm. Needs a prior with a known sign.
        "small-lesions": {
            "init": "synthetic",
            "evidence": "residual+intensity",
            "lesion_scales": (2, 4, 8, 16),
            "sigma": 1.0,
            "max_epochs": 6,
            "learning_rate": 5e-4,
        },
        "strokes": _STROKES,
        "strokes-self-trained": {**_STROKES, "self_training_epochs": 20},
    }

    _parameter_constraints = {
        **EraserScoring._parameter_constraints,
        "init": [None, StrOptions(set(PRETRAINED))],
        "evidence": [StrOptions({"residual", "presence", "residual+intensity"})],
        "lesion_std": [Interval(Real, 0, None, closed="left")],
        "lesion_scales": ["array-like"],
        "lesion_direction": [StrOptions({"any", "prior"})],
        "presence_weight": [Interval(Real, 0, None, closed="left")],
        "self_training_epochs": [Interval(Integral, 0, None, closed="left")],
        "mirror": ["boolean"],
        "sigma": [FILTER_WIDTH],
        "edge_aware": ["boolean"],
        "n_networks": [Interval(Integral, 1, None, closed="left")],
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "max_samples": [Interval(Integral, 1, None, closed="left")],
        "width": [Interval(Integral, 1, None, closed="left")],
        "n_levels": [Interval(Integral, 1, 16, closed="both")],
        "norm": [StrOptions(set(NORMS))],
        "memory": [None, str, HasMethods(["cache"])],
    }

    def __init__(
        self,
        *,
        prior: Prior = None,
        prior_sign: str = "known",
        prior_rule: str = "sum",
        init: str | None = None,
        evidence: str = "residual",
        lesion_std: float = 1.2,
        lesion_scales: Sequence[int] = (8, 16, 32),
        lesion_direction: str = "any",
        presence_weight: float = 2.0,
        self_training_epochs: int = 0,
        mirror: bool = True,
        sigma: float = 2.0,
        edge_aware: bool = False,
        n_networks: int = 1,
        n_components: int = 4,
        max_samples: int = 100_000,
        width: int = 16,
        n_levels: int = 3,
        norm: str = "batch",
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
        self.prior = prior
        self.prior_sign = prior_sign
        self.prior_rule = prior_rule
        self.init = init
        self.evidence = evidence
        self.lesion_std = lesion_std
        self.lesion_scales = lesion_scales
        self.lesion_direction = lesion_direction
        self.presence_weight = presence_weight
        self.self_training_epochs = self_training_epochs
        self.mirror = mirror
        self.sigma = sigma
        self.edge_aware = edge_aware
        self.n_networks = n_networks
        self.n_components = n_components
        self.max_samples = max_samples
        self.width = width
        self.n_levels = n_levels
        self.norm = norm
        self.memory = memory

    def _fit_with_abnormal(
        self, X: np.ndarray, abnormal: Callable[[], np.ndarray] | None
    ) -> None:
        sizes = list(self.lesion_scales)
        if not sizes or not all(isinstance(size, Integral) and size > 0 for size in sizes):
            raise ValueError(
                f"lesion_scales={self.lesion_scales!r}; expected one or more integers of "
                "at least 1."
            )
        if self.evidence == "residual+intensity" and not self._has_direction:
            raise self._without_direction("evidence='residual+intensity'", {"FLAIR": 1})
        if self.lesion_direction == "prior":
            if self._learns_axis or not self._has_direction:
                example = {"DWI": 1, "ADC": -1}
                raise self._without_direction("lesion_direction='prior'", example)
            if not self.presence_weight:
                raise ValueError(
                    "lesion_direction='prior' needs the second task, but "
                    "presence_weight=0; expected a positive number."
                )
        self.axis_ = self._stated_axis(X.shape[1])
        # The axis is learned during training, since the mixture depends on it.
        self._fit(X, self._abnormal_slices(abnormal))

    @property
    def _uses_abnormal_slices(self) -> bool:
        return self._learns_axis or self.self_training_epochs > 0

    def _check_parameters(self, n_contrasts: int) -> None:
        if self.init is not None:
            self._pretrained()  # raises for unsupported contrasts

    @property
    def _has_weights(self) -> bool:
        return self.init is not None or super()._has_weights

    def _pretrained(self) -> UNet:
        """Return the pretrained network for the contrasts of X; check its parameters."""
        assert self.init is not None
        shape = {n: getattr(self, n) for n in ("width", "n_levels", "norm", "mirror")}
        return pretrained_network(self.init, self.contrasts_, shape)

    def _initialise(self, networks: Erasers) -> None:
        if self.init is not None:
            weights = self._pretrained().state_dict()
            for net in networks.nets:
                net.load_state_dict(weights)

    def _continue_from(self, networks: Erasers, weights: dict[str, NDArray]) -> None:
        net_weights = {
            name.removeprefix("nets."): value
            for name, value in weights.items()
            if name.startswith("nets.")
        }
        load_weights(networks.nets, net_weights)  # the mixture is refitted

    def _build(self, n_contrasts: int, generator: torch.Generator) -> Erasers:
        n_features = n_contrasts if self.prior is None else 1
        return erasing_networks(
            n_contrasts,
            generator,
            n_networks=self.n_networks,
            mirror=self.mirror,
            unet=(self.width, self.n_levels, self.norm),
            mixture=FittedMixture(self.n_components, n_features),
            with_students=self.self_training_epochs > 0,
        )

    def _train(self, networks: Erasers, images: NDArray, trainer: Trainer) -> None:
        augmentation = trainer.augmentation
        if self.augmentation == "default":
            augmentation = Augmentation(crop=1)
        settings: dict[str, Any] = {
            "lesion_std": self.lesion_std,
            "lesion_scales": tuple(self.lesion_scales),
            "presence_weight": self.presence_weight,
        }
        # What the weights do not tell, for the memory.
        known: dict[str, Any] = {"norm": self.norm, "mirror": self.mirror}
        loss_settings: dict[str, Any] = dict(settings)
        if self.lesion_direction == "prior":
            assert self.axis_ is not None
            signs = torch.from_numpy(np.sign(self.axis_)).float()
            loss_settings |= {"signs": signs, "change_of": self._change}
            settings["direction"] = (self.prior_rule, *self.axis_.tolist())
        for number, net in enumerate(networks.nets, start=1):
            output = partial(self._output, net)
            loss = partial(erasing_loss, output, trainer.generator, **loss_settings)
            stage = Stage(f"erasing {number}", images, [Objective(net, loss)], augmentation)
            trainer.fit_stage(stage, memory=self.memory, **known, **settings)
        if self._learns_axis:
            assert trainer.abnormal is not None
            self.axis_ = learned_axis(
                self._pixels(self._residuals, networks, trainer.abnormal, trainer),
                self._pixels(self._residuals, networks, images, trainer),
                least_ratio=_LEAST_RATIO,
            )
        if self._scores_density:
            mixture = mixture_by_em(
                self._pixels(self._features, networks, images, trainer),
                images,
                trainer,
                n_components=self.n_components,
                floor=FLOOR,
                max_samples=self.max_samples,
            )
            networks.mixture.set(mixture)
        if networks.students is not None:
            self_train(
                networks.students,
                networks.nets,
                partial(self._base_score, networks),
                self._logit,
                trainer,
                augmentation,
                self.self_training_epochs,
                memory=self.memory,
                **known,
            )

    def _change(self, noise: torch.Tensor) -> torch.Tensor:
        """Combine the changes of contrasts in artificial lesions, (n, H, W)."""
        assert self.axis_ is not None
        return self._combined(noise.unbind(dim=1)) / float(np.abs(self.axis_).max())

    def _pixels(
        self, function: Callable, networks: Erasers, images: NDArray, trainer: Trainer
    ) -> Iterator[NDArray]:
        """Yield a function of networks and slices in the brain pixels, (n_pixels, d)."""
        for batch in trainer.engine.batches(images):
            with torch.inference_mode():
                with trainer.engine.autocast():
                    maps = function(networks, batch)
                pixels = pixels_of(maps, brain_of(batch)).cpu().numpy()
            yield pixels  # outside inference mode
