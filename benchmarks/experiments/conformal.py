"""False positive rates of conformal thresholds on normal slices of new patients.

Each random split divides the patients into three parts. A detector is trained on the first,
its threshold is calibrated on normal slices of the second, and the share of normal pixels
(or slices) that it flags is counted on the third. With patients as units, theory puts the
mean over splits between α - 1/(K + 1) and α for K calibration patients. The table shows the
standard error of the mean beside it. With slices as units (no groups), the guarantee
assumes exchangeable slices. Slices of one patient are not, and the table shows the effect.

    python -m benchmarks conformal --data phantom
    python -m benchmarks conformal --data lgg --alpha 0.05 0.1

Writes conformal.csv (a row for each split and threshold), conformal.png and run.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.lib.options import add_experiment_arguments, positive, read_options, say

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from sklearn.base import BaseEstimator

    from benchmarks.lib.data import Split

KEYS = ["level", "units", "alpha"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_experiment_arguments(parser)
    parser.add_argument(
        "--method", default="GaussianMixture", help="class name without 'Detector'"
    )
    parser.add_argument("--splits", type=positive, default=20, help="random splits")
    parser.add_argument("--alpha", nargs="+", type=float, default=[0.05, 0.1, 0.25])
    parser.set_defaults(patients=60, slices=8, size=64, preset="quick")


def one_split(
    detector: BaseEstimator, split: Split, seed: int, alphas: Sequence[float]
) -> list[dict[str, Any]]:
    """Return rows for every level, unit and α that has enough units.

    A third of the patients is for training, a third for calibration, a third for the test;
    all with their normal slices only.
    """
    import numpy as np
    from sklearn.frozen import FrozenEstimator

    from skadm import ConformalDetector, SliceDetector

    stack, groups, normal = split.stack, split.stack.groups, ~split.abnormal
    names = np.random.default_rng(seed).permutation(np.unique(groups[normal]))
    learn, calibrate, test = (
        np.flatnonzero(normal & np.isin(groups, third))
        for third in np.array_split(names, 3)
    )
    fitted = {
        "pixels": detector.fit(stack[learn]),
        "slices": SliceDetector(detector).fit(stack[learn]),
    }
    brain, patients = split.labels[test] >= 0, groups[test]
    units = {"patients": groups[calibrate], "slices": None}
    rows = []
    for level, trained in fitted.items():
        scores = trained.score_samples(stack[test])
        for unit, calibration_groups in units.items():
            n_units = len(np.unique(groups[calibrate]) if unit == "patients" else calibrate)
            for alpha in alphas:
                head = {"seed": seed, "level": level, "units": unit, "alpha": alpha}
                head["K"] = n_units
                if alpha < 1 / (n_units + 1):
                    rows.append(head | {"note": "too few units for this α"})
                    continue
                conformal = ConformalDetector(FrozenEstimator(trained), contamination=alpha)
                # An array, because a stack has groups.
                conformal.fit(stack[calibrate].X, groups=calibration_groups)
                flagged = scores < conformal.offset_
                rates = [
                    flagged[patients == name][brain[patients == name]].mean()
                    if level == "pixels"
                    else flagged[patients == name].mean()
                    for name in np.unique(patients)
                ]
                rows.append(head | {"rate": float(np.mean(rates)), "n": len(rates)})
    return rows


def summarise(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compare the mean rate over the splits and its standard error with theory."""
    import pandas as pd

    table = pd.DataFrame(rows, columns=[*KEYS, "K", "rate", "note"])
    summary = []
    for values, splits in table.groupby(KEYS, sort=False):
        row = dict(zip(KEYS, values)) | {"K": int(splits["K"].iloc[0])}
        rates = splits["rate"].dropna()
        if rates.empty:
            summary.append(row | {"note": splits["note"].iloc[0]})
            continue
        mean, error = rates.mean(), rates.sem()
        lowest = max(0.0, row["alpha"] - 1 / (row["K"] + 1))
        within = lowest - 2 * error <= mean <= row["alpha"] + 2 * error
        summary.append(
            row
            | {
                "splits": len(rates),
                "mean rate": mean,
                "standard error": error,
                "spread of splits": rates.std(),
                "theory": f"{lowest:.3f} to {row['alpha']:.3f}",
                "within 2 standard errors": "yes" if within else "no",
            }
        )
    return summary


def draw(rows: Sequence[dict[str, Any]], alphas: Sequence[float]) -> Figure:
    """Draw the rates of the splits beside α, for each level and unit."""
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    looks = {"patients": ("#0072B2", -0.15), "slices": ("#E69F00", 0.15)}
    for axes, level in zip(figure.subplots(1, 2, sharey=True), ("pixels", "slices")):
        for units, (colour, shift) in looks.items():
            for place, alpha in enumerate(alphas):
                rates = [
                    row["rate"]
                    for row in rows
                    if (row["level"], row["units"], row["alpha"]) == (level, units, alpha)
                    and "rate" in row
                ]
                where = np.full(len(rates), place + shift)
                label = f"units: {units}" if place == 0 else None
                axes.plot(where, rates, ".", color=colour, alpha=0.6, label=label)
                if rates:
                    axes.plot(place + shift, np.mean(rates), "_", color=colour, ms=22)
                axes.plot([place - 0.4, place + 0.4], [alpha, alpha], "k--", lw=1)
        axes.set_xticks(range(len(alphas)), [f"α = {alpha:g}" for alpha in alphas])
        axes.set_title(f"{level} flagged")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("share of normal ones flagged, new patients")
    figure.axes[0].legend(frameon=False)
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    options = read_options(__name__, argv)

    from benchmarks.lib.data import load_split
    from benchmarks.lib.methods import make_seeded
    from benchmarks.lib.page import Page

    split = load_split(options)
    rows = []
    for seed in range(options.splits):
        say(f"split {seed + 1} of {options.splits}")
        rows += one_split(make_seeded(options.method, options), split, seed, options.alpha)
    page = Page(
        options,
        "Conformal thresholds",
        f"{options.method}; a third of {len(set(split.stack.groups.tolist()))} patients "
        "each to train, to calibrate and to test, normal slices only. The rate of a split "
        "is the mean over its test patients.",
    )
    page.table("conformal", rows, "Share of normal pixels and slices", summarise(rows))
    figure = draw(rows, options.alpha)
    page.figure("conformal", figure, "Points are splits, bars their means")
    page.close(split.describe())
