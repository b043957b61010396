"""The networks of ADM as one module."""

import torch

from skadm.nn.density import EstimationNet, FittedMixture
from skadm.nn.reduction import ReductionNet
from skadm.nn.substitution import Substitution
from skadm.nn.translation import TranslationNet


class ADMNetworks(torch.nn.Module):
    """G_ct, (G_dr, F_dr), G_de and the final mixture; the first two may be missing.

    `substitution` stands for a contrast that a slice lacks; None without a translation.
    """

    def __init__(
        self,
        translation: TranslationNet | None,
        reduction: ReductionNet | None,
        estimation: EstimationNet,
        mixture: FittedMixture,
        substitution: Substitution | None,
    ) -> None:
        super().__init__()
        self.translation = translation
        self.reduction = reduction
        self.estimation = estimation
        self.mixture = mixture
        self.substitution = substitution

    def of_density(self) -> torch.nn.ModuleList:
        """What the second stage trains."""
        trained = (self.reduction, self.estimation)
        return torch.nn.ModuleList(network for network in trained if network is not None)

    def completed(self, images: torch.Tensor, missing: int | None) -> torch.Tensor:
        """Images (n, K, H, W), a missing contrast translated from the others."""
        if missing is None:
            return images
        assert self.translation is not None
        assert self.substitution is not None
        return self.substitution.impute_contrast(self.translation, images, missing)

    def matched(self, energies: torch.Tensor, missing: int) -> torch.Tensor:
        """Energies without a contrast, on the scale of those with all contrasts."""
        assert self.substitution is not None
        return self.substitution.match(energies, missing)
