"""A Gaussian mixture of pixel intensities."""

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.mixture import GaussianMixture
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from skadm._validation import check_arrays
from skadm.base import BaseDetector
from skadm.detectors._patches import draw_patches, score_patches


class GaussianMixtureDetector(BaseDetector):
    """Intensities that are rare under a Gaussian mixture of normal ones.

    The mixture is one of the contrasts of a brain pixel, or of the pixel and its
    neighbours; no network makes features of them first. Its log-likelihood is the score.
    This tells what the networks of a deep detector with a mixture, such as `ADMDetector`,
    are good for.

    Parameters
    ----------
    n_components : int, default=6
        Number of Gaussians.
    neighbourhood : int, default=1
        Side of the square of pixels that is one sample; odd. 1: the pixel alone.
    covariance_type : {"full", "tied", "diag", "spherical"}, default="full"
        As in `sklearn.mixture.GaussianMixture`.
    reg_covar : float, default=1e-6
        Added to the diagonal of the covariances, in squared intensities.
    max_samples : int, default=100_000
        Brain pixels drawn to fit the mixture to. None: all.
    n_init : int, default=1
        Number of starts, each from another k-means; the likeliest mixture is kept.
    max_iter : int, default=100
        Most steps of expectation maximisation after each start. If the best start has not
        converged by then, there is a ConvergenceWarning.
    contamination : float, default=0.01
        Fraction of the training pixels that `predict` calls anomalous; sets `offset_`.
    random_state : int, RandomState instance or None, default=None
        Draws the pixels and the starts.

    Attributes
    ----------
    mixture_ : sklearn.mixture.GaussianMixture
        The mixture; features are ordered by row, column and contrast.
    n_iter_ : int
        Steps that the best start took.
    offset_ : float
        Threshold of `predict` on the scale of `score_samples`.
    background_score_ : float
        Score of every background pixel.
    n_features_in_ : int
        K, the number of contrasts.
    contrasts_ : tuple of str or None
        Their names, if X carried them.

    Notes
    -----
    The mixture of Kim et al. [1]_ has 6 Gaussians too, but of learned features, and is
    given by a network; this one is fitted by expectation maximisation.

    Neighbours in the background, or outside of the slice, are 0. With 3 by 3 pixels of 4
    contrasts a full covariance has 666 values, so give a larger `neighbourhood` enough
    pixels, or another `covariance_type`.

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

    _parameter_constraints: dict[str, list[Any]] = {
        **BaseDetector._parameter_constraints,
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
                f"n_components={self.n_components} needs at least {least} brain pixels to "
                f"be fitted to; got n_samples = {len(patches)}."
            )
        self.mixture_ = GaussianMixture(
            self.n_components,
            covariance_type=self.covariance_type,
            reg_covar=self.reg_covar,
            n_init=self.n_init,
            max_iter=self.max_iter,
            # A number, so that the mixture does not keep a generator of the user's.
            random_state=int(random_state.randint(np.iinfo(np.int32).max)),
        ).fit(patches)
        self.n_iter_ = self.mixture_.n_iter_

    def _check_learned(self) -> None:
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

    def _score(self, X: np.ndarray) -> np.ndarray:
        return score_patches(X, self.neighbourhood, self.mixture_.score_samples)
