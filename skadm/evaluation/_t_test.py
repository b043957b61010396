"""Paired t-tests between methods, as in the paper, with confidence intervals."""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.stats import ttest_rel

from skadm.evaluation._tables import METRICS, Row

# Coverage in per cent of 95 % t intervals over n patients, for strongly skewed and for
# normal differences. Measured by benchmarks/interval_coverage.py; a test measures it
# again.
COVERAGE = {4: (87, 95), 6: (88, 95), 12: (91, 95), 20: (92, 95)}


def paired_t_tests(
    rows: Iterable[Row],
    reference: str = "ADM",
    metrics: Sequence[str] = METRICS,
    *,
    confidence: float = 0.95,
) -> list[Row]:
    """Compare each method with a reference by paired t-tests.

    The paper (3.1.1) tests ADM against each other method, but does not define the pairs.
    Here, the pairs are seeds for rows of several seeds (`Evaluation.rows` of one split),
    and patients with an anomaly, averaged over seeds, for rows of patients
    (`Evaluation.patient_rows`).

    Parameters
    ----------
    rows : iterable of dict
        Rows of one split with method, seed, metrics and, for rows of patients, "patient".
    reference : str, default="ADM"
        The method the others are compared with.
    metrics : sequence of str
        Keys of the rows. By default all metrics.
    confidence : float, default=0.95
        Confidence level of the intervals.

    Returns
    -------
    list of dict
        For each other method and metric: method, metric, n (pairs), difference (mean of
        method less reference), low, high (t interval of the mean difference), t, p
        (two-sided) and p_holm, corrected by Holm's method for the number of methods
        compared by that metric. NaN if there are fewer than two pairs, or all differences
        are equal.

    Raises
    ------
    ValueError
        If the reference has no row, or rows have more than one split.

    Notes
    -----
    Pairs of seeds test whether a difference exceeds the randomness of training, on the
    same patients; they say nothing about other patients. A deterministic method has one
    row without seed, which is compared with each seed of the reference.

    Pairs of patients generalise to other patients, for the given trained detectors. The
    patient is the unit, because pixels of one brain are not independent. The interval is
    for the mean difference over patients, which is not the difference of metrics of
    pooled pixels: there, patients with large lesions have more weight.

    A t interval assumes that the mean difference is normally distributed, but differences
    of average precision are skewed. Simulated 95 % intervals over 4, 6, 12 and 20
    patients covered the true mean in 87, 88, 91 and 92 % of cases for strongly skewed
    differences, and in 95 % for normal ones; bootstrap percentile intervals in 75, 80, 88
    and 91 %, and 79, 86, 92 and 92 % (``python -m benchmarks interval_coverage``).
    """
    rows = list(rows)
    splits = sorted({str(row.get("split")) for row in rows})
    if len(splits) > 1:
        raise ValueError(f"rows have the splits {splits}; expected one split.")
    methods = list(dict.fromkeys(row["method"] for row in rows))
    if reference not in methods:
        raise ValueError(
            f"reference is {reference!r}; expected one of the methods {methods}."
        )
    unit = "patient" if any("patient" in row for row in rows) else "seed"
    if unit == "patient":
        # F1 and Dice are 0 for every method if a patient has no anomaly.
        rows = [row for row in rows if not np.isnan(row["auc"])]
    tests = []
    for metric in metrics:
        values = {name: _by_unit(rows, name, metric, unit) for name in methods}
        baseline = values.pop(reference)
        compared = [
            {"method": name, "metric": metric} | _test(*_pairs(other, baseline), confidence)
            for name, other in values.items()
        ]
        corrected = _holm(np.array([row["p"] for row in compared]))
        tests += [row | {"p_holm": float(p)} for row, p in zip(compared, corrected)]
    return tests


def coverage(n_patients: int) -> str:
    """Return the measured coverage of a 95 % t interval, e.g. "88 to 95 %".

    Between tabulated numbers of patients, the next smaller one is used; below 4, it is 4.
    """
    low, high = COVERAGE[max((n for n in COVERAGE if n <= n_patients), default=4)]
    return f"{low} to {high} %"


def _by_unit(rows: list[Row], method: str, metric: str, unit: str) -> dict:
    """Return the mean value per seed or patient."""
    values: dict = {}
    for row in rows:
        if row["method"] == method and not np.isnan(row[metric]):
            values.setdefault(row[unit], []).append(row[metric])
    return {key: float(np.mean(group)) for key, group in values.items()}


def _pairs(other: dict, baseline: dict) -> tuple[np.ndarray, np.ndarray]:
    if list(other) == [None]:  # deterministic: the same for every seed
        other = dict.fromkeys(baseline, other[None])
    if list(baseline) == [None]:
        baseline = dict.fromkeys(other, baseline[None])
    shared = [key for key in baseline if key in other]
    return np.array([other[k] for k in shared]), np.array([baseline[k] for k in shared])


def _test(other: np.ndarray, baseline: np.ndarray, confidence: float) -> Row:
    differences = other - baseline
    mean = float(differences.mean()) if differences.size else np.nan
    row = {"n": differences.size, "difference": mean}
    row |= dict.fromkeys(("low", "high", "t", "p"), np.nan)
    if differences.size > 1 and differences.std() > 0:
        result = ttest_rel(other, baseline)
        interval = result.confidence_interval(confidence)
        row |= {"low": float(interval.low), "high": float(interval.high)}
        row |= {"t": float(result.statistic), "p": float(result.pvalue)}
    return row


def _holm(p: np.ndarray) -> np.ndarray:
    """Correct p-values by Holm's method; NaN are ignored and kept."""
    corrected = np.full(p.shape, np.nan)
    order = np.argsort(p)[: np.isfinite(p).sum()]  # NaN are sorted last
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1, np.maximum.accumulate(steps))
    return corrected
