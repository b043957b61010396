"""Intervals over patients: what would other patients have given?"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state

from skadm._arrays import as_numbers
from skadm.evaluation._tables import Row

# Of the curve on which AP and best Dice are computed.
_N_THRESHOLDS = 2000


def bootstrap_patients(
    y: ArrayLike,
    scores: Mapping[str, ArrayLike | Sequence[ArrayLike]],
    groups: ArrayLike,
    *,
    thresholds: Mapping[str, float | Sequence[float]] | None = None,
    reference: str = "ADM",
    metrics: Sequence[str] = ("auc", "ap"),
    n_resamples: int = 2000,
    confidence: float = 0.95,
    random_state=0,
) -> list[Row]:
    """Compute intervals of metrics, and of their differences, over patients.

    Patients are drawn with replacement, all pixels of a patient together, and the same
    patients for all methods. Pixels of one brain are no independent observations: one
    lesion gives thousands of them, and one unusual brain raises all its scores. Drawing
    pixels would give intervals as if each were a patient, far too narrow.

    Parameters
    ----------
    y : array-like of shape (n_slices, H, W)
        Labels: 0 normal, 1 anomaly, -1 ignored.
    scores : mapping of str to array-like, or to list of array-like
        For each method normality maps of the shape of y; or a list of such, one for each
        seed: the metric is then the mean over seeds.
    groups : array-like of shape (n_slices,)
        Patient of each slice.
    thresholds : mapping of str to float, or to list of float, default=None
        For each method (and seed) the threshold, set beforehand: gives the metric "f1",
        too.
    reference : str, default="ADM"
        Method that differences are taken to.
    metrics : sequence of {"auc", "ap", "dice"}, default=("auc", "ap")
        Of pooled pixels: ROC AUC, average precision, best possible Dice.
    n_resamples : int, default=2000
        Draws.
    confidence : float, default=0.95
        Of the intervals, between its percentiles.
    random_state : int, RandomState instance or None, default=0
        Draws the patients.

    Returns
    -------
    list of dict
        For each method and metric: method, metric, estimate, low, high, difference (to the
        reference), difference_low, difference_high, n_patients (with any evaluated pixel)
        and n_with_anomaly. Differences of the reference are NaN. A draw without any
        anomalous, or without any normal pixel is left out.

    Raises
    ------
    ValueError
        If shapes do not fit, a metric or the reference is not known, or fewer than two
        patients have an anomaly.

    Warns
    -----
    UserWarning
        If fewer than six patients have an anomaly: the bootstrap's intervals are then too
        narrow to be relied on.

    Notes
    -----
    Pixels are ranked once. The AUC of a draw is exact, from the number of pairs in the
    right order for each pair of patients. AP and Dice come from the counts of each patient
    at 2000 thresholds, evenly spread over the anomalous pixels, which is exact if there
    are fewer of these.
    """
    labels, patients = as_numbers(y, "y"), np.asarray(groups)
    if patients.shape != labels.shape[:1]:
        raise ValueError(
            f"groups have shape {patients.shape} and y has shape {labels.shape}; expected "
            "one patient for each slice."
        )
    unknown = set(metrics) - set(_STATISTICS)
    if unknown or reference not in scores:
        raise ValueError(
            f"metrics {sorted(unknown)} are not known; expected some of "
            f"{sorted(_STATISTICS)}."
            if unknown
            else f"no scores of {reference!r}; there are scores of {list(scores)}."
        )
    names = [
        name
        for name in dict.fromkeys(patients.tolist())
        if (labels[patients == name] >= 0).any()
    ]
    of_patient = [patients == name for name in names]
    n_with_anomaly = sum(bool((labels[own] == 1).any()) for own in of_patient)
    if n_with_anomaly < 2:
        raise ValueError(
            f"{n_with_anomaly} of {len(names)} patients have an anomaly; expected at least "
            "2 to draw from."
        )
    if n_with_anomaly < 6:
        warnings.warn(
            f"only {n_with_anomaly} patients have an anomaly: intervals are too narrow to "
            "be relied on",
            UserWarning,
            stacklevel=2,
        )
    draws = check_random_state(random_state).multinomial(
        len(names), np.full(len(names), 1 / len(names)), size=n_resamples
    )
    # The first "draw" is the patients as they are.
    weights = np.vstack([np.ones(len(names)), draws]).astype(np.float64)

    found: dict[tuple[str, str], NDArray] = {}
    for method, maps in scores.items():
        seeds = [as_numbers(each, "scores") for each in _listed(maps, labels.ndim)]
        limits = None if thresholds is None else np.atleast_1d(thresholds[method])
        for number, values in enumerate(seeds):
            if values.shape != labels.shape:
                raise ValueError(
                    f"the scores of {method!r} have shape {values.shape}; expected "
                    f"{labels.shape}, that of y."
                )
            parted = [
                (values[own][labels[own] == 1], values[own][labels[own] == 0])
                for own in of_patient
            ]
            for metric in metrics:
                value = _STATISTICS[metric](parted, weights)
                key = (method, metric)
                found[key] = found.get(key, 0) + value / len(seeds)
            if limits is not None:
                value = _f1(parted, weights, float(limits[number]))
                found[method, "f1"] = found.get((method, "f1"), 0) + value / len(seeds)
    tail = (1 - confidence) / 2
    rows = []
    for (method, metric), values in found.items():
        difference = values - found[reference, metric]
        low, high = np.nanquantile(values[1:], [tail, 1 - tail])
        row: dict[str, Any] = {"method": method, "metric": metric, "estimate": values[0]}
        row |= {"low": low, "high": high}
        row |= dict.fromkeys(("difference", "difference_low", "difference_high"), np.nan)
        if method != reference:
            low, high = np.nanquantile(difference[1:], [tail, 1 - tail])
            row |= {"difference": difference[0]}
            row |= {"difference_low": low, "difference_high": high}
        row |= {"n_patients": len(names), "n_with_anomaly": n_with_anomaly}
        rows.append(
            {k: float(v) if isinstance(v, np.floating) else v for k, v in row.items()}
        )
    return rows


Parted = list[tuple[NDArray, NDArray]]  # of each patient, anomalous and normal scores


def _listed(maps: Any, ndim: int) -> list[Any]:
    """Maps of each seed, if they are of one only, too."""
    return list(maps) if np.ndim(maps[0]) == ndim else [maps]


def _auc(parted: Parted, weights: NDArray) -> NDArray:
    """Share of pairs in the right order, ties half, over all pairs of patients."""
    normal = [np.sort(own) for _, own in parted]
    ordered = np.array(
        [
            [
                len(anomalous) * len(own)
                - (
                    np.searchsorted(own, anomalous, "left").sum()
                    + np.searchsorted(own, anomalous, "right").sum()
                )
                / 2
                for own in normal
            ]
            for anomalous, _ in parted
        ]
    )
    sizes = np.array([[len(part) for part in own] for own in parted], dtype=np.float64)
    right = np.einsum("ri,ij,rj->r", weights, ordered, weights)
    return _ratio(right, (weights @ sizes[:, 0]) * (weights @ sizes[:, 1]))


def _curve(parted: Parted, weights: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """True and false positives of each draw at ascending thresholds; anomalous pixels."""
    anomalous = np.sort(np.concatenate([own for own, _ in parted]))
    if anomalous.size > _N_THRESHOLDS:
        places = np.linspace(0, anomalous.size - 1, _N_THRESHOLDS).round().astype(int)
        anomalous = anomalous[places]
    limits = np.unique(anomalous)
    true, false = (
        weights
        @ np.array(
            [np.searchsorted(np.sort(own[kind]), limits, side="right") for own in parted]
        )
        for kind in (0, 1)
    )
    return true, false, weights @ np.array([len(own[0]) for own in parted])


def _average_precision(parted: Parted, weights: NDArray) -> NDArray:
    true, false, total = _curve(parted, weights)
    precision = _ratio(true, true + false)
    gained = np.diff(true, axis=1, prepend=0)
    return _ratio(np.nansum(gained * precision, axis=1), total)


def _dice(parted: Parted, weights: NDArray) -> NDArray:
    true, false, total = _curve(parted, weights)
    return np.where(
        total > 0, _ratio(2 * true, true + false + total[:, None]).max(1), np.nan
    )


def _f1(parted: Parted, weights: NDArray, threshold: float) -> NDArray:
    true, false, total = (
        weights @ np.array(counts, dtype=np.float64)
        for counts in (
            [np.count_nonzero(own < threshold) for own, _ in parted],
            [np.count_nonzero(own < threshold) for _, own in parted],
            [len(own) for own, _ in parted],
        )
    )
    return np.where(total > 0, _ratio(2 * true, true + false + total), np.nan)


def _ratio(part: NDArray, whole: NDArray) -> NDArray:
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


_STATISTICS = {"auc": _auc, "ap": _average_precision, "dice": _dice}
