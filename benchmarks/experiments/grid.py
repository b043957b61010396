"""AUC over a grid of λ and C, by GridSearchCV with two kinds of folds.

Hold-out (paper 2.6): detectors are trained on the normal slices of the training patients
and validated on the abnormal slices of the same patients (`PredefinedSplit`). By patient:
`GroupKFold` over the training patients, validated on all slices of the patients left out.
Test patients are not used. The translation network depends on neither λ nor C, so it is
trained once for each fold.

    python -m benchmarks grid --data brats
    python -m benchmarks grid --energy-weight 5e-4 5e-3 --n-components 3 6

Writes grid.csv, heat maps and run.json. Each candidate is cached when it
is finished.
"""

import argparse
from collections.abc import Sequence

from benchmarks.lib.options import add_experiment_arguments, positive, read_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_experiment_arguments(parser)
    parser.add_argument(
        "--energy-weight", nargs="+", type=float, default=[5e-4, 5e-3, 5e-2], help="λ"
    )
    parser.add_argument(
        "--n-components", nargs="+", type=positive, default=[3, 6, 9], help="C"
    )
    parser.add_argument(
        "--folds", type=positive, default=3, help="number of folds of GroupKFold"
    )
    parser.set_defaults(seeds=1)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    options = read_options(__name__, argv)

    import numpy as np
    import pandas as pd
    from sklearn.model_selection import PredefinedSplit

    from benchmarks.lib.data import load_split
    from benchmarks.lib.methods import make_seeded
    from benchmarks.lib.page import Page
    from benchmarks.lib.search import by_patient, search
    from skadm.metrics import roc_auc_scorer
    from skadm.plotting import plot_heat_map

    split = load_split(options)
    detector = make_seeded("ADM", options)
    slices = np.flatnonzero(split.train)
    # The abnormal slices are the only validation fold.
    hold_out = PredefinedSplit(np.where(split.abnormal[slices], 0, -1))
    ways = {"hold-out": hold_out, "by patient": by_patient(split, slices, options.folds)}
    grid = {
        "energy_weight": sorted(options.energy_weight),
        "n_components": sorted(options.n_components),
    }
    page = Page(
        options,
        "Grid of λ and C",
        "Mean AUC over the folds. Hold-out is the paper's: trained on normal slices, "
        "measured on abnormal ones of the same patients. By patient: measured on all "
        "slices of patients that were not trained on.",
    )
    rows, best = [], []
    for way, folds in ways.items():
        scorers = {"auc": roc_auc_scorer}
        candidates = search(detector, grid, split, slices, folds, scorers, options)
        rows += [{"way": way, **row} for row in candidates]
        best.append({"way": way, **max(candidates, key=lambda row: row["auc"])})
        areas = pd.DataFrame(candidates).pivot(
            index="energy_weight", columns="n_components", values="auc"
        )
        page.figure(
            f"heat_map_{way.replace(' ', '_')}",
            plot_heat_map(
                areas.to_numpy(),
                row_labels=[f"{weight:g}" for weight in areas.index],
                column_labels=[str(n) for n in areas.columns],
                row_title="λ (energy_weight)",
                column_title="C (n_components)",
                value_title="AUC",
            ),
            f"AUC, {way}",
        )
    page.table("grid", rows, "Best of the grid", best)
    page.close(split.describe(), parameters=detector.get_params())
