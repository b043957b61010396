"""Ensemble of one detector with several seeds: mean and standard deviation."""

import warnings
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skadm._sklearn import Interval
from skadm._validation import check_arrays
from skadm.wrappers._meta_detector import MetaDetector, Train
from skadm.wrappers._reading import score_by_volume, score_maps


class EnsembleDetector(MetaDetector):
    """Train a detector with several seeds and average their maps.

    Networks with different initial weights and slice orders agree on clear anomalies and
    disagree on much of the rest (deep ensembles). The standard deviation of their maps
    shows how far a score depends on the seed.

    Parameters
    ----------
    detector : detector
        A detector of pixels with a `random_state`, possibly nested. It is cloned and
        trained `n_detectors` times.
    n_detectors : int, default=5
        Number of detectors, at least 2.
    %(contamination)s
    random_state : int, RandomState instance or None, default=None
        Controls the seeds of the detectors.

    Attributes
    ----------
    detectors_ : list of detector
        The fitted detectors.
    locations_, scales_ : ndarray of shape (n_detectors,)
        Mean and standard deviation of each detector's scores of the training pixels.
    %(offset_)s
    %(background_score_)s
    %(n_features_in_)s
    %(contrasts_)s

    See Also
    --------
    FlipAveragedDetector : Mean over a slice and its mirror image.

    Notes
    -----
    The scores of each detector are standardised by its training pixels, since
    log-densities of two trainings differ by a constant, and scores of GANs by a factor:
    normal pixels have mean 0. This choice is ours.

    The standard deviation only reflects the randomness of training, not errors that all
    members share, such as few patients, the same slices or the same blind spots.

    References
    ----------
    B. Lakshminarayanan, A. Pritzel, C. Blundell. Simple and scalable predictive uncertainty
    estimation using deep ensembles. NeurIPS 2017.

    Examples
    --------
    >>> from skadm import DAEDetector, EnsembleDetector
    >>> from skadm.data import make_phantom
    >>> stack = make_phantom(n_patients=2, n_slices=8, size=32, random_state=0)
    >>> member = DAEDetector(width=4, max_epochs=2)
    >>> detector = EnsembleDetector(member, n_detectors=3, random_state=0)
    >>> detector.fit(stack, stack.y).uncertainty(stack).shape
    (16, 32, 32)
    """

    _parameter_constraints: dict[str, list[Any]] = {
        **MetaDetector._parameter_constraints,
        "n_detectors": [Interval(Integral, 2, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        detector: Any,
        *,
        n_detectors: int = 5,
        contamination: float = 0.01,
        random_state: Any = None,
    ) -> None:
        self.detector = detector
        self.n_detectors = n_detectors
        self.contamination = contamination
        self.random_state = random_state

    def uncertainty(self, X: Any) -> NDArray[np.floating]:
        """Compute the disagreement of the detectors for every pixel.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices.

        Returns
        -------
        spread : ndarray of shape (n_slices, H, W)
            Standard deviation of the standardised scores of the detectors; 0 in the
            background.

        Raises
        ------
        ValueError
            If X does not match the training slices; see `score_samples`.
        """
        check_is_fitted(self)
        X = self._input(X)
        spread = np.empty(*self._shape_and_type(X))
        for places, some, _ in score_by_volume(self._spread, X):
            spread[places] = some
        return spread

    def _check(self) -> None:
        super()._check()
        if not any(map(_is_random_state, self.detector.get_params())):
            raise ValueError(
                f"{type(self.detector).__name__} has no random_state, so all detectors "
                "of the ensemble would be identical. Expected a detector with a "
                "random_state."
            )

    def _n_trainings(self) -> int:
        return self.n_detectors

    def _fit_parts(self, train: Train, X: Any, normal: NDArray[np.intp]) -> NDArray:
        random = check_random_state(self.random_state)
        self.detectors_: list[Any] = []
        for _ in range(self.n_detectors):
            member = clone(self.detector)
            member.set_params(**_random_states(member, random))
            self.detectors_.append(train(member))
        X, counted = self._images_for_threshold(X, normal)
        pixels = [
            maps[:, counted[places]][:, brain[counted[places]]]
            for places, maps, brain in score_by_volume(self._members, X)
        ]
        scores = np.concatenate(pixels, axis=1)
        self.locations_ = scores.mean(axis=1, dtype=np.float64)
        self.scales_ = scores.std(axis=1, dtype=np.float64)
        if not self.scales_.all():
            raise ValueError(
                f"a {type(self.detector).__name__} gives all training pixels the same "
                "score; expected scores with a standard deviation above 0."
            )
        if np.ptp(self.locations_) <= 1e-6 * self.scales_.min():
            warnings.warn(
                f"the seed has almost no effect on a {type(self.detector).__name__}: "
                "all detectors of the ensemble are identical.",
                UserWarning,
                stacklevel=2,
            )
        return _finite(self._standardized(scores).mean(axis=0), scores.dtype)

    def _check_loaded(self) -> None:
        n_members = (len(getattr(self, "detectors_", ())),)
        if n_members[0]:
            check_arrays(self, {"locations_": n_members, "scales_": n_members})

    def _members(self, X: Any, brain: NDArray[np.bool_]) -> NDArray:
        """Return the maps of each detector, (n_detectors, n_slices, H, W)."""
        return np.stack([score_maps(member, X) for member in self.detectors_])

    def _standardized(self, scores: NDArray) -> NDArray[np.float64]:
        """Standardise the scores of each detector by its training pixels."""
        shape = (-1,) + (1,) * (scores.ndim - 1)
        return (scores - self.locations_.reshape(shape)) / self.scales_.reshape(shape)

    def _maps(self, X: Any, brain: NDArray[np.bool_]) -> NDArray:
        scores = self._members(X, brain)
        return _finite(self._standardized(scores).mean(axis=0), scores.dtype)

    def _spread(self, X: Any, brain: NDArray[np.bool_]) -> NDArray:
        scores = self._members(X, brain)
        spread = self._standardized(scores).std(axis=0, ddof=1)
        return _finite(np.where(brain, spread, 0), scores.dtype)

    @property
    def _trained(self) -> Any:
        return self.detectors_[0]


def _finite(values: NDArray[np.float64], dtype: DTypeLike) -> NDArray:
    """Convert to another type, clipped to finite values."""
    limits = np.finfo(dtype)
    return np.clip(values, limits.min, limits.max).astype(dtype)


def _random_states(detector: Any, random: np.random.RandomState) -> dict[str, int]:
    """Draw a seed for each `random_state`, as in scikit-learn's ensembles."""
    names = [key for key in sorted(detector.get_params()) if _is_random_state(key)]
    return {name: random.randint(np.iinfo(np.int32).max) for name in names}


def _is_random_state(name: str) -> bool:
    return name.split("__")[-1] == "random_state"
