"""Random changes of training slices: flip, translation, crop, intensity scaling."""

from numbers import Real

import torch
from sklearn.base import BaseEstimator

from skadm._sklearn import Interval, validate_parameter_constraints


class Augmentation(BaseEstimator):
    """Random changes of training slices, all drawn from the detector's generator.

    The paper names the four kinds (2.4) without their sizes; the sizes are ours. Every
    kind is switched off by its parameter. Slices of a batch are changed independently.

    Parameters
    ----------
    flip : float, default=0.5
        Probability of a left-right flip (last axis). 0 switches it off.
    translation : float, default=0.05
        Largest shift along each axis, as a fraction of its length; whole pixels, so
        that nothing is interpolated. What enters is background. 0 switches it off.
    crop : float, default=0.9
        Height and width of the random window that is trained on, as a fraction of the
        slice. The networks are convolutional, so the window stays as small as it is.
        1 switches it off.
    intensity_scaling : float, default=0.1
        Each contrast of each slice is multiplied by a factor drawn uniformly from
        1 ± `intensity_scaling`. 0 switches it off.

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
        """Raise an error that names the first parameter out of its range.

        Raises
        ------
        ValueError
            If a parameter has a value or type that it cannot have.
        """
        validate_parameter_constraints(
            self._parameter_constraints, self.get_params(), caller_name="Augmentation"
        )

    def __call__(self, slices: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Change a batch of slices.

        Parameters
        ----------
        slices : torch.Tensor of shape (n, K, H, W)
            On any device; is not changed.
        generator : torch.Generator
            A CPU generator.

        Returns
        -------
        slices : torch.Tensor of shape (n, K, H', W')
            Background is still exactly 0.
        """
        return self.scale(self.move(slices, generator), generator)

    def move(self, slices: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Flip, translate and crop: what changes places, and no value.

        Parameters
        ----------
        slices : torch.Tensor of shape (n, channels, H, W)
            On any device; is not changed.
        generator : torch.Generator
            A CPU generator.

        Returns
        -------
        slices : torch.Tensor of shape (n, channels, H', W')
            All channels of a slice move together.
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
        # A crop of the slice with a rim of background around it: translation and crop
        # in one copy.
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
        """Scale intensities: what changes values, and no place.

        Parameters
        ----------
        slices : torch.Tensor of shape (n, K, H, W)
            On any device; is not changed.
        generator : torch.Generator
            A CPU generator.

        Returns
        -------
        slices : torch.Tensor of shape (n, K, H, W)
            Each contrast of each slice times its own factor.
        """
        if not self.intensity_scaling:
            return slices
        draw = torch.rand(*slices.shape[:2], 1, 1, generator=generator)
        factors = 1 + self.intensity_scaling * (2 * draw - 1)
        return slices * factors.to(slices.device)
