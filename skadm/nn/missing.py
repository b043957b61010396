"""A contrast that is missing: what stands for it, and how scores without it compare."""

import torch
from torch import nn

from skadm.nn.pixels import brain_of
from skadm.nn.translation import TranslationNet

# Of the energies of training pixels. The tails tell an anomaly, the outermost pixels only
# themselves.
_LEVELS = (1e-4, 1e-3, 0.01, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999)


class Substitution(nn.Module):
    """Supplies a missing contrast, and brings energies without it to the common scale.

    Without the translation error of one contrast, a pixel's energy is that of a marginal of
    the mixture, which has a dimension less. Energies of training pixels with and without
    the contrast say which values of the two are equally rare: that is the map between
    them, piecewise linear through the quantiles at a few levels, and of slope 1 beyond the
    outermost, since both are negative log-likelihoods.

    Parameters
    ----------
    n_contrasts : int
        K.
    """

    priors: torch.Tensor
    quantiles: torch.Tensor

    def __init__(self, n_contrasts: int) -> None:
        super().__init__()
        double = torch.float64
        self.register_buffer("priors", torch.zeros(n_contrasts))
        # A row for each contrast that is left out; in the last one, nothing is.
        self.register_buffer(
            "quantiles", torch.zeros(n_contrasts + 1, len(_LEVELS), dtype=double)
        )

    def supply(
        self, net: TranslationNet, images: torch.Tensor, contrast: int
    ) -> torch.Tensor:
        """Put the translation of the others in the place of a contrast.

        Its median m is unknown: the mean of the training slices' medians stands for it.

        Parameters
        ----------
        net : TranslationNet
        images : torch.Tensor of shape (n, K, H, W)
            What the contrast holds, such as NaN, is not looked at.
        contrast : int

        Returns
        -------
        images : torch.Tensor of shape (n, K, H, W)
            The background of the others is background.
        """
        channels = torch.arange(images.shape[1], device=images.device)
        hidden = (channels == contrast)[:, None, None]
        images = torch.where(hidden, 0, images)
        targets = torch.full((len(images),), contrast, device=images.device)
        translated = net(images, targets, self.priors[targets]).to(images.dtype)
        translated = translated * brain_of(images)
        return torch.where(hidden, translated.unsqueeze(1), images)

    def learn(self, row: int, energies: torch.Tensor) -> None:
        """Take over the quantiles of training pixels' energies, (n,), without a contrast.

        `row` is the contrast; -1 if none is left out.
        """
        place = torch.tensor(_LEVELS, dtype=torch.float64) * (len(energies) - 1)
        ordered = energies.double().sort().values
        lower = place.floor().long()
        upper = place.ceil().long()
        self.quantiles[row] = torch.lerp(ordered[lower], ordered[upper], place - lower)

    def match(self, energies: torch.Tensor, contrast: int) -> torch.Tensor:
        """Energies (n,) without a contrast on the scale of those with all of them."""
        own, common = self.quantiles[contrast], self.quantiles[-1]
        energies = energies.double()
        inside = energies.clamp(own[0], own[-1])
        right = torch.searchsorted(own, inside).clamp(1, len(own) - 1)
        left = right - 1
        tiny = torch.finfo(own.dtype).tiny
        share = (inside - own[left]) / (own[right] - own[left]).clamp_min(tiny)
        return torch.lerp(common[left], common[right], share) + (energies - inside)
