"""Pooling of the map of a slice or volume to one score."""

from abc import ABC, abstractmethod
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import generate_binary_structure, label
from sklearn.base import BaseEstimator

from skadm._arrays import as_numbers
from skadm._sklearn import Interval, validate_parameter_constraints

__all__ = ["LargestComponent", "Pooling", "Quantile", "TopKMean"]


class Pooling(BaseEstimator, ABC):
    """Base class of the poolings.

    A pooling implements `_pool(decision, brain)`. It is an estimator only so that its
    parameters, such as ``pooling__q``, can be searched; it is stateless.
    """

    _parameter_constraints: dict[str, list[Any]] = {}

    @abstractmethod
    def _pool(self, decision: NDArray[np.float64], brain: NDArray[np.bool_]) -> float:
        """Return the normality of a slice (H, W) or volume (n_slices, H, W) with brain."""

    def check(self) -> None:
        """Check the parameters.

        Raises
        ------
        ValueError
            If a parameter has an invalid value or type.
        """
        validate_parameter_constraints(
            self._parameter_constraints,
            self.get_params(deep=False),
            caller_name=type(self).__name__,
        )

    def __call__(self, decision: ArrayLike, brain: ArrayLike) -> float:
        """Compute the normality of one slice or volume.

        Parameters
        ----------
        decision : array-like of shape (H, W) or (n_slices, H, W)
            Normality of every pixel relative to the threshold, as `decision_function`
            returns it: higher is more normal, negative is an anomaly. Slices of a volume
            are in order.
        brain : array-like of bool, of the same shape
            The brain; other pixels are ignored.

        Returns
        -------
        normality : float
            Higher is more normal.

        Raises
        ------
        ValueError
            If a parameter is out of range, the shapes do not match, there is no brain
            pixel, or the result is not finite.
        """
        self.check()
        # float64, since differences of very large scores overflow in float32.
        maps = as_numbers(decision, "decision").astype(np.float64, copy=False)
        inside = as_numbers(brain, "brain") != 0
        if maps.shape != inside.shape or maps.ndim not in (2, 3):
            raise ValueError(
                f"decision has shape {maps.shape} and brain {inside.shape}; expected "
                "equal shapes, (H, W) for a slice or (n_slices, H, W) for a volume."
            )
        if not inside.any():
            raise ValueError("brain has no pixel; expected at least one to pool.")
        if np.isnan(maps[inside]).any():
            raise ValueError("decision holds NaN in the brain; expected numbers.")
        normality = float(self._pool(maps, inside))
        if not np.isfinite(normality):
            raise ValueError(f"{self} returned {normality}; expected a finite number.")
        return normality


class Quantile(Pooling):
    """A low quantile of the normality of the brain pixels.

    It is sensitive to anomalies that fill more than the fraction `q` of the brain, in any
    arrangement, and not to smaller ones.

    Parameters
    ----------
    q : float, default=0.01
        Level of the quantile in [0, 1], with linear interpolation. 0 is the least normal
        pixel.

    Examples
    --------
    >>> import numpy as np
    >>> from skadm.pooling import Quantile
    >>> decision = np.array([[-3.0, 1.0, 2.0], [4.0, 5.0, -9.0]])
    >>> brain = np.array([[True, True, True], [True, True, False]])
    >>> Quantile(q=0.25)(decision, brain)
    1.0
    """

    _parameter_constraints = {"q": [Interval(Real, 0, 1, closed="both")]}

    def __init__(self, q: float = 0.01) -> None:
        self.q = q

    def _pool(self, decision: NDArray[np.float64], brain: NDArray[np.bool_]) -> float:
        return float(np.quantile(decision[brain], self.q))


class TopKMean(Pooling):
    """Mean normality of the k least normal brain pixels.

    Like `Quantile`, but for a number of pixels instead of a fraction of the brain: the
    weight of a lesion does not depend on the amount of brain in the slice.

    Parameters
    ----------
    k : int, default=100
        Number of pixels (voxels of a volume). If there are fewer, all are used.

    Examples
    --------
    >>> import numpy as np
    >>> from skadm.pooling import TopKMean
    >>> decision = np.array([[-3.0, 1.0, 2.0], [4.0, 5.0, -9.0]])
    >>> brain = np.array([[True, True, True], [True, True, False]])
    >>> TopKMean(k=2)(decision, brain)
    -1.0
    """

    _parameter_constraints = {"k": [Interval(Integral, 1, None, closed="left")]}

    def __init__(self, k: int = 100) -> None:
        self.k = k

    def _pool(self, decision: NDArray[np.float64], brain: NDArray[np.bool_]) -> float:
        values = decision[brain]
        k = min(self.k, values.size)
        return float(np.partition(values, k - 1)[:k].mean())


class LargestComponent(Pooling):
    """Negative size of the largest connected region of anomalous pixels.

    Lesions are connected, false positives rarely are. A pixel is anomalous if the
    decision is negative, i.e. below the threshold of the detector, so search its
    `contamination` together with this pooling.

    Parameters
    ----------
    connectivity : int, default=1
        Pixels are neighbours if they differ by 1 along at most this number of axes: 1 for
        shared sides (4 neighbours in a slice, 6 in a volume), 2 for corners too (8, and
        18 in a volume), 3 for the corners of voxels (26; the same as 2 in a slice).

    Notes
    -----
    There is no minimum size: it would only create ties among small regions, and the
    `contamination` of the slice or volume detector determines which sizes are anomalous.

    Examples
    --------
    >>> import numpy as np
    >>> from skadm.pooling import LargestComponent
    >>> decision = np.array([[-3.0, 1.0, 2.0], [1.0, -2.0, -1.0]])
    >>> LargestComponent()(decision, np.ones((2, 3), bool))
    -2.0
    >>> LargestComponent(connectivity=2)(decision, np.ones((2, 3), bool))
    -3.0
    """

    _parameter_constraints = {"connectivity": [Interval(Integral, 1, 3, closed="both")]}

    def __init__(self, connectivity: int = 1) -> None:
        self.connectivity = connectivity

    def _pool(self, decision: NDArray[np.float64], brain: NDArray[np.bool_]) -> float:
        neighbours = generate_binary_structure(decision.ndim, self.connectivity)
        regions, n_regions = label(brain & (decision < 0), structure=neighbours)
        if not n_regions:
            return 0.0
        return -float(np.bincount(regions.ravel())[1:].max())
