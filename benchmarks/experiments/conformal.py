"""False-positive rates that conformal thresholds hold on normal slices of new patients.

Over random splits by patient: a detector is trained on some patients, its threshold is
calibrated on normal slices of others, and the share of normal pixels (or slices) flagged is
counted on patients that were in neither. With patients as units, the mean over splits lies
by theory between α - 1/(K + 1) and α, for K calibration patients; the tolerance of a mean
over so many splits is its standard error, which stands beside it. With slices as units (no
groups) the guarantee needs slices to be exchangeable, which those of one patient are not:
what that costs is shown, too.

    python benchmarks/conformal.py --data phantom --out out/conformal
    python benchmarks/conformal.py --data lgg --alpha 0.05 0.1

Writes conformal.csv (a row for each split and threshold), conformal.png and run.json.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from benchmarks.lib.options import experiment_parser, positive, read_options, say
from benchmarks.lib.page import Page
from benchmarks.lib.split import Split, load_split
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator

from skadm import ConformalDetector, SliceDetector
from skadm.presets import make_detector

UNITS = ("patients", "slices")


def split_patients(
    split: Split, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Normal slices of a third of the patients each: to train, to calibrate, to test."""
    groups = split.stack.groups
    normal = ~split.abnormal
    names = rng.permutation(np.unique(groups[normal]))
    parts = np.array_split(names, 3)
    return tuple(np.flatnonzero(normal & np.isin(groups, part)) for part in parts)


def one_split(
    detector: BaseEstimator, split: Split, seed: int, alphas: Sequence[float]
) -> list[dict[str, Any]]:
    """Rows for every level, unit and α that can be held."""
    stack, labels = split.stack, split.labels
    learn, calibrate, test = split_patients(split, np.random.default_rng(seed))
    fitted = {
        "pixels": detector.fit(stack[learn]),
        "slices": SliceDetector(detector).fit(stack[learn]),
    }
    n_units = {
        "patients": len(np.unique(stack.groups[calibrate])),
        "slices": len(calibrate),
    }
    brain = labels[test] >= 0
    patients = stack.groups[test]
    rows = []
    for level, own in fitted.items():
        scores = own.score_samples(stack[test])
        for units in UNITS:
            groups = stack.groups[calibrate] if units == "patients" else None
            for alpha in alphas:
                head = {"seed": seed, "level": level, "units": units, "alpha": alpha}
                head["K"] = n_units[units]
                if alpha < 1 / (n_units[units] + 1):
                    rows.append(head | {"note": "too few units for this α"})
                    continue
                conformal = ConformalDetector(FrozenEstimator(own), contamination=alpha)
                # An array: a stack would bring its own groups.
                conformal.fit(stack[calibrate].X, groups=groups)
                flagged = scores < conformal.offset_
                rates = [
                    flagged[patients == name][brain[patients == name]].mean()
                    if level == "pixels"
                    else flagged[patients == name].mean()
                    for name in np.unique(patients)
                ]
                rows.append(head | {"rate": float(np.mean(rates)), "n": len(rates)})
    return rows


def summarise(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean rate over the splits, its standard error, and whether it is within theory."""
    alike: dict[tuple, list[Mapping[str, Any]]] = {}
    for row in rows:
        key = tuple(row[name] for name in ("level", "units", "alpha"))
        alike.setdefault(key, []).append(row)
    summary = []
    for (level, units, alpha), own in alike.items():
        found = np.array([row["rate"] for row in own if "rate" in row])
        shown = {"level": level, "units": units, "alpha": alpha, "K": own[0]["K"]}
        if not found.size:
            summary.append(shown | {"note": own[0]["note"]})
            continue
        error = found.std(ddof=1) / np.sqrt(len(found)) if len(found) > 1 else np.nan
        lowest = max(0.0, alpha - 1 / (own[0]["K"] + 1))
        within = lowest - 2 * error <= found.mean() <= alpha + 2 * error
        summary.append(
            shown
            | {
                "splits": len(found),
                "mean rate": found.mean(),
                "standard error": error,
                "spread of splits": found.std(ddof=1) if len(found) > 1 else np.nan,
                "theory": f"{lowest:.3f} to {alpha:.3f}",
                "within 2 standard errors": "yes" if within else "no",
            }
        )
    return summary


def draw(rows: Sequence[Mapping[str, Any]], alphas: Sequence[float]) -> Figure:
    """Rates of the splits beside α, for each level and unit."""
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
    figure.axes[0].set_ylabel("share of normal ones, new patients")
    figure.axes[0].legend(frameon=False)
    return figure


def make(options: argparse.Namespace) -> BaseEstimator:
    """The detector, as the preset has it."""
    detector = make_detector(f"{options.method}Detector", options.preset)
    if "random_state" in detector.get_params():
        detector.set_params(random_state=0)
    return detector


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    arguments = experiment_parser(__doc__.splitlines()[0], "conformal")
    arguments.add_argument(
        "--method", default="GaussianMixture", help="class name without 'Detector'"
    )
    arguments.add_argument("--splits", type=positive, default=20, help="random splits")
    arguments.add_argument("--alpha", nargs="+", type=float, default=[0.05, 0.1, 0.25])
    arguments.set_defaults(patients=60, slices=8, size=64, preset="quick")
    options = read_options(arguments, argv)
    split = load_split(options)
    rows = []
    for seed in range(options.splits):
        say(f"split {seed + 1} of {options.splits}")
        rows += one_split(make(options), split, seed, options.alpha)
    page = Page(
        options.out,
        "Conformal thresholds",
        f"{options.method}; a third of {len(np.unique(split.stack.groups))} patients each "
        "to train, to calibrate and to test, normal slices only. The rate of a split is "
        "the mean over its test patients.",
    )
    page.table("conformal", rows, "Share of normal pixels and slices", summarise(rows))
    figure = draw(rows, options.alpha)
    page.figure("conformal", figure, "A point is a split, a bar the mean over splits")
    page.close(split.describe(), options)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"conformal.py: error: {error}")
