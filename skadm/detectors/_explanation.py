"""What the anomaly of a pixel is made of."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Explanation:
    """Parts of the anomaly of each pixel, as `ADMDetector.explain` finds them.

    With the posterior probability γ_c that component c of the mixture made the pixel's
    features z, the energy, which is the negative of the score, is the sum of

    - for each feature i, Σ_c γ_c (z - μ_c)_i [Σ_c⁻¹ (z - μ_c)]_i / 2: its share of the
      squared Mahalanobis distance. Negative where a feature, correlated with others,
      speaks against their deviation;
    - the baseline, Σ_c γ_c (log det(2π Σ_c) / 2 - log π_c + log γ_c): what is left at the
      centre of the components.

    Attributes
    ----------
    features : ndarray of shape (n_slices, d, H, W), float32
        Part of each feature; 0 in the background.
    baseline : ndarray of shape (n_slices, H, W), float32
        The rest; 0 in the background.
    component : ndarray of shape (n_slices, H, W), int64
        Component that most probably made the pixel, from 0; -1 in the background.
    names : tuple of str
        Names of the d features, such as "FLAIR translation" and "latent 1".
    """

    features: NDArray[np.float32]
    baseline: NDArray[np.float32]
    component: NDArray[np.int64]
    names: tuple[str, ...]

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        """Map of a feature, by its name."""
        if name not in self.names:
            raise KeyError(f"{name!r}; expected one of {list(self.names)}")
        return self.features[:, self.names.index(name)]

    @property
    def anomaly(self) -> NDArray[np.float32]:
        """Energy, shape (n_slices, H, W): the sum of all parts; 0 in the background."""
        return self.features.sum(axis=1) + self.baseline
