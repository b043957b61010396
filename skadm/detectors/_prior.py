"""What is known of lesions beforehand: which contrasts they change, and in which direction.

All detectors that take such a prior take it by the same two parameters, and add up the
contrasts along the same axis.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skadm._disk import release, row_chunks
from skadm._sklearn import StrOptions
from skadm._validation import check_arrays
from skadm.base import BaseDetector

Prior = Mapping[str | int, float] | Sequence[str | int] | str | None


class PriorDetector(BaseDetector):
    """Base of the detectors that can be told which contrasts lesions change.

    Such a detector computes for each pixel and contrast how far it deviates from what is
    normal, with a sign (`_deviations`), and scores the sum of these deviations weighted by
    `axis_`. What `_fit` learns must not depend on the axis, which may be learned after it.

    Parameters
    ----------
    prior : None, "learned", mapping or sequence, default=None
        Which contrasts lesions change. None: not known. A mapping: a weight for each of
        these contrasts, such as ``{"FLAIR": 1, "T2": 0.5}``, by name (X must then carry
        names, as a SliceStack does) or by index; a negative weight is for a contrast that
        lesions change in the opposite direction. A sequence of contrasts: each has
        weight 1. "learned": the weights are those along which the slices with an anomaly,
        which are left out of the training, differ most from the normal ones (contrastive
        PCA). `fit` then needs y, and uses of it only which slices these are.
    prior_sign : {"known", "unknown"}, default="known"
        Whether the direction of the change is known. "known": a pixel is an anomaly if its
        weighted sum of contrasts is too high (or, with negative weights, too low); of a
        learned `prior` the sign is learned too. "unknown": too low is as anomalous as too
        high, and only the ratios of the weights matter. Has no effect if `prior` is None.

    Attributes
    ----------
    axis_ : ndarray of shape (K,) or None
        Weight of each contrast, as stated by `prior` or learned. None without a prior.
    """

    _parameter_constraints: dict[str, list[Any]] = {
        **BaseDetector._parameter_constraints,
        "prior": [None, Mapping, list, tuple, StrOptions({"learned"})],
        "prior_sign": [StrOptions({"known", "unknown"})],
    }

    prior: Prior
    prior_sign: str
    axis_: NDArray[np.float64] | None

    def _deviations(self, X: NDArray) -> NDArray:
        """Signed deviations of the brain pixels of some slices, (n_pixels, K)."""
        raise NotImplementedError

    @property
    def _looks_at_abnormal(self) -> bool:
        return isinstance(self.prior, str)  # "learned"

    @property
    def _sign_is_known(self) -> bool:
        return self.prior_sign == "known"

    @property
    def _supervision(self) -> str:
        if self.prior is None:
            return "none"
        if self._looks_at_abnormal:
            return "slice labels"
        return "known direction" if self._sign_is_known else "known contrasts"

    def _fit_beside(self, X: NDArray, abnormal: Callable[[], NDArray] | None) -> None:
        self.axis_ = self._stated_axis(X.shape[1])
        slices = self._abnormal_slices(abnormal)
        self._fit(X)
        if slices is not None:
            self.axis_ = learned_axis(self._all_deviations(slices), self._all_deviations(X))

    def _check_learned(self) -> None:
        super()._check_learned()
        n_contrasts = self.n_features_in_
        stated = self._stated_axis(n_contrasts) is not None
        if stated or self._looks_at_abnormal:
            check_arrays(self, {"axis_": (n_contrasts,)})
        elif self.axis_ is not None:
            raise ValueError(f"a {type(self).__name__} without prior has an axis_.")

    def _all_deviations(self, X: NDArray) -> Iterator[NDArray]:
        for rows in row_chunks(len(X), X[:1].nbytes):
            yield self._deviations(X[rows])
            release(X)

    def _stated_axis(self, n_contrasts: int) -> NDArray[np.float64] | None:
        """Weight of each contrast; None if there is no prior or it is to be learned."""
        if self.prior is None or isinstance(self.prior, str):
            return None
        weights = contrast_weights(self.prior, n_contrasts, self.contrasts_)
        return weights if self._sign_is_known else weights / np.abs(weights).max()

    def _abnormal_slices(self, abnormal: Callable[[], NDArray] | None) -> NDArray | None:
        """Read the slices that the axis is learned from; None if it is not learned."""
        if not self._looks_at_abnormal:
            return None
        if abnormal is None:
            raise ValueError(
                "prior='learned' is learned from slices with an anomaly, and there are "
                "none: expected y with pixels of 1, to tell which slices these are. Or "
                "state the contrasts, as in prior={'FLAIR': 1}."
            )
        return abnormal()


def contrast_weights(
    prior: Mapping[str | int, float] | Sequence[str | int],
    n_contrasts: int,
    names: Sequence[str] | None,
) -> NDArray[np.float64]:
    """Weight of every contrast, (n_contrasts,), 0 where none is given.

    Contrasts are given by name or index, with their weights; 1 in a sequence. One that
    there is not, or that is given twice, a weight that is not finite, or none other than 0,
    is a ValueError.
    """
    pairs = prior.items() if isinstance(prior, Mapping) else [(name, 1.0) for name in prior]
    weights = np.zeros(n_contrasts)
    given: dict[int, str | int] = {}
    for contrast, weight in pairs:
        index = _index(contrast, n_contrasts, names)
        if index in given:
            raise ValueError(
                f"prior names one contrast twice, as {given[index]!r} and {contrast!r}."
            )
        try:
            weights[index] = weight
        except (TypeError, ValueError):
            weights[index] = np.nan
        if not np.isfinite(weights[index]):
            raise ValueError(
                f"prior gives contrast {contrast!r} the weight {weight!r}; expected a "
                "finite number."
            )
        given[index] = contrast
    if not weights.any():
        raise ValueError(
            f"prior={prior!r} leaves out every contrast; expected a weight other than 0 "
            "for at least one, or None."
        )
    return weights


def _index(contrast: str | int, n_contrasts: int, names: Sequence[str] | None) -> int:
    if isinstance(contrast, str):
        if names is None:
            raise ValueError(
                f"prior names the contrast {contrast!r}, but X is a bare array without "
                "names: give indices, or a SliceStack."
            )
        if contrast not in names:
            raise ValueError(
                f"prior names the contrast {contrast!r}; X has {tuple(names)}."
            )
        return list(names).index(contrast)
    if contrast not in range(n_contrasts):
        raise ValueError(
            f"prior names the contrast {contrast!r}; expected a name or an index from 0 to "
            f"{n_contrasts - 1}."
        )
    return int(contrast)


def learned_axis(
    abnormal: Iterable[NDArray], normal: Iterable[NDArray], least_ratio: float = 1.0
) -> NDArray[np.float64]:
    """Axis, (K,), along which abnormal slices differ most from normal ones.

    The first component of contrastive PCA (Abid et al. 2018, Nature Communications 9:2134)
    with α = 1: the leading eigenvector of the difference of the second moments. It points
    to where abnormal slices have the heavier tail, by their third moment; its largest
    weight is 1 or -1. Most of an abnormal slice is normal as well, and cancels. Both kinds
    are batches of deviations of brain pixels, (n_pixels, K). There is a warning if the mean
    squared deviation of abnormal slices along the axis, relative to that of normal ones, is
    at most `least_ratio`.
    """
    second, third = _moments(abnormal)
    normal_second, normal_third = _moments(normal)
    axis = np.linalg.eigh(second - normal_second)[1][:, -1]
    ratio = (axis @ second @ axis) / max(axis @ normal_second @ axis, np.finfo(float).tiny)
    if ratio <= least_ratio:
        warnings.warn(
            f"prior='learned' is unreliable here: along the axis that was learned, "
            f"abnormal slices vary {ratio:.2f} times as much as normal ones; expected "
            f"more than {least_ratio:g} times. Lesions may be too small: state the prior, "
            "such as {'DWI': 1, 'ADC': -0.5}, or set prior=None.",
            UserWarning,
            stacklevel=2,
        )
    skewness = np.einsum("ijk,i,j,k", third - normal_third, axis, axis, axis)
    return np.copysign(1 / np.abs(axis).max(), skewness) * axis


def _moments(pixels: Iterable[NDArray]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Second and third moments about 0, (K, K) and (K, K, K), collected batch by batch."""
    n_pixels, second, third = 0, np.zeros(()), np.zeros(())
    for batch in pixels:
        n_pixels += len(batch)
        n_contrasts = batch.shape[1]
        for rows in row_chunks(len(batch), 8 * n_contrasts**2):
            values = batch[rows].astype(np.float64)
            products = (values[:, :, None] * values[:, None, :]).reshape(len(values), -1)
            second = second + products.sum(axis=0)
            third = third + products.T @ values
    shape = (n_contrasts, n_contrasts)
    return second.reshape(shape) / n_pixels, third.reshape(*shape, -1) / n_pixels
