"""Reconstruction error of principal component analysis of patches."""

from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.utils import check_random_state

from skadm._brain import brain_mask
from skadm._sklearn import Interval
from skadm._validation import check_arrays
from skadm.detectors._patches import (
    draw_patches,
    iterate_patches,
    mean_of_patches,
    score_patches,
)
from skadm.detectors._prior import Prior, PriorDetector


class PCADetector(PriorDetector):
    """Reconstruction error of patches by the principal components of normal patches.

    A patch is a brain pixel with its in-plane neighbours, in all contrasts. The anomaly
    score of its central pixel is the squared reconstruction error, averaged over the
    patch.

    Parameters
    ----------
    %(prior)s
    %(prior_sign)s
    %(prior_rule)s
    n_components : int or float, default=1
        Number of principal components, or, in (0, 1), the fraction of variance to
        explain. At least one component with variance is always excluded: see Notes.
    neighbourhood : int, default=1
        Side of the patch, in pixels; odd. 1: the pixel alone.
    max_samples : int, default=100_000
        Number of brain pixels sampled to fit the components. None: all. Their patches are
        held in memory, 8 bytes per value: 80 MB for 5 × 5 patches of 4 contrasts.
    %(contamination)s
    random_state : int, RandomState instance or None, default=None
        Controls the sample of pixels.

    Attributes
    ----------
    pca_ : sklearn.decomposition.PCA
        Mean and components; features are ordered by row, column and contrast.
    %(axis_)s
    %(offset_)s
    %(background_score_)s
    %(n_features_in_)s
    %(contrasts_)s

    Notes
    -----
    Kim et al. [1]_ name robust principal component analysis ([2]_, [3]_) as a typical
    reconstruction-based method. This is plain PCA: the components are fitted to normal
    slices, so no robustness against anomalies is needed.

    All components together reconstruct every training patch, with error 0. So if
    `n_components` includes all components with variance, the last one is excluded. For a
    single contrast without neighbours, no component remains, and the score is the squared
    distance from the mean.

    Components of patches reconstruct smooth regions of any intensity, but not edges and
    texture. A bright but smooth lesion is detected better with few components and
    ``neighbourhood=1``, which uses only the relation between contrasts. Hence the
    defaults.

    With a prior, the anomaly is the weighted sum of the *signed* errors instead, averaged
    over the patch, or its absolute value if the sign is unknown.

    Neighbours in the background or outside the slice are 0, so the components also model
    the border of the brain.

    Not stated in the paper and chosen here: patches and their size, the fraction of
    variance, the mean over the values of a patch.

    References
    ----------
    .. [1] B. Kim, K. Kwon, C. Oh, H. Park. Unsupervised anomaly detection in MR images
       using multicontrast information. Medical Physics 48 (2021) 7346-7359.
       doi:10.1002/mp.15269
    .. [2] E. J. Candès, X. Li, Y. Ma, J. Wright. Robust principal component analysis?
       Journal of the ACM 58 (2011) 11.
    .. [3] H. Xu, C. Caramanis, S. Sanghavi. Robust PCA via outlier pursuit. IEEE
       Transactions on Information Theory 58 (2012) 3047-3064.

    Examples
    --------
    >>> from skadm import PCADetector
    >>> from skadm.data import make_phantom
    >>> stack = make_phantom(n_patients=2, n_slices=8, size=32, random_state=0)
    >>> detector = PCADetector(n_components=10, neighbourhood=3, random_state=0)
    >>> detector.fit(stack, stack.y).pca_.components_.shape
    (10, 36)
    """

    _tune = ("n_components", "neighbourhood")
    _good_at = "Contrasts that break their linear relation, in seconds."
    _presets = {
        "quick": {"max_samples": 2_000},
        # Fits in seconds, in less than 100 MB.
        "cpu": {"max_samples": 100_000},
        # All pixels. With 5 × 5 patches of 4 contrasts, 800 bytes each.
        "paper": {"max_samples": None},
    }

    _parameter_constraints: dict[str, list[Any]] = {
        **PriorDetector._parameter_constraints,
        "n_components": [
            Interval(Integral, 1, None, closed="left"),
            Interval(Real, 0, 1, closed="neither"),
        ],
        "neighbourhood": [Interval(Integral, 1, None, closed="left")],
        "max_samples": [None, Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        prior: Prior = None,
        prior_sign: str = "known",
        prior_rule: str = "sum",
        n_components: int | float = 1,
        neighbourhood: int = 1,
        max_samples: int | None = 100_000,
        contamination: float = 0.01,
        random_state=None,
    ) -> None:
        super().__init__(contamination=contamination)
        self.prior = prior
        self.prior_sign = prior_sign
        self.prior_rule = prior_rule
        self.n_components = n_components
        self.neighbourhood = neighbourhood
        self.max_samples = max_samples
        self.random_state = random_state

    def _fit(self, X: np.ndarray) -> None:
        patches = draw_patches(
            X,
            self.neighbourhood,
            self.max_samples,
            check_random_state(self.random_state),
        )
        if len(patches) < 2:
            raise ValueError(
                "principal components need at least 2 brain pixels; got n_samples = 1."
            )
        # Identical patches have variance 0.
        with np.errstate(invalid="ignore"):
            complete = _pca().fit(patches)
            n_components = self._resolve_n_components(complete)
            self.pca_ = _pca(n_components).fit(patches)

    def _check_learned(self) -> None:
        super()._check_learned()
        n_values = self.n_features_in_ * self.neighbourhood**2
        check_arrays(self.pca_, {"mean_": (n_values,), "components_": (None, n_values)})

    def _resolve_n_components(self, complete: PCA) -> int:
        """Return the number of components to keep."""
        variances = complete.explained_variance_
        # Variance below float32 rounding counts as 0, e.g. for a contrast that is a
        # multiple of another one, or neighbours that are background in all patches.
        noise = np.finfo(np.float32).eps ** 2
        size = variances.sum() + (complete.mean_**2).sum()
        most = max(0, int((variances > noise * size).sum()) - 1)
        if isinstance(self.n_components, Integral) or most == 0:
            return min(int(self.n_components), most)
        explained = np.cumsum(variances) / variances.sum()
        enough = int(np.searchsorted(explained, self.n_components, side="right")) + 1
        return min(enough, most)

    def _score(self, X: np.ndarray, brain: NDArray[np.bool_]) -> np.ndarray:
        return score_patches(X, brain, self.neighbourhood, self._normality_of_patches)

    def _normality_of_patches(self, patches: np.ndarray) -> np.ndarray:
        errors = self._errors(patches)
        if self.axis_ is None:
            return -np.square(errors, out=errors).mean(axis=1)
        change = self._combined(mean_of_patches(errors, len(self.axis_)).T)
        return -change if self._sign_is_known else -np.abs(change)

    def _deviations(self, X: np.ndarray) -> np.ndarray:
        parts = [
            mean_of_patches(self._errors(patches), X.shape[1])
            for _, patches in iterate_patches(X, brain_mask(X), self.neighbourhood)
        ]
        return np.concatenate(parts)

    def _errors(self, patches: np.ndarray) -> np.ndarray:
        """Compute reconstruction errors, in place of the patches."""
        # `transform` and `inverse_transform` do not accept 0 components, and ‖x‖² - ‖Vx‖²
        # loses all digits for small errors.
        patches -= self.pca_.mean_
        components = self.pca_.components_
        patches -= (patches @ components.T) @ components
        return patches


def _pca(n_components: int | None = None) -> PCA:
    # There are far more patches than features: use the covariance.
    return PCA(n_components, svd_solver="covariance_eigh")
