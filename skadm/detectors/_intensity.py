"""Intensity alone: what a sceptic asks for first."""

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval

from skadm._brain import brain_mask
from skadm._filters import smooth_in_brain
from skadm._validation import check_arrays
from skadm.base import BaseDetector
from skadm.detectors._contrasts import contrast_weights

# Scores end here: the sum of a few of them, as a filter takes it, is still a float32.
_MOST = 1e35


class IntensityDetector(BaseDetector):
    """A weighted sum of contrasts: bright pixels are anomalies.

    Nothing is learned but the threshold. On normalised FLAIR, or FLAIR + T2, this is
    the baseline that a detector of tumours has to beat.

    Parameters
    ----------
    weights : mapping of str or int to float, default=None
        Weight of each contrast, by name (X must then carry names, as a SliceStack does)
        or by index. A negative weight makes dark pixels anomalous. None: all contrasts
        with weight 1.
    sigma : float, default=0
        Standard deviation, in pixels, of a Gaussian that smooths the map within its
        slice and within the brain. 0: no smoothing.
    contamination : float, default=0.01
        Fraction of the training pixels that `predict` calls anomalous; sets `offset_`.

    Attributes
    ----------
    weights_ : ndarray of shape (n_contrasts,)
        Weight of each contrast.
    offset_ : float
        Threshold of `predict` on the scale of `score_samples`.

    Examples
    --------
    >>> from skadm import IntensityDetector
    >>> from skadm.data import make_phantom
    >>> stack = make_phantom(n_patients=2, n_slices=8, size=32, random_state=0)
    >>> detector = IntensityDetector(weights={"FLAIR": 1, "T2": 1}, sigma=1)
    >>> detector.fit(stack, stack.y).weights_
    array([0., 0., 1., 1.])
    """

    _parameter_constraints: dict[str, list[Any]] = {
        **BaseDetector._parameter_constraints,
        "weights": [None, Mapping],
        "sigma": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        weights: Mapping[str | int, float] | None = None,
        sigma: float = 0.0,
        contamination: float = 0.01,
    ) -> None:
        super().__init__(contamination=contamination)
        self.weights = weights
        self.sigma = sigma

    def _fit(self, X: np.ndarray) -> None:
        equal: dict[str | int, float] = dict.fromkeys(range(X.shape[1]), 1.0)
        given = equal if self.weights is None else self.weights
        self.weights_ = contrast_weights(given, X.shape[1], self.contrasts_)

    def _check_learned(self) -> None:
        check_arrays(self, {"weights_": (self.n_features_in_,)})

    def _score(self, X: np.ndarray) -> np.ndarray:
        # Contrast by contrast: a matrix product would round by the number of slices.
        maps = np.zeros(X[:, 0].shape)
        for contrast, weight in enumerate(self.weights_):
            maps -= weight * X[:, contrast].astype(np.float64)
        maps = maps.clip(-_MOST, _MOST).astype(np.float32)
        return smooth_in_brain(maps, brain_mask(X), self.sigma) if self.sigma else maps
