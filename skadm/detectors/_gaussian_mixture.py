"""A Gaussian mixture of pixel intensities."""

from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, logsumexp
from sklearn.mixture import GaussianMixture
from sklearn.utils import check_random_state

from skadm._brain import brain_mask
from skadm._sklearn import Interval, StrOptions
from skadm._validation import check_arrays
from skadm.detectors._patches import (
    draw_patches,
    iterate_patches,
    mean_of_patches,
    score_patches,
)
from skadm.detectors._prior import Prior, PriorDetector


class GaussianMixtureDetector(PriorDetector):
    """Likelihood of intensities under a Gaussian mixture of normal pixels.

    The mixture is fitted to the contrasts of a brain pixel, or of the pixel and its
    neighbours, without learned features. Its log-likelihood is the score. It is a
    baseline for deep detectors with a mixture, such as `ADMDetector`.

    Parameters
    ----------
    %(prior)s
    %(prior_sign)s
    %(prior_rule)s
    n_components : int, default=6
        Number of Gaussians.
    neighbourhood : int, default=1
        Side in pixels of the square patch used as a sample; odd. 1: the pixel alone.
    covariance_type : {"full", "tied", "diag", "spherical"}, default="full"
        As in `sklearn.mixture.GaussianMixture`.
    reg_covar : float, default=1e-6
        Added to the diagonal of the covariances, in squared intensities.
    max_samples : int, default=100_000
        Number of brain pixels sampled to fit the mixture. None: all.
    n_init : int, default=1
        Number of k-means initialisations; the mixture with the highest likelihood is
        kept.
    max_iter : int, default=100
        Maximum number of EM iterations per initialisation. If the best one has not
        converged, a ConvergenceWarning is issued.
    %(contamination)s
    random_state : int, RandomState instance or None, default=None
        Controls the sample of pixels and the initialisations.

    Attributes
    ----------
    mixture_ : sklearn.mixture.GaussianMixture
        The mixture; features are ordered by row, column and contrast.
    n_iter_ : int
        Number of EM iterations of the best initialisation.
    %(axis_)s
    %(offset_)s
    %(background_score_)s
    %(n_features_in_)s
    %(contrasts_)s

    Notes
    -----
    The mixture of Kim et al. [1]_ also has 6 Gaussians, but for learned features and
    parameterised by a network; this one is fitted by expectation maximisation.

    With a prior, the score is the conditional log-density of the weighted sum of the
    contrasts, given the components of the pixel orthogonal to the axis. If the sign is
    known, it is the logarithm of the conditional probability that the sum of a normal
    pixel is at least as high. (Unconditionally it would be a function of the sum alone,
    and rank pixels as `IntensityDetector` does.) For a patch, the sum is averaged over
    its pixels. A learned axis uses deviations from the mean of the mixture.

    Neighbours in the background or outside the slice are 0. With 3 by 3 pixels of 4
    contrasts a full covariance has 666 parameters, so a larger `neighbourhood` needs many
    pixels or another `covariance_type`.

    References
    ----------
    .. [1] B. Kim, K. Kwon, C. Oh, H. Park. Unsupervised anomaly detection in MR images
       using multicontrast information. Medical Physics 48 (2021) 7346-7359.
       doi:10.1002/mp.15269

    Examples
    --------
    >>> from skadm import GaussianMixtureDetector
    >>> from skadm.data import make_phantom
    >>> stack = make_phantom(n_patients=2, n_slices=8, size=32, random_state=0)
    >>> detector = GaussianMixtureDetector(n_components=3, random_state=0)
    >>> detector.fit(stack, stack.y).mixture_.means_.shape
    (3, 4)
    """

    _tune = ("n_components", "neighbourhood")
    _good_at = "Unusual combinations of intensities in one pixel, in seconds."
    _presets = {
        "quick": {"max_samples": 2_000},
        # Fits in seconds; more pixels hardly change the mixture.
        "cpu": {"max_samples": 300_000},
        # All pixels of the normal slices, as for the paper's detectors; 6 Gaussians, as
        # in the paper, are the default.
        "paper": {"max_samples": None},
    }

    _parameter_constraints: dict[str, list[Any]] = {
        **PriorDetector._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "neighbourhood": [Interval(Integral, 1, None, closed="left")],
        "covariance_type": [StrOptions({"full", "tied", "diag", "spherical"})],
        "reg_covar": [Interval(Real, 0, None, closed="left")],
        "max_samples": [None, Interval(Integral, 1, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        prior: Prior = None,
        prior_sign: str = "known",
        prior_rule: str = "sum",
        n_components: int = 6,
        neighbourhood: int = 1,
        covariance_type: str = "full",
        reg_covar: float = 1e-6,
        max_samples: int | None = 100_000,
        n_init: int = 1,
        max_iter: int = 100,
        contamination: float = 0.01,
        random_state=None,
    ) -> None:
        super().__init__(contamination=contamination)
        self.prior = prior
        self.prior_sign = prior_sign
        self.prior_rule = prior_rule
        self.n_components = n_components
        self.neighbourhood = neighbourhood
        self.covariance_type = covariance_type
        self.reg_covar = reg_covar
        self.max_samples = max_samples
        self.n_init = n_init
        self.max_iter = max_iter
        self.random_state = random_state

    def _fit(self, X: np.ndarray) -> None:
        random_state = check_random_state(self.random_state)
        patches = draw_patches(X, self.neighbourhood, self.max_samples, random_state)
        least = max(2, self.n_components)
        if len(patches) < least:
            raise ValueError(
                f"n_components={self.n_components} needs at least {least} brain pixels; "
                f"got n_samples = {len(patches)}."
            )
        self.mixture_ = GaussianMixture(
            self.n_components,
            covariance_type=self.covariance_type,
            reg_covar=self.reg_covar,
            n_init=self.n_init,
            max_iter=self.max_iter,
            # An integer, so that the mixture keeps no reference to the user's generator.
            random_state=int(random_state.randint(np.iinfo(np.int32).max)),
        ).fit(patches)
        self.n_iter_ = self.mixture_.n_iter_

    def _check_learned(self) -> None:
        super()._check_learned()
        k, n_values = self.n_components, self.n_features_in_ * self.neighbourhood**2
        precisions: dict[str, tuple[int, ...]] = {
            "full": (k, n_values, n_values),
            "tied": (n_values, n_values),
            "diag": (k, n_values),
            "spherical": (k,),
        }
        check_arrays(
            self.mixture_,
            {
                "weights_": (k,),
                "means_": (k, n_values),
                "precisions_cholesky_": precisions[self.covariance_type],
            },
        )

    def _score(self, X: np.ndarray, brain: NDArray[np.bool_]) -> np.ndarray:
        return score_patches(X, brain, self.neighbourhood, self._normality_of_patches)

    def _deviations(self, X: np.ndarray) -> np.ndarray:
        mean = self.mixture_.weights_ @ self.mixture_.means_
        parts = [
            mean_of_patches(patches - mean, X.shape[1])
            for _, patches in iterate_patches(X, brain_mask(X), self.neighbourhood)
        ]
        return np.concatenate(parts)

    def _normality_of_patches(self, patches: np.ndarray) -> np.ndarray:
        if self.axis_ is None:
            return self.mixture_.score_samples(patches)
        if self.prior_rule == "sum":
            return self._normality_along(self.axis_, patches)
        # The contrast that changes least counts.
        axes = np.diag(self.axis_)[self.axis_ != 0]
        return np.max([self._normality_along(axis, patches) for axis in axes], axis=0)

    def _normality_along(self, axis: NDArray, patches: np.ndarray) -> np.ndarray:
        """Compute the log-probability of a more extreme change along an axis (K,)."""
        axis = np.tile(axis, self.neighbourhood**2)
        rest, distances, widths = _conditionals(self.mixture_, patches, axis)
        if self._sign_is_known:
            parts = log_ndtr(-distances)
        else:
            parts = -(distances**2 + np.log(2 * np.pi)) / 2 - np.log(widths)
        return logsumexp(rest + parts, axis=1) - logsumexp(rest, axis=1)


def _conditionals(
    mixture: GaussianMixture, samples: NDArray, axis: NDArray
) -> tuple[NDArray, NDArray, NDArray]:
    """Compute the conditional density of samples (n, d) along an axis under C Gaussians.

    The first result, (n, C), is the logarithm of the weight of a Gaussian times its
    density of the components orthogonal to the axis, up to a constant. The second, (n,
    C), is the distance of the sample from the conditional mean in conditional standard
    deviations; the third, (C,), contains these standard deviations.
    """
    n_features = samples.shape[1]
    axis = axis / np.linalg.norm(axis)
    rest, distances = np.empty((2, len(samples), mixture.n_components))
    widths = np.empty(mixture.n_components)
    for c in range(mixture.n_components):
        root = _root_of_precision(mixture, c, n_features)
        along = root @ (root.T @ axis)
        # Precision of the conditional distribution (Schur complement).
        widths[c] = (axis @ along) ** -0.5
        centred = samples - mixture.means_[c]
        distances[:, c] = centred @ along * widths[c]
        squares = ((centred @ root) ** 2).sum(axis=1)
        log_volume = np.log(np.diag(root)).sum() + np.log(widths[c])
        # The joint density without the conditional factor.
        rest[:, c] = (distances[:, c] ** 2 - squares) / 2 + log_volume
    with np.errstate(divide="ignore"):  # Gaussians of weight 0
        return rest + np.log(mixture.weights_), distances, widths


def _root_of_precision(
    mixture: GaussianMixture, component: int, n_features: int
) -> NDArray[np.float64]:
    """Return the triangular L (d, d) with L @ L.T equal to the inverse covariance."""
    roots = mixture.precisions_cholesky_
    root = roots if mixture.covariance_type == "tied" else roots[component]
    return root if np.ndim(root) == 2 else np.eye(n_features) * root
