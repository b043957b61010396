"""Intensity baseline."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skadm._brain import brain_mask
from skadm._disk import release, row_chunks
from skadm._filters import smooth_in_brain
from skadm._validation import FILTER_WIDTH, check_arrays
from skadm.detectors._prior import Prior, PriorDetector

# Scores are clipped here, so that sums of a few, as in filters, fit in float32.
_MOST = 1e35


class IntensityDetector(PriorDetector):
    """A weighted sum of contrasts: bright pixels are anomalies.

    Only the threshold is fitted, and the weights if `prior` is "learned". On normalised
    FLAIR, or FLAIR + T2, this is the baseline for detectors of tumours; with learned
    weights, for detectors that use slice labels.

    Parameters
    ----------
    %(prior)s
    %(prior_sign)s
    %(prior_rule)s
    sigma : float, default=0
        Standard deviation in pixels of a Gaussian that smooths the map in-plane over the
        brain. 0: no smoothing.
    %(contamination)s

    Attributes
    ----------
    %(axis_)s
    mean_ : ndarray of shape (K,)
        Mean of each contrast over the brain pixels of normal slices.
    %(offset_)s

    Notes
    -----
    Without a `prior`, this detector assumes that lesions change all contrasts in the same
    direction, with weight 1 each (`axis_`). So it is never unsupervised.

    The score is minus the weighted sum; if the sign is unknown, minus the distance of the
    sum from its mean in normal slices. A learned axis uses deviations from the means in
    normal slices.

    Examples
    --------
    >>> from skadm import IntensityDetector
    >>> from skadm.data import make_phantom
    >>> stack = make_phantom(n_patients=2, n_slices=8, size=32, random_state=0)
    >>> detector = IntensityDetector(prior={"FLAIR": 1, "T2": 1}, sigma=1)
    >>> detector.fit(stack, stack.y).axis_
    array([0., 0., 1., 1.])
    """

    _tune = ("prior", "sigma")
    _good_at = "Bright (or dark) lesions; contrasts are given or learned from slice labels."
    _presets = {
        # No preset has parameters; the names exist for every detector.
        "quick": {},
        "cpu": {},
        "paper": {},
    }

    _parameter_constraints: dict[str, list[Any]] = {
        **PriorDetector._parameter_constraints,
        "sigma": [FILTER_WIDTH],
    }

    def __init__(
        self,
        *,
        prior: Prior = None,
        prior_sign: str = "known",
        prior_rule: str = "sum",
        sigma: float = 0.0,
        contamination: float = 0.01,
    ) -> None:
        super().__init__(contamination=contamination)
        self.prior = prior
        self.prior_sign = prior_sign
        self.prior_rule = prior_rule
        self.sigma = sigma

    @property
    def _supervision(self) -> str:
        if self._uses_abnormal_slices:
            return "slice labels"
        return "known direction" if self._sign_is_known else "known contrasts"

    def _stated_axis(self, n_contrasts: int) -> NDArray[np.float64] | None:
        axis = super()._stated_axis(n_contrasts)
        return np.ones(n_contrasts) if self.prior is None else axis

    def _fit(self, X: np.ndarray) -> None:
        n_pixels, total = 0, np.zeros(X.shape[1])
        for rows in row_chunks(len(X), X[:1].nbytes):
            pixels = _brain_pixels(X[rows])
            n_pixels += len(pixels)
            total += pixels.sum(axis=0, dtype=np.float64)
            release(X)
        self.mean_ = total / n_pixels

    def _deviations(self, X: np.ndarray) -> np.ndarray:
        return _brain_pixels(X) - self.mean_

    def _check_learned(self) -> None:
        super()._check_learned()
        check_arrays(self, {"mean_": (self.n_features_in_,)})

    def _score(self, X: np.ndarray, brain: NDArray[np.bool_]) -> np.ndarray:
        assert self.axis_ is not None
        contrasts: Iterable[np.ndarray] = (
            X[:, contrast].astype(np.float64) for contrast in range(X.shape[1])
        )
        if self.prior_rule == "all":
            # Before the minimum, which is low wherever one contrast is noisy.
            contrasts = [self._smoothed(contrast, brain) for contrast in contrasts]
            return -self._combined(contrasts)
        maps = -self._combined(contrasts)
        if not self._sign_is_known:
            maps = -np.abs(maps + self.axis_ @ self.mean_)
        return self._smoothed(maps, brain)

    def _smoothed(self, maps: np.ndarray, brain: NDArray[np.bool_]) -> np.ndarray:
        maps = maps.clip(-_MOST, _MOST).astype(np.float32)
        return smooth_in_brain(maps, brain, self.sigma) if self.sigma else maps


def _brain_pixels(X: np.ndarray) -> np.ndarray:
    return X.transpose(0, 2, 3, 1)[brain_mask(X)]
