"""Summary of an evaluation in one or two sentences."""

from collections.abc import Iterable, Sequence

import numpy as np

from skadm.evaluation._t_test import coverage, paired_t_tests
from skadm.evaluation._tables import Row, title

_SHOWN = ("auc", "ap")


def verdict(rows: Iterable[Row], patient_rows: Iterable[Row] = ()) -> str:
    """Name the methods with the best AUC and the best AP on the test patients.

    Parameters
    ----------
    rows : iterable of dict
        `Evaluation.rows`.
    patient_rows : iterable of dict, default=()
        `Evaluation.patient_rows` of the same methods. If given, a second sentence states
        the difference between the best and the next best method, with a t interval over
        patients (`paired_t_tests`) and its coverage.

    Returns
    -------
    str
        One or two sentences.

    Notes
    -----
    The best and the next best method are chosen by pooled pixels of the same patients.
    The interval does not account for this selection.
    """
    tested = tested_rows(rows)
    if not tested:
        return "No method has a test AUC: the test slices hold only one kind of pixel."
    auc, ap = (max(tested, key=lambda row: row[key]) for key in _SHOWN)
    n = tested[0]["n_patients"]
    other = "" if ap["method"] == auc["method"] else f"{ap['method']} has "
    best = (
        f"On {n} test patient{'' if n == 1 else 's'}, pixels pooled, {auc['method']} has "
        f"the best AUC ({auc['auc']:.3f}) and {other}the best AP ({ap['ap']:.3f})."
    )
    patient_rows = list(patient_rows)
    if not patient_rows or len(tested) < 2:
        return best
    return f"{best} {_describe_difference(tested, patient_rows)}"


def _describe_difference(tested: Sequence[Row], patient_rows: Sequence[Row]) -> str:
    """Describe the difference between the best and the next best method over patients."""
    parts, n_patients = [], 0
    for metric in _SHOWN:
        best, following, *_ = sorted(tested, key=lambda row: row[metric], reverse=True)
        names = (best["method"], following["method"])
        pair = [row for row in patient_rows if row["method"] in names]
        (test,) = paired_t_tests(pair, names[1], (metric,))
        n_patients = test["n"]
        interval = (
            "no interval"
            if np.isnan(test["low"])
            else f"95 % t interval {test['low']:+.3f} to {test['high']:+.3f}"
        )
        parts.append(
            f"{title(metric)} of {names[0]} minus that of {names[1]} "
            f"{test['difference']:+.3f} ({interval})"
        )
    if n_patients < 2:
        return "No interval for the difference: only one patient has an anomaly."
    measured = max(n_patients, 4)
    return (
        f"Mean over the {n_patients} patients with an anomaly: {'; '.join(parts)}. The "
        f"coverage of such intervals is {coverage(n_patients)} for {measured} patients."
    )


def tested_rows(rows: Iterable[Row]) -> list[Row]:
    """Return the test rows with a defined AUC."""
    return [row for row in rows if row["split"] == "test" and not np.isnan(row["auc"])]
