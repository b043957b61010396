"""Metrics per patient and per lesion size."""

import itertools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import UndefinedMetricWarning

from skadm.metrics._pixels import as_pair, count_labels, described
from skadm.metrics._ranking import pixel_roc_auc_score


@described
def per_patient(
    metric: Callable[[Any, Any], Any], y: ArrayLike, scores: ArrayLike, groups: ArrayLike
) -> dict[str, Any]:
    """Compute a metric for each patient, over the pixels of all slices of that patient.

    Parameters
    ----------
    metric : callable
        A metric ``metric(y, scores)`` of this module.
    y : array-like of shape (n_slices, ...)
        Labels: 0 normal, 1 anomaly, -1 ignored.
    %(scores)s
    groups : array-like of shape (n_slices,)
        Patient of each slice.

    Returns
    -------
    dict
        Patient to value, in the order of first appearance. The value is NaN, without a
        warning, if the metric is undefined for a patient (usually because there is no
        lesion) or no pixel is evaluated: use ``numpy.nanmean`` and report the number of
        patients.

    Raises
    ------
    ValueError
        If the shapes differ, `groups` does not hold one patient for each slice, or the
        metric raises an error for a patient's pixels.
    """
    labels, values = as_pair(y, scores)
    patients = np.asarray(groups)
    if labels.ndim == 0 or patients.shape != labels.shape[:1]:
        raise ValueError(
            f"groups have shape {patients.shape} and y has shape {labels.shape}; expected "
            "one patient for each slice, along the first axis of y."
        )
    count_labels(labels)
    results: dict[str, Any] = {}
    for patient in dict.fromkeys(patients.tolist()):
        chosen = patients == patient
        patient_labels = labels[chosen]
        if not (patient_labels >= 0).any():
            results[str(patient)] = float("nan")
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UndefinedMetricWarning)
            results[str(patient)] = metric(patient_labels, values[chosen])
    return results


@described
def roc_auc_by_lesion_size(
    y: ArrayLike, scores: ArrayLike, edges: Sequence[float] = tuple(range(0, 1601, 200))
) -> list[dict[str, float]]:
    """Compute the ROC AUC of each slice, summarised by lesion size.

    Parameters
    ----------
    %(y_of_slices)s
    %(scores)s
    edges : sequence of float, default=(0, 200, ..., 1600)
        Ascending edges of the bins, in pixels. A bin holds the slices with
        ``low < number of anomalous pixels <= high``; slices without a lesion, or with one
        beyond the last edge, are in none.

    Returns
    -------
    list of dict
        One row for each bin with the keys low, high, n_slices, mean and std (over slices,
        with n in the denominator); mean and std of an empty bin are NaN.

    Raises
    ------
    ValueError
        If the shapes differ, `y` holds other labels or only -1, an evaluated score is not
        finite, or the edges do not ascend.
    """
    labels, values = as_pair(y, scores)
    count_labels(labels)
    limits = np.asarray(edges, dtype=np.float64)
    if limits.ndim != 1 or limits.size < 2 or not (np.diff(limits) > 0).all():
        raise ValueError(
            f"edges are {list(edges)}; expected at least two ascending numbers."
        )
    sizes = (labels == 1).reshape(len(labels), -1).sum(axis=1)
    rows = []
    for low, high in itertools.pairwise(limits):
        chosen = np.flatnonzero((sizes > low) & (sizes <= high) & (sizes > 0))
        aucs = np.array([pixel_roc_auc_score(labels[i], values[i]) for i in chosen])
        rows.append(
            {
                "low": float(low),
                "high": float(high),
                "n_slices": aucs.size,
                "mean": float(aucs.mean()) if aucs.size else float("nan"),
                "std": float(aucs.std()) if aucs.size else float("nan"),
            }
        )
    return rows
