"""Outcomes of runs as rows, and as text: means with their spread."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.lib.runs import Outcome

from skadm.evaluation import summarise_patients, summarise_seeds

METRICS = ("auc", "ap", "precision", "recall", "f1", "dice")


def with_spread(mean: float, spread: float = math.nan) -> str:
    """For instance "0.941 ± 0.012"; without the spread where there is none."""
    if math.isnan(mean):
        return "-"
    return f"{mean:.3f}" if math.isnan(spread) else f"{mean:.3f} ± {spread:.3f}"


def table(
    side: str, outcomes: Sequence[Outcome], left_out: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    """Rows of one side of the split for `format_table`.

    Parameters
    ----------
    side : str
        "validation" or "test".
    outcomes : sequence of Outcome
    left_out : dict of str to str
        Methods that could not be planned, with the reason.
    """
    summary = {
        row["method"]: row
        for row in summarise_seeds(all_rows(outcomes))
        if row["split"] == side
    }
    patients = {
        row["method"]: row
        for row in summarise_patients(summarise_seeds(all_patient_rows(outcomes)))
    }
    errors: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.error is not None:
            errors.setdefault(outcome.run.method, []).append(outcome)
    rows: list[dict[str, Any]] = []
    for method, means in summary.items():
        row = {"method": method}
        for metric in METRICS:
            row[metric] = with_spread(means[metric], means[f"{metric}_std"])
        if side == "test":
            own = patients[method]
            row["AUC of patients"] = with_spread(own["auc_mean"], own["auc_std"])
        if method in errors:
            titles = ", ".join(outcome.run.title for outcome in errors[method])
            row["note"] = f"without {titles}, which failed"
        rows.append(row)
    for method, (outcome, *_) in errors.items():
        if method not in summary:
            rows.append({"method": method, "note": f"failed: {told(outcome.error)}"})
    absent = (left_out or {}).items()
    return rows + [{"method": name, "note": reason} for name, reason in absent]


def all_rows(outcomes: Iterable[Outcome]) -> list[dict[str, Any]]:
    """A row for each method, seed and side, with the seconds of the run."""
    return [
        row | {"seconds": outcome.result.seconds}
        for outcome in outcomes
        if outcome.result is not None
        for row in outcome.result.rows
    ]


def all_patient_rows(outcomes: Iterable[Outcome]) -> list[dict[str, Any]]:
    """A row for each method, seed and test patient."""
    return [
        row
        for outcome in outcomes
        if outcome.result is not None
        for row in outcome.result.patient_rows
    ]


def told(error: Exception | None) -> str:
    """An error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
