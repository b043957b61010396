"""Summaries and tables of rows."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

Row = dict[str, Any]

METRICS = ("auc", "ap", "precision", "recall", "f1", "dice")


def summarise_patients(patient_rows: Iterable[Row]) -> list[Row]:
    """Summarise `Evaluation.patient_rows`: mean and standard deviation per method.

    n_patients counts the patients with an anomaly, over which all values are computed.
    Standard deviations have n - 1 in the denominator.
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
    """Summarise rows that differ only in the seed.

    Parameters
    ----------
    rows : iterable of dict
        `Evaluation.rows`, or `Evaluation.patient_rows`, of several runs.

    Returns
    -------
    list of dict
        One row for each method and split (and patient, if the rows have one), with
        supervision, n_patients, n_slices, n_seeds, the mean of each metric under its
        name, and its standard deviation (e.g. auc_std) with n - 1 in the denominator; NaN
        for one run. The result can be passed to `verdict`.
    """
    table = pd.DataFrame(list(rows))
    if table.empty:
        return []
    present = [key for key in ("method", "split", "patient") if key in table]
    groups = table.groupby(present, sort=False)
    kept = ("supervision", "n_patients", "n_slices")
    summary = groups[[key for key in kept if key in table]].first()
    summary["n_seeds"] = groups.size()
    for metric in METRICS:
        # The mean is NaN if any run has no value: none is skipped.
        summary[metric] = groups[metric].mean(skipna=False)
        summary[f"{metric}_std"] = groups[metric].std(skipna=False)
    return summary.reset_index().to_dict("records")


def format_table(rows: Iterable[Row], *, markdown: bool = False) -> str:
    """Format rows as a table with aligned columns.

    Parameters
    ----------
    rows : iterable of dict
        The keys are the columns, in order of first appearance; "note" is the last column.
    markdown : bool, default=False
        Whether to write Markdown instead of plain text.

    Returns
    -------
    str
        A header, a rule and a line for each row; numbers with three decimals, "-" for
        NaN, None and missing keys.
    """
    # Without a common type, integers beside missing values stay integers.
    table = pd.DataFrame(list(rows), dtype=object)
    if table.empty:
        return ""
    columns = sorted(table, key=lambda key: key == "note")
    is_text = table.map(lambda value: isinstance(value, str)).any()
    cells = table[columns].map(_cell)
    if "note" in cells:
        cells["note"] = cells["note"].replace("-", "")
    if markdown:
        cells = cells.map(lambda cell: cell.replace("|", "\\|"))
    return cells.to_markdown(
        index=False,
        tablefmt="pipe" if markdown else "simple",
        headers=[title(key) for key in columns],
        disable_numparse=True,
        colalign=["left" if is_text[key] else "right" for key in columns],
    )


_TITLES = {"auc": "AUC", "ap": "AP", "f1": "F1", "n_patients": "patients"}
_TITLES |= {"n_slices": "slices", "dice": "best Dice"}
_TITLES |= {"auc_mean": "AUC mean", "auc_std": "sd", "auc_min": "lowest AUC"}
_TITLES |= {"ap_mean": "AP mean", "ap_std": "sd"}


def title(key: str) -> str:
    """Return the heading of a column, e.g. "AUC" for "auc"."""
    return _TITLES.get(key, key)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else " ".join(str(value).split())
