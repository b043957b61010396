"""Priors on lesions: the contrasts that they change, and the direction.

All detectors with a prior have the same three parameters, and combine the contrasts in
the same way.
"""

import operator
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skadm._disk import release, row_chunks
from skadm._sklearn import StrOptions
from skadm._validation import check_arrays
from skadm.base import BaseDetector

Prior = Mapping[str | int, float] | Sequence[str | int] | str | None


class PriorDetector(BaseDetector):
    """Base class of the detectors with a prior on the contrasts that lesions change.

    Such a detector computes a signed deviation from normal for each pixel and contrast
    (`_deviations`), and scores the deviations weighted by `axis_` and combined by
    `prior_rule`. `_fit` must not depend on the axis, which may be learned afterwards.

    Parameters
    ----------
    prior : None, "learned", mapping or sequence, default=None
        Contrasts that lesions change. None: unknown. A mapping: weights of contrasts,
        such as ``{"FLAIR": 1, "T2": 0.5}``, by name (X must then have names, as a
        SliceStack) or by index; a negative weight means a change in the opposite
        direction. A sequence of contrasts: weight 1 each. "learned": the weights along
        which slices with an anomaly, which are excluded from training, differ most from
        normal slices (contrastive PCA). `fit` then needs y, but uses only slice-level
        labels.
    prior_sign : {"known", "unknown"}, default="known"
        Whether the direction of the change is known. "known": a pixel is an anomaly if
        its weighted sum of contrasts is too high (or, with negative weights, too low);
        for a learned `prior` the sign is learned too. "unknown": too low is as anomalous
        as too high, and only the ratios of the weights matter. Has no effect if `prior`
        is None.
    prior_rule : {"sum", "all"}, default="sum"
        How the weighted contrasts are combined. "sum": a pixel is an anomaly if their sum
        is high, so that one very bright contrast suffices. "all": a pixel is an anomaly
        only if every contrast of the prior changes in its direction; the contrast that
        changes least counts. An acute stroke is bright on DWI and dark on ADC, while
        artefacts are bright on DWI only: ``prior={"DWI": 1, "ADC": -1},
        prior_rule="all"``. "all" needs contrasts in `prior`, with a known sign.

    Attributes
    ----------
    axis_ : ndarray of shape (K,) or None
        Weight of each contrast, given by `prior` or learned. None without a prior.
    """

    _parameter_constraints: dict[str, list[Any]] = {
        **BaseDetector._parameter_constraints,
        "prior": [None, Mapping, list, tuple, StrOptions({"learned"})],
        "prior_sign": [StrOptions({"known", "unknown"})],
        "prior_rule": [StrOptions({"sum", "all"})],
    }

    prior: Prior
    prior_sign: str
    prior_rule: str
    axis_: NDArray[np.float64] | None

    def _deviations(self, X: NDArray) -> NDArray:
        """Return signed deviations of the brain pixels of some slices, (n_pixels, K)."""
        raise NotImplementedError

    @property
    def _learns_axis(self) -> bool:
        return isinstance(self.prior, str)  # "learned"

    @property
    def _uses_abnormal_slices(self) -> bool:
        return self._learns_axis

    @property
    def _sign_is_known(self) -> bool:
        return self.prior_sign == "known"

    @property
    def _has_direction(self) -> bool:
        return self.prior is not None and self._sign_is_known

    @property
    def _supervision(self) -> str:
        if self.prior is None or self._learns_axis:
            return super()._supervision
        return "known direction" if self._sign_is_known else "known contrasts"

    def _fit_with_abnormal(
        self, X: NDArray, abnormal: Callable[[], NDArray] | None
    ) -> None:
        self.axis_ = self._stated_axis(X.shape[1])
        slices = self._abnormal_slices(abnormal)
        self._fit(X)
        if slices is not None:
            self.axis_ = learned_axis(self._all_deviations(slices), self._all_deviations(X))

    def _check_learned(self) -> None:
        super()._check_learned()
        n_contrasts = self.n_features_in_
        stated = self._stated_axis(n_contrasts) is not None
        if stated or self._learns_axis:
            check_arrays(self, {"axis_": (n_contrasts,)})
        elif self.axis_ is not None:
            raise ValueError(
                f"axis_ of a {type(self).__name__} is an array; expected None, since "
                "prior is None."
            )

    def _all_deviations(self, X: NDArray) -> Iterator[NDArray]:
        for rows in row_chunks(len(X), X[:1].nbytes):
            yield self._deviations(X[rows])
            release(X)

    def _stated_axis(self, n_contrasts: int) -> NDArray[np.float64] | None:
        """Return the weights of the contrasts; None for no prior or a learned prior."""
        stated = self.prior is not None and not isinstance(self.prior, str)
        if self.prior_rule == "all" and not (stated and self._sign_is_known):
            raise self._without_direction("prior_rule='all'", {"DWI": 1, "ADC": -1})
        if not stated:
            return None
        assert self.prior is not None
        weights = contrast_weights(self.prior, n_contrasts, self.contrasts_)
        return weights if self._sign_is_known else weights / np.abs(weights).max()

    def _without_direction(self, what: str, example: Mapping[str, float]) -> ValueError:
        return ValueError(
            f"{what} needs the contrasts that lesions change and the direction, but "
            f"prior={self.prior!r} and prior_sign={self.prior_sign!r}; state a prior such "
            f"as {example!r} with prior_sign='known'."
        )

    def _combined(self, contrasts: Iterable[Any]) -> Any:
        """Weight the deviations of each contrast and combine them by `prior_rule`.

        Takes one array or tensor for each contrast.
        """
        assert self.axis_ is not None
        weighted = [
            float(weight) * deviation
            for weight, deviation in zip(self.axis_, contrasts, strict=True)
            if weight
        ]
        return reduce(operator.add if self.prior_rule == "sum" else _lower, weighted)

    def _abnormal_slices(self, abnormal: Callable[[], NDArray] | None) -> NDArray | None:
        """Read the slices with an anomaly, if `fit` uses them."""
        if not self._uses_abnormal_slices:
            return None
        if abnormal is None:
            needs, instead = (
                ("prior='learned'", "name the contrasts, as in prior={'FLAIR': 1}")
                if self._learns_axis
                else ("self-training", "set self_training_epochs=0")
            )
            raise ValueError(
                f"{needs} needs slices with an anomaly, but there are none; expected y "
                f"with pixels of 1. Alternatively {instead}."
            )
        return abnormal()


