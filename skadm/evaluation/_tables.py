"""Rows summed up, and written for people to read."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

Row = dict[str, Any]

METRICS = ("auc", "ap", "precision", "recall", "f1", "dice")


def summarise_patients(patient_rows: Iterable[Row]) -> list[Row]:
    """Sum up each method by its mean and spread over patients.

    Parameters
    ----------
    patient_rows : iterable of dict
        `Evaluation.patient_rows`.

    Returns
    -------
    list of dict
        For each method: method, n_patients (those with an anomaly, over which all else is),
        auc_mean, auc_std, auc_min, ap_mean, ap_std. Standard deviations have n - 1 in the
        denominator.
    """
    table = pd.DataFrame(list(patient_rows))
    if table.empty:
        return []
    auc, methods = table["auc"], table["method"]
    auc_of = auc.groupby(methods, sort=False)
    ap_of = table["ap"].where(auc.notna()).groupby(methods, sort=False)
    summary = auc_of.agg(n_patients="count", auc_mean="mean", auc_std="std", auc_min="min")
    summary = summary.join(ap_of.agg(ap_mean="mean", ap_std="std"))
    return summary.reset_index().to_dict("records")


def summarise_seeds(rows: Iterable[Row]) -> list[Row]:
    """Sum up rows that differ in nothing but the seed.

    Parameters
    ----------
    rows : iterable of dict
        `Evaluation.rows`, or `Evaluation.patient_rows`, of several runs.

    Returns
    -------
    list of dict
        For each method and split (and patient, if the rows have one): these, n_patients,
        n_slices, n_seeds, for each metric its mean under its own name, and its standard
        deviation as, for instance, auc_std, with n - 1 in the denominator; NaN for one run.
        So the result can be given to `verdict` or `summarise_patients`.
    """
    table = pd.DataFrame(list(rows))
    if table.empty:
        return []
    present = [key for key in ("method", "split", "patient") if key in table]
    groups = table.groupby(present, sort=False)
    counts = [key for key in ("n_patients", "n_slices") if key in table]
    summary = groups[counts].first()
    summary["n_seeds"] = groups.size()
    for metric in METRICS:
        # A run without a value leaves the mean without one: none is skipped.
        summary[metric] = groups[metric].mean(skipna=False)
        summary[f"{metric}_std"] = groups[metric].std(skipna=False)
    return summary.reset_index().to_dict("records")


def format_table(rows: Iterable[Row]) -> str:
    """Write rows as a table of plain text, columns aligned.

    Parameters
    ----------
    rows : iterable of dict
        Their keys are the columns, in the order of their first appearance. A key "note"
        makes the last column.

    Returns
    -------
    str
        A header, a rule, and a line for each row; numbers with three decimals, "-" for
        NaN, None and what a row does not have.
    """
    return _format(rows, "simple")


def format_markdown(rows: Iterable[Row]) -> str:
    """Write rows as a table in Markdown.

    Parameters
    ----------
    rows : iterable of dict
        As `format_table` takes them.

    Returns
    -------
    str
        A header, a rule, and a line for each row, columns aligned.
    """
    return _format(rows, "pipe")


def _format(rows: Iterable[Row], kind: str) -> str:
    # Without a common type, an integer beside a missing value stays one.
    table = pd.DataFrame(list(rows), dtype=object)
    if table.empty:
        return ""
    columns = sorted(table, key=lambda key: key == "note")
    is_text = table.map(lambda value: isinstance(value, str)).any()
    cells = table[columns].map(_cell)
    if "note" in cells:
        cells["note"] = cells["note"].replace("-", "")
    if kind == "pipe":
        cells = cells.map(lambda cell: cell.replace("|", "\\|"))
    return cells.to_markdown(
        index=False,
        tablefmt=kind,
        headers=[_title(key) for key in columns],
        disable_numparse=True,
        colalign=["left" if is_text[key] else "right" for key in columns],
    )


def verdict(rows: Iterable[Row]) -> str:
    """Name the methods with the best AUC and the best AP on the test patients.

    Parameters
    ----------
    rows : iterable of dict
        `Evaluation.rows`.

    Returns
    -------
    str
        One sentence.
    """
    tested = [row for row in rows if row["split"] == "test" and not np.isnan(row["auc"])]
    if not tested:
        return "No method has a test AUC: the test slices hold only one kind of pixel."
    auc, ap = (max(tested, key=lambda row: row[key]) for key in ("auc", "ap"))
    n = tested[0]["n_patients"]
    other = "" if ap["method"] == auc["method"] else f"{ap['method']} has "
    return (
        f"On {n} test patient{'' if n == 1 else 's'}, {auc['method']} has the best AUC "
        f"({auc['auc']:.3f}) and {other}the best AP ({ap['ap']:.3f})."
    )


def baseline_verdict(rows: Iterable[Row], baselines: Iterable[str]) -> str:
    """Name the methods that the best of the baselines beats on the test patients.

    Parameters
    ----------
    rows : iterable of dict
        `Evaluation.rows`, or their means over seeds.
    baselines : iterable of str
        Which of the methods are the baselines, as of `intensity_baselines`.

    Returns
    -------
    str
        One line: for AUC and for AP, the best baseline and the methods below it.
    """
    tested = [row for row in rows if row["split"] == "test" and not np.isnan(row["auc"])]
    names = set(baselines)
    simple = [row for row in tested if row["method"] in names]
    others = [row for row in tested if row["method"] not in names]
    if not simple or not others:
        return "Nothing to compare: there is no baseline, or no method beside them."
    parts = []
    for metric in ("auc", "ap"):
        best = max(simple, key=lambda row: row[metric])
        beaten = [row["method"] for row in others if row[metric] < best[metric]]
        told = ", ".join(beaten) or "none"
        if len(beaten) == len(others) > 1:
            told = f"all ({told})"
        parts.append(
            f"Best baseline by {_title(metric)}: {best['method']} ({best[metric]:.3f}), "
            f"which beats {told}."
        )
    return " ".join(parts)


_TITLES = {"auc": "AUC", "ap": "AP", "f1": "F1", "n_patients": "patients"}
_TITLES |= {"n_slices": "slices", "dice": "best Dice"}
_TITLES |= {"auc_mean": "AUC mean", "auc_std": "sd", "auc_min": "lowest AUC"}
_TITLES |= {"ap_mean": "AP mean", "ap_std": "sd"}


def _title(key: str) -> str:
    return _TITLES.get(key, key)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else " ".join(str(value).split())
