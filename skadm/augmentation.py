"""Data augmentation: flip, translation, crop, intensity scaling."""

from numbers import Real

import torch
from sklearn.base import BaseEstimator

from skadm._sklearn import Interval, validate_parameter_constraints


class Augmentation(BaseEstimator):
    """Data augmentation of training slices.

    The paper names the four kinds (2.4) without their magnitudes; the magnitudes are
    ours. Each kind can be disabled by its parameter. Slices of a batch are augmented
    independently, with random numbers from the detector's generator.

    Parameters
    ----------
    flip : float, default=0.5
        Probability of a left-right flip (last axis). 0 disables it.
    translation : float, default=0.05
        Maximum shift along each axis, as a fraction of its length, in whole pixels, so
        without interpolation. Shifted-in pixels are background. 0 disables it.
    crop : float, default=0.9
        Height and width of a random training window, as a fraction of the slice. The
        window is not resized, since the networks are convolutional. 1 disables it.
    intensity_scaling : float, default=0.1
        Each contrast of each slice is multiplied by a factor drawn uniformly from
        1 ± `intensity_scaling`. 0 disables it.

    Examples
    --------
    >>> import torch
    >>> from skadm.augmentation import Augmentation
    >>> slices = torch.ones(2, 4, 20, 20)
    >>> Augmentation(crop=0.5)(slices, torch.Generator().manual_seed(0)).shape
    torch.Size([2, 4, 10, 10])
    """

    _parameter_constraints = {
        "flip": [Interval(Real, 0, 1, closed="both")],
        "translation": [Interval(Real, 0, 1, closed="left")],
        "crop": [Interval(Real, 0, 1, closed="right")],
        "intensity_scaling": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
        flip: float = 0.5,
        translation: float = 0.05,
        crop: float = 0.9,
        intensity_scaling: float = 0.1,
    ) -> None:
        self.flip = flip
        self.translation = translation
        self.crop = crop
        self.intensity_scaling = intensity_scaling

    def check(self) -> None:
        """Check the parameters.

        Raises
        ------
        ValueError
            If a parameter has an invalid value or type.
        """
        validate_parameter_constraints(
            self._parameter_constraints, self.get_params(), caller_name="Augmentation"
        )

    def __call__(self, slices: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Augment a batch of slices.

        Parameters
        ----------
        slices : torch.Tensor of shape (n, K, H, W)
            On any device; not modified.
        generator : torch.Generator
            A CPU generator.

        Returns
        -------
        slices : torch.Tensor of shape (n, K, H', W')
            Background is still exactly 0.
        """
        return self.scale(self.move(slices, generator), generator)

    def move(self, slices: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Flip, translate and crop.

        Parameters
        ----------
        slices : torch.Tensor of shape (n, channels, H, W)
            On any device; not modified.
        generator : torch.Generator
            A CPU generator.

        Returns
        -------
        slices : torch.Tensor of shape (n, channels, H', W')
            All channels of a slice are transformed alike.
        """
        n_slices, _, height, width = slices.shape
        window = tuple(max(1, round(self.crop * n)) for n in (height, width))
        reach = tuple(int(self.translation * n) for n in (height, width))
        if self.flip:
            mirrored = torch.rand(n_slices, generator=generator) < self.flip
            mirrored = mirrored.to(slices.device)[:, None, None, None]
            slices = torch.where(mirrored, slices.flip(-1), slices)
        if window == (height, width) and reach == (0, 0):
            return slices
        # Crop the slice padded with background: translation and crop in one copy.
        padded = torch.nn.functional.pad(slices, (reach[1], reach[1], reach[0], reach[0]))
        tops, lefts = (
            torch.randint(full - part + 1, (n_slices,), generator=generator)
            + torch.randint(2 * shift + 1, (n_slices,), generator=generator)
            for full, part, shift in zip((height, width), window, reach)
        )
        return torch.stack(
            [
                image[:, top : top + window[0], left : left + window[1]]
                for image, top, left in zip(padded, tops.tolist(), lefts.tolist())
            ]
        )

    def scale(self, slices: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Scale intensities.

        Parameters
        ----------
        slices : torch.Tensor of shape (n, K, H, W)
            On any device; not modified.
        generator : torch.Generator
            A CPU generator.

        Returns
        -------
        slices : torch.Tensor of shape (n, K, H, W)
            Each contrast of each slice, multiplied by a random factor.
        """
        if not self.intensity_scaling:
            return slices
        draw = torch.rand(*slices.shape[:2], 1, 1, generator=generator)
        factors = 1 + self.intensity_scaling * (2 * draw - 1)
        return slices * factors.to(slices.device)
