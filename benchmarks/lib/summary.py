"""What runs gave, for people to look at: rows, means with their spread, score maps."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import t

from benchmarks.lib.data import Split
from benchmarks.lib.page import Page
from benchmarks.lib.runs import Outcome
from skadm._supervision import TIERS
from skadm.evaluation import summarise_seeds
from skadm.evaluation._tables import summarise_patients
from skadm.plotting import plot_montage, representative_slices

METRICS = ("auc", "ap", "precision", "recall", "f1", "dice")
TIER_COLOURS = dict(zip(TIERS, ("C0", "C4", "C2", "C1")))

Row = dict[str, Any]


def with_spread(mean: float, spread: float = math.nan) -> str:
    """For instance "0.941 ± 0.012"; without the spread where there is none."""
    if math.isnan(mean):
        return "-"
    return f"{mean:.3f}" if math.isnan(spread) else f"{mean:.3f} ± {spread:.3f}"


def mean_with_interval(values: NDArray, level: float = 0.95) -> tuple[float, float, float]:
    """Mean of patients and the ends of its t interval, which are NaN for fewer than two."""
    n = len(values)
    if n == 0:
        return math.nan, math.nan, math.nan
    mean = float(np.mean(values))
    if n == 1:
        return mean, math.nan, math.nan
    half = float(t.ppf((1 + level) / 2, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return mean, mean - half, mean + half


def mean_over_seeds(
    rows: Iterable[Row], by: Sequence[str], metrics: Sequence[str]
) -> list[Row]:
    """For each group of rows the mean of each metric as text, with its spread (n - 1)."""
    groups = pd.DataFrame(list(rows)).groupby(list(by), sort=False)[list(metrics)]
    means, spreads = groups.mean(skipna=False), groups.std(skipna=False)
    text = {key: map(with_spread, means[key], spreads[key]) for key in metrics}
    return pd.DataFrame(text, index=means.index).reset_index().to_dict("records")


def all_rows(outcomes: Iterable[Outcome], side: str | None = None) -> list[Row]:
    """A row for each method, seed and side, or those of one side, with the seconds."""
    return [
        row | {"seconds": outcome.result.seconds}
        for outcome in outcomes
        if outcome.result is not None
        for row in outcome.result.rows
        if side in (None, row["split"])
    ]


def all_patient_rows(outcomes: Iterable[Outcome]) -> list[Row]:
    """A row for each method, seed and test patient."""
    return [
        row
        for outcome in outcomes
        if outcome.result is not None
        for row in outcome.result.patient_rows
    ]


def table(
    side: str, outcomes: Sequence[Outcome], left_out: dict[str, str] | None = None
) -> list[Row]:
    """Rows of the "validation" or "test" side, to be shown.

    `left_out` are methods that could not be planned, with the reason.
    """
    patients = {
        row["method"]: with_spread(row["auc_mean"], row["auc_std"])
        for row in summarise_patients(summarise_seeds(all_patient_rows(outcomes)))
    }
    errors: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.error is not None:
            errors.setdefault(outcome.run.method, []).append(outcome)
    shown: dict[str, Row] = {}
    done = all_rows(outcomes, side)
    for row in mean_over_seeds(done, ["method"], METRICS) if done else []:
        method = row["method"]
        if side == "test":
            row["AUC of patients"] = patients[method]
        if method in errors:
            titles = ", ".join(outcome.run.title for outcome in errors[method])
            row["note"] = f"without {titles}, which failed"
        shown[method] = row
    notes = {
        method: f"failed: {in_a_line(outcome.error)}"
        for method, (outcome, *_) in errors.items()
        if method not in shown
    } | (left_out or {})
    return [*shown.values(), *({"method": m, "note": note} for m, note in notes.items())]


def show(page: Page, name: str, outcomes: Sequence[Outcome]) -> None:
    """Tables of either side, and CSV files with every number."""
    for side in ("test", "validation"):
        rows = all_rows(outcomes, side)
        page.table(f"{name}_{side}", rows, side.capitalize(), table(side, outcomes))
    page.rows(f"{name}_per_patient", all_patient_rows(outcomes))


def parameters(outcomes: Sequence[Outcome]) -> dict[str, dict]:
    """Of the detector of each run, for run.json."""
    return {outcome.run.title: outcome.run.detector.get_params() for outcome in outcomes}


def in_a_line(error: Exception | None) -> str:
    """An error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def draw_montage(
    split: Split, maps: Mapping[str, NDArray], side: str = "test", **more: Any
) -> Figure:
    """A few slices of one side of the split beside the maps of each method."""
    chosen = getattr(split, side)
    stack, labels = split.stack[chosen], split.labels[chosen]
    slices = representative_slices(labels, stack.groups)
    shown = {name: values[slices] for name, values in maps.items()}
    places = range(len(slices))
    return plot_montage(stack[slices], labels[slices], shown, slices=places, **more)
