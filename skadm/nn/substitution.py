"""Substitution of a missing contrast and calibration of scores without it."""

import torch
from torch import nn

from skadm.nn.pixels import brain_of
from skadm.nn.translation import TranslationNet

# Quantile levels of training energies. They include the tails, but not the outermost
# pixels, which are not representative.
_LEVELS = (1e-4, 1e-3, 0.01, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999)


class Substitution(nn.Module):
    """Substitutes a missing contrast and maps energies without it to a common scale.

    Without the translation error of one contrast, the energy of a pixel comes from a
    marginal of the mixture with one dimension less. Quantile matching on training pixels
    maps these energies to those with all contrasts: piecewise linear between a few
    quantiles, with slope 1 beyond the outermost, since both are negative log-likelihoods.

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
        # A row per missing contrast; the last row is for complete slices.
        self.register_buffer(
            "quantiles", torch.zeros(n_contrasts + 1, len(_LEVELS), dtype=double)
        )

    def impute_contrast(
        self, net: TranslationNet, images: torch.Tensor, contrast: int
    ) -> torch.Tensor:
        """Replace a contrast by its translation from the others.

        Its median m is unknown and replaced by the mean of the medians of the training
        slices.

        Parameters
        ----------
        net : TranslationNet
        images : torch.Tensor of shape (n, K, H, W)
            The values of the contrast, e.g. NaN, are ignored.
        contrast : int

        Returns
        -------
        images : torch.Tensor of shape (n, K, H, W)
            Background is taken from the other contrasts.
        """
        channels = torch.arange(images.shape[1], device=images.device)
        hidden = (channels == contrast)[:, None, None]
        images = torch.where(hidden, 0, images)
        targets = torch.full((len(images),), contrast, device=images.device)
        translated = net(images, targets, self.priors[targets]).to(images.dtype)
        translated = translated * brain_of(images)
        return torch.where(hidden, translated.unsqueeze(1), images)

    def learn(self, row: int, energies: torch.Tensor) -> None:
        """Store the quantiles of the energies (n,) of training pixels without a contrast.

        `row` is the missing contrast; -1 for none.
        """
        place = torch.tensor(_LEVELS, dtype=torch.float64) * (len(energies) - 1)
        ordered = energies.double().sort().values
        lower = place.floor().long()
        upper = place.ceil().long()
        self.quantiles[row] = torch.lerp(ordered[lower], ordered[upper], place - lower)

    def match(self, energies: torch.Tensor, contrast: int) -> torch.Tensor:
        """Map energies (n,) without a contrast to the scale with all contrasts."""
        without, common = self.quantiles[contrast], self.quantiles[-1]
        energies = energies.double()
        inside = energies.clamp(without[0], without[-1])
        right = torch.searchsorted(without, inside).clamp(1, len(without) - 1)
        left = right - 1
        tiny = torch.finfo(without.dtype).tiny
        share = (inside - without[left]) / (without[right] - without[left]).clamp_min(tiny)
        return torch.lerp(common[left], common[right], share) + (energies - inside)
