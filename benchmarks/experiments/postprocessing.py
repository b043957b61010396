"""Effect of filters of score maps: median, smoothing, border erosion, small components.

Each filter is applied to the same maps of each method, and the threshold is set again on
the validation slices. The sizes are fixed in advance (`filters`). Filters "through slices"
also use the neighbouring slices of the patient, in the order of the data.

    python -m benchmarks postprocessing --data brats

Uses the runs of compare if --cache is its cache. Writes postprocessing.csv (a row for
each method, seed, filter and side), montage.png and run.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.lib.options import add_experiment_arguments, add_methods, read_options, say

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.lib.data import Split
    from skadm.postprocessing._map_transformer import MapTransformer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_experiment_arguments(parser)
    add_methods(parser, ["ADM", "DAE", "GaussianMixture"])


def filters() -> dict[str, list[MapTransformer]]:
    """Lists of filters that are applied in order, by name."""
    from skadm.postprocessing import (
        BorderEroder,
        GaussianSmoother,
        MedianFilter,
        SmallComponentRemover,
    )

    return {
        "none": [],
        "median 5 × 5": [MedianFilter(5)],
        "median 5 × 5 × 5": [MedianFilter(5, size_through=5)],
        "Gaussian, σ 2": [GaussianSmoother(2.0)],
        "Gaussian, σ 2, through slices": [GaussianSmoother(2.0, sigma_through=2.0)],
        "border, 4 pixels": [BorderEroder(4.0)],
        "components under 20 pixels": [SmallComponentRemover(20)],
        "Gaussian, then border": [GaussianSmoother(2.0), BorderEroder(4.0)],
    }


def rows_of(split: Split, maps: dict[str, NDArray]) -> list[dict[str, Any]]:
    """Compute AUC, AP and F1 of both sides, at the best threshold on validation slices."""
    from benchmarks.lib.filters import SIDES
    from benchmarks.lib.measures import measure
    from skadm.metrics import best_f1_threshold

    labels = {side: split.labels[getattr(split, side)] for side in SIDES}
    threshold = best_f1_threshold(labels["validation"], maps["validation"])
    return [
        {"split": side} | measure(labels[side], maps[side], threshold) for side in SIDES
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    options = read_options(__name__, argv)

    from benchmarks.lib.data import load_split
    from benchmarks.lib.filters import apply
    from benchmarks.lib.methods import variants_of
    from benchmarks.lib.page import Page
    from benchmarks.lib.runs import run_variants
    from benchmarks.lib.summary import draw_montage, mean_over_seeds, parameters

    split = load_split(options)
    variants = variants_of(options, split, smoothed=False)
    outcomes = run_variants(variants, split, options)
    rows, shown = [], {}
    for outcome in outcomes:
        say(f"{outcome.run.title}: filters")
        maps = outcome.load_maps()._asdict()
        for name, steps in filters().items():
            after = apply(steps, split, maps)
            head = {"method": outcome.run.method, "seed": outcome.run.seed, "filter": name}
            rows += [head | row for row in rows_of(split, after)]
            if outcome is outcomes[0]:
                shown[name] = after["test"]
    page = Page(
        options,
        "Post-processing of score maps",
        "Filters applied to the same maps; thresholds set again on the validation slices. "
        "The median filter of the DAE comes before them.",
    )
    test = [row for row in rows if row["split"] == "test"]
    means = mean_over_seeds(test, ["method", "filter"], ["auc", "ap", "f1"])
    page.table("postprocessing", rows, "Test, mean over seeds", means)
    caption = f"{outcomes[0].run.title}: score maps after each filter"
    page.figure("montage", draw_montage(split, shown), caption)
    page.close(split.describe(), parameters=parameters(outcomes))