def _lower(values: Any, others: Any) -> Any:
    """Take the minimum of two arrays or two tensors, element by element."""
    return values.clip(max=others)


def contrast_weights(
    prior: Mapping[str | int, float] | Sequence[str | int],
    n_contrasts: int,
    names: Sequence[str] | None,
) -> NDArray[np.float64]:
    """Return the weight of every contrast, (n_contrasts,), 0 if not given.

    `prior` maps names or indices to weights, or is a sequence with weights 1. Raises a
    ValueError for unknown or duplicate contrasts, non-finite weights, or weights that are
    all 0.
    """
    pairs = prior.items() if isinstance(prior, Mapping) else [(name, 1.0) for name in prior]
    weights = np.zeros(n_contrasts)
    given: dict[int, str | int] = {}
    for contrast, weight in pairs:
        index = _index(contrast, n_contrasts, names)
        if index in given:
            raise ValueError(
                f"prior names one contrast twice, as {given[index]!r} and {contrast!r}; "
                "expected each contrast once."
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
            f"prior={prior!r} has no nonzero weight; expected at least one, or None."
        )
    return weights


def _index(contrast: str | int, n_contrasts: int, names: Sequence[str] | None) -> int:
    if isinstance(contrast, str):
        if names is None:
            raise ValueError(
                f"prior names the contrast {contrast!r}, but X is an array without "
                "names. Use indices, or pass a SliceStack."
            )
        if contrast not in names:
            raise ValueError(
                f"prior names the contrast {contrast!r}; expected one of {tuple(names)}."
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
    """Return the axis (K,) along which abnormal slices differ most from normal ones.

    The first component of contrastive PCA (Abid et al. 2018, Nature Communications 9:2134)
    with α = 1: the leading eigenvector of the difference of the second moments. It points
    in the direction of the heavier tail of abnormal slices (third moment); its largest
    weight is 1 or -1. Most of an abnormal slice is normal and cancels. Both arguments are
    batches of deviations of brain pixels, (n_pixels, K). Warns if the mean squared
    deviation of abnormal slices along the axis, relative to that of normal ones, is at most
    `least_ratio`.
    """
    second, third = _moments(abnormal)
    normal_second, normal_third = _moments(normal)
    axis = np.linalg.eigh(second - normal_second)[1][:, -1]
    ratio = (axis @ second @ axis) / max(axis @ normal_second @ axis, np.finfo(float).tiny)
    if ratio <= least_ratio:
        warnings.warn(
            "prior='learned' is unreliable here: along the learned axis, abnormal "
            f"slices vary {ratio:.2f} times as much as normal ones; expected more than "
            f"{least_ratio:g} times. Lesions may be too small: name contrasts in prior, "
            "such as {'DWI': 1, 'ADC': -1}, or set prior=None.",
            UserWarning,
            stacklevel=2,
        )
    skewness = np.einsum("ijk,i,j,k", third - normal_third, axis, axis, axis)
    return np.copysign(1 / np.abs(axis).max(), skewness) * axis


def _moments(pixels: Iterable[NDArray]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Accumulate second and third moments about 0, (K, K) and (K, K, K), by batch."""
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
