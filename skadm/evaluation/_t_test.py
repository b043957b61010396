"""Paired t-tests between methods, as in the paper."""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.stats import ttest_rel

from skadm.evaluation._tables import METRICS, Row


def paired_t_tests(
    rows: Iterable[Row], reference: str = "ADM", metrics: Sequence[str] = METRICS
) -> list[Row]:
    """Compare each method with a reference by paired t-tests.

    The paper (3.1.1) tests ADM against each other method, and does not say what its pairs
    are. Here, of rows of several seeds (`Evaluation.rows` of one split) they are seeds; of
    rows of patients (`Evaluation.patient_rows`) they are patients, after the mean over
    seeds.

    Parameters
    ----------
    rows : iterable of dict
        Rows of one split: method, seed, metrics, and "patient" if they are of patients.
    reference : str, default="ADM"
        The method the others are compared with.
    metrics : sequence of str
        Keys of the rows. By default all metrics.

    Returns
    -------
    list of dict
        For each other method and metric: method, metric, n (pairs), difference (mean of
        method less reference), t, p (two-sided) and p_holm, corrected by Holm's method for
        the number of methods compared by that metric. NaN where there are fewer than two
        pairs, or no spread between them.

    Raises
    ------
    ValueError
        If no row is of the reference, or rows are of more than one split.

    Notes
    -----
    Pairs of seeds tell whether a difference is more than chance of the training, on these
    very patients; nothing about other patients. A method without anything random has one
    row without seed, which is compared with each seed of the reference. For a statement
    about patients see `bootstrap_patients`.
    """
    rows = list(rows)
    splits = sorted({str(row.get("split")) for row in rows})
    if len(splits) > 1:
        raise ValueError(f"rows are of the splits {splits}; expected one split.")
    unit = "patient" if any("patient" in row for row in rows) else "seed"
    methods = list(dict.fromkeys(row["method"] for row in rows))
    if reference not in methods:
        raise ValueError(f"no row of {reference!r}; there are rows of {methods}.")
    tests = []
    for metric in metrics:
        values = {name: _by_unit(rows, name, metric, unit) for name in methods}
        own = values.pop(reference)
        found = [
            {"method": name, "metric": metric} | _test(*_pairs(other, own))
            for name, other in values.items()
        ]
        corrected = _holm(np.array([row["p"] for row in found]))
        tests += [row | {"p_holm": float(p)} for row, p in zip(found, corrected)]
    return tests


def _by_unit(rows: list[Row], method: str, metric: str, unit: str) -> dict:
    """Mean value of each seed or patient."""
    values: dict = {}
    for row in rows:
        if row["method"] == method and not np.isnan(row[metric]):
            values.setdefault(row[unit], []).append(row[metric])
    return {key: float(np.mean(found)) for key, found in values.items()}


def _pairs(other: dict, own: dict) -> tuple[np.ndarray, np.ndarray]:
    if list(other) == [None]:  # nothing random: the same for every seed
        other = dict.fromkeys(own, other[None])
    if list(own) == [None]:
        own = dict.fromkeys(other, own[None])
    shared = [key for key in own if key in other]
    return np.array([other[k] for k in shared]), np.array([own[k] for k in shared])


def _test(other: np.ndarray, own: np.ndarray) -> Row:
    differences = other - own
    mean = float(differences.mean()) if differences.size else np.nan
    row = {"n": differences.size, "difference": mean, "t": np.nan, "p": np.nan}
    if differences.size > 1 and differences.std() > 0:
        result = ttest_rel(other, own)
        row |= {"t": float(result.statistic), "p": float(result.pvalue)}
    return row


def _holm(p: np.ndarray) -> np.ndarray:
    """P-values corrected by Holm's method; NaN stay NaN and do not count."""
    corrected = np.full(p.shape, np.nan)
    order = np.argsort(p)[: np.isfinite(p).sum()]  # NaN are sorted last
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1, np.maximum.accumulate(steps))
    return corrected
