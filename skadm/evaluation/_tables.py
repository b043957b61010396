"""Rows summed up, and written for people to read."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

Row = dict[str, Any]


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
    by_method: dict[str, list[Row]] = {}
    for row in patient_rows:
        own = by_method.setdefault(row["method"], [])
        if not np.isnan(row["auc"]):
            own.append(row)
    summary = []
    for method, rows in by_method.items():
        auc, ap = (np.array([row[key] for row in rows]) for key in ("auc", "ap"))
        summary.append(
            {
                "method": method,
                "n_patients": len(rows),
                "auc_mean": float(auc.mean()) if len(rows) else np.nan,
                "auc_std": float(auc.std(ddof=1)) if len(rows) > 1 else np.nan,
                "auc_min": float(auc.min()) if len(rows) else np.nan,
                "ap_mean": float(ap.mean()) if len(rows) else np.nan,
                "ap_std": float(ap.std(ddof=1)) if len(rows) > 1 else np.nan,
            }
        )
    return summary


def format_table(rows: Iterable[Row]) -> str:
    """Write rows as a table of plain text, columns aligned.

    Parameters
    ----------
    rows : iterable of dict
        Their keys are the columns, in the order of the first row. A row with a key "note"
        shows it in place of the numbers it does not have.

    Returns
    -------
    str
        A header, a rule, and a line for each row; numbers with three decimals, "-" for
        NaN and None.
    """
    rows = list(rows)
    columns = [key for key in (rows[0] if rows else {}) if key != "note"]
    cells = [[_cell(row[key]) if key in row else "" for key in columns] for row in rows]
    widths = [
        max(len(_title(key)), *(len(line[index]) for line in cells))
        for index, key in enumerate(columns)
    ]
    is_text = [any(isinstance(row.get(key), str) for row in rows) for key in columns]

    def aligned(line: Sequence[str]) -> str:
        padded = (
            text.ljust(width) if left else text.rjust(width)
            for text, width, left in zip(line, widths, is_text)
        )
        return "  ".join(padded).rstrip()

    lines = [aligned([_title(key) for key in columns])]
    lines.append("-" * max(map(len, lines)))
    for row, line in zip(rows, cells):
        lines.append(aligned(line) + (f"  {row['note']}" if "note" in row else ""))
    return "\n".join(lines)


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


_TITLES = {"auc": "AUC", "ap": "AP", "f1": "F1", "n_patients": "patients"}
_TITLES |= {"n_slices": "slices", "dice": "best Dice"}
_TITLES |= {"auc_mean": "AUC mean", "auc_std": "sd", "auc_min": "lowest AUC"}
_TITLES |= {"ap_mean": "AP mean", "ap_std": "sd"}


def _title(key: str) -> str:
    return _TITLES.get(key, key)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
