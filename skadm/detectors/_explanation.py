"""Decomposition of the anomaly score of a pixel."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Explanation:
    """Decomposition of the anomaly score of each pixel, from `ADMDetector.explain`.

    With the posterior probability γ_c of component c of the mixture given the features z
    of the pixel, the energy (the negative score) is the sum of

    - for each feature i, Σ_c γ_c (z - μ_c)_i [Σ_c⁻¹ (z - μ_c)]_i / 2: its contribution to
      the squared Mahalanobis distance, negative if the feature, correlated with others,
      counteracts their deviation;
    - the baseline, Σ_c γ_c (log det(2π Σ_c) / 2 - log π_c + log γ_c): the energy at the
      centre of the components.

    Attributes
    ----------
    features : ndarray of shape (n_slices, d, H, W), float32
        Contribution of each feature; 0 in the background.
    baseline : ndarray of shape (n_slices, H, W), float32
        Remaining energy; 0 in the background.
    component : ndarray of shape (n_slices, H, W), int64
        Most probable component, from 0; -1 in the background.
    names : tuple of str
        Names of the d features, such as "FLAIR translation" and "latent 1".
    """

    features: NDArray[np.float32]
    baseline: NDArray[np.float32]
    component: NDArray[np.int64]
    names: tuple[str, ...]

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        """Return the map of a feature by name."""
        if name not in self.names:
            raise KeyError(f"{name!r}; expected one of {list(self.names)}")
        return self.features[:, self.names.index(name)]

    @property
    def anomaly(self) -> NDArray[np.float32]:
        """Energy (n_slices, H, W), the sum of all contributions; 0 in the background."""
        return self.features.sum(axis=1) + self.baseline
