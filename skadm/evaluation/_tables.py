"""Rows summed up, and written as tables."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

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
    kept = ("method", "split", "patient", "n_patients", "n_slices")
    alike: dict[tuple, list[Row]] = {}
    for row in rows:
        alike.setdefault(tuple(row.get(key) for key in kept[:3]), []).append(row)
    summary = []
    for runs in alike.values():
        summed: Row = {key: runs[0][key] for key in kept if key in runs[0]}
        summed["n_seeds"] = len(runs)
        for metric in METRICS:
            values = np.array([run[metric] for run in runs], dtype=float)
            summed[metric] = float(values.mean())
            spread = values.std(ddof=1) if len(runs) > 1 else np.nan
            summed[f"{metric}_std"] = float(spread)
        summary.append(summed)
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
        max(len(title(key)), *(len(line[index]) for line in cells))
        for index, key in enumerate(columns)
    ]
    is_text = [any(isinstance(row.get(key), str) for row in rows) for key in columns]

    def aligned(line: Sequence[str]) -> str:
        padded = (
            text.ljust(width) if left else text.rjust(width)
            for text, width, left in zip(line, widths, is_text)
        )
        return "  ".join(padded).rstrip()

    lines = [aligned([title(key) for key in columns])]
    lines.append("-" * max(map(len, lines)))
    for row, line in zip(rows, cells):
        lines.append(aligned(line) + (f"  {row['note']}" if "note" in row else ""))
    return "\n".join(lines)


def format_markdown(rows: Iterable[Row]) -> str:
    """Write rows as a table in Markdown.

    Parameters
    ----------
    rows : iterable of dict
        As `format_table` takes them; a note stands in brackets in the first column.

    Returns
    -------
    str
        A header, a rule, and a line for each row.
    """
    rows = list(rows)
    columns = [key for key in (rows[0] if rows else {}) if key != "note"]

    def line(cells: Iterable[str]) -> str:
        escaped = (" ".join(cell.split()).replace("|", "\\|") for cell in cells)
        return f"| {' | '.join(escaped)} |"

    lines = [line(map(title, columns)), "|---" * len(columns) + "|"]
    for row in rows:
        cells = [_cell(row[key]) if key in row else "" for key in columns]
        if "note" in row:
            cells[0] += f" ({row['note']})"
        lines.append(line(cells))
    return "\n".join(lines)


_TITLES = {"auc": "AUC", "ap": "AP", "f1": "F1", "n_patients": "patients"}
_TITLES |= {"n_slices": "slices", "dice": "best Dice"}
_TITLES |= {"auc_mean": "AUC mean", "auc_std": "sd", "auc_min": "lowest AUC"}
_TITLES |= {"ap_mean": "AP mean", "ap_std": "sd"}


def title(key: str) -> str:
    """Heading of a column: "auc" is "AUC"."""
    return _TITLES.get(key, key)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
