"""What a trained ADM says of slices, also of those that lack a contrast."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from skadm._missing import missing_contrasts
from skadm.detectors._adm_networks import ADMNetworks
from skadm.detectors._explanation import Explanation
from skadm.neural import TorchDetector
from skadm.nn.pixels import brain_of, map_of, pixels_of
from skadm.nn.substitution import Substitution
from skadm.nn.translation import TranslationNet, brain_medians, translate_all
from skadm.training._engine import Engine

# Hold pixels enough for quantiles.
_CALIBRATION_SLICES = 64


class ADMScoring(TorchDetector):
    """Features, energies and explanations of `ADMDetector`, which adds the training."""

    features: str
    constraint: str
    covariance_floor: float
    median_prior: bool

    @property
    def _scores_without_contrast(self) -> bool:
        return self.features != "reduction"  # which has no translation

    def pixel_features(self, X) -> NDArray[np.floating]:
        """Compute what the density sees: translation errors, then reduced contrasts.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices.

        Returns
        -------
        features : ndarray of shape (n_slices, d, H, W), float32
            The z of Eq. 8, with d = K + L, or K or L alone as `features` says; 0 in the
            background. The translation error of a contrast that is missing is NaN.

        Raises
        ------
        ValueError
            If X has a wrong shape, other contrasts than the training, NaN or infinity.
        """
        return self._apply_to_checked(self._masked_features, X)

    def explain(self, X) -> Explanation:
        """Part the anomaly of each pixel into features.

        The energy (Eq. 12), the negative of the score, is a sum of one part for each
        feature and a baseline, exactly; see `Explanation`. Not in the paper. The part of a
        contrast that is missing is 0.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices.

        Returns
        -------
        explanation : Explanation
            Maps.

        Raises
        ------
        ValueError
            If X has a wrong shape, other contrasts than the training, NaN or infinity.
        """
        maps = self._apply_to_checked(self._explained, X)
        names = self.contrasts_ or [f"contrast {k + 1}" for k in range(self.n_features_in_)]
        n_latent = maps.shape[1] - 2
        translated = []
        if self.features != "reduction":
            translated = [f"{name} translation" for name in names]
            n_latent -= len(names)
        latent = [f"latent {number + 1}" for number in range(n_latent)]
        return Explanation(
            features=maps[:, :-2],
            baseline=maps[:, -2],
            # One more than the index, so that it is 0 in the background.
            component=maps[:, -1].astype(np.int64) - 1,
            names=(*translated, *latent),
        )

    def _apply(
        self, function: Callable[..., torch.Tensor], X: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Result of ``function(networks, images, missing)``: slices that lack the same."""
        lacks = missing_contrasts(X)
        if (several := lacks.sum(axis=1) > 1).any():
            raise ValueError(
                f"{several.sum()} slices lack more than one contrast; "
                f"{type(self).__name__} supplies one from the others."
            )
        if not lacks.any():
            return super()._apply(function, X)
        missing = np.where(lacks.any(axis=1), lacks.argmax(axis=1), -1)
        result = np.empty(0, np.float32)
        for contrast in np.unique(missing).tolist():
            own = missing == contrast
            chosen = partial(function, missing=contrast) if contrast >= 0 else function
            values = super()._apply(chosen, X[own])
            if not result.size:
                result = np.empty((len(X), *values.shape[1:]), np.float32)
            result[own] = values
        return result

    def _anomaly(
        self, networks: ADMNetworks, images: torch.Tensor, missing: int | None = None
    ) -> torch.Tensor:
        energy = self._energy(networks, images, missing)
        return energy if missing is None else networks.matched(energy, missing)

    def _energy(
        self, networks: ADMNetworks, images: torch.Tensor, missing: int | None
    ) -> torch.Tensor:
        """Energy without what a missing contrast would say, (n, H, W)."""
        images = networks.completed(images, missing)
        features, brain = self._features(networks, images), brain_of(images)
        pixels, floor = pixels_of(features, brain), self._scoring_floor()
        return map_of(networks.mixture.energy(pixels, floor, missing), brain)

    def _explained(
        self, networks: ADMNetworks, images: torch.Tensor, missing: int | None = None
    ) -> torch.Tensor:
        """Contributions of d features, baseline, component + 1, (n, d + 2, H, W)."""
        images = networks.completed(images, missing)
        features, brain = self._features(networks, images), brain_of(images)
        pixels, floor = pixels_of(features, brain), self._scoring_floor()
        explained = networks.mixture.explain(pixels, floor, missing)
        baseline = explained.baseline
        if missing is not None:
            energy = explained.features.sum(dim=1) + baseline
            baseline = baseline + networks.matched(energy, missing) - energy
        values = (*explained.features.unbind(dim=1), baseline, explained.component + 1)
        return torch.stack([map_of(value, brain) for value in values], dim=1)

    def _masked_features(
        self, networks: ADMNetworks, images: torch.Tensor, missing: int | None = None
    ) -> torch.Tensor:
        images = networks.completed(images, missing)
        features = self._features(networks, images)
        if missing is not None:
            features[:, missing] = torch.nan
        return torch.where(brain_of(images).unsqueeze(1), features, 0)

    def _features(self, networks: ADMNetworks, images: torch.Tensor) -> torch.Tensor:
        """z of every pixel, (n, d, H, W)."""
        errors = images[:, :0]
        if networks.translation is not None:
            errors = self._translation_errors(networks.translation, images)
        return self._density_features(networks, images, errors)[0]

    def _scoring_floor(self) -> float:
        return self._floor() or torch.finfo(torch.float32).eps

    def _floor(self) -> float:
        return self.covariance_floor if self.constraint == "floor" else 0.0

    def _priors(self, images: torch.Tensor) -> torch.Tensor:
        """What stands for each hidden contrast, m of Eq. 3, shape (n, K)."""
        if self.median_prior:
            return brain_medians(images, brain_of(images))
        return images.new_zeros(images.shape[:2])

    def _translation_errors(
        self, net: TranslationNet, images: torch.Tensor
    ) -> torch.Tensor:
        """Z_ct (Eq. 5); 0 in the background."""
        errors = (images - translate_all(net, images, self._priors(images))).abs()
        # Absurd intensities stay finite in half precision.
        most = torch.finfo(torch.float16).max
        return errors.clamp_max(most) * brain_of(images).unsqueeze(1)

    def _density_features(
        self, networks: ADMNetworks, images: torch.Tensor, errors: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """z of every pixel, shape (n, d, H, W), and X_dr."""
        if networks.reduction is None:
            return errors, None
        # In full precision: rounding noise would pass for variance in the covariances.
        with torch.autocast(images.device.type, enabled=False):
            reduced, restored = networks.reduction(images)
        return torch.cat([errors, reduced], dim=1), restored

    def _learn_substitution(
        self,
        networks: ADMNetworks,
        substitution: Substitution,
        images: NDArray,
        engine: Engine,
    ) -> None:
        """What stands for a missing contrast, and what energies are without it."""
        priors = [self._priors(batch) for batch in engine.batches(images)]
        substitution.priors.copy_(torch.cat(priors).mean(dim=0))
        chosen = np.linspace(0, len(images) - 1, min(len(images), _CALIBRATION_SLICES))
        shown = images[np.unique(chosen.astype(int))]
        for missing in (None, *range(shown.shape[1] if shown.shape[1] > 1 else 0)):
            part = shown.copy()
            if missing is not None:
                part[:, missing] = np.nan
            energies = []
            # In batches: to compare quantiles, rounding does not matter.
            with torch.inference_mode(), engine.autocast():
                for batch in engine.batches(part):
                    brain = brain_of(batch.nan_to_num())
                    energy = self._energy(networks, batch, missing)
                    energies.append(energy[brain].float().cpu())
            measured = torch.cat(energies)
            if len(measured):
                substitution.learn(-1 if missing is None else missing, measured)
