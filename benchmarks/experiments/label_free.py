"""Choice of hyperparameters without labels, compared with the choice with labels.

Every candidate of a grid is trained on some training patients and validated on the others
(GroupKFold) by three criteria: AUC with the lesion labels, detection of synthetic lesions
in normal slices, and the likelihood of normal slices. Each candidate is also trained on all
training patients and tested. The table shows for each criterion its rank correlation
(Spearman) with the labelled AUC of the same folds and with the test AUC, and the regret:
the test AUC of the candidate chosen with labels minus that of the candidate chosen without.

    python -m benchmarks label_free --data brats
    python -m benchmarks label_free --methods PCA GaussianMixture --budget

Writes label_free.csv (a row for each criterion), candidates.csv, a figure for each
criterion, and run.json. Each candidate is cached when it is finished.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.lib.options import (
    add_experiment_arguments,
    add_methods,
    positive,
    read_options,
    say,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from benchmarks.lib.data import Split

GRIDS: dict[str, dict[str, list[Any]]] = {
    "ADM": {
        "energy_weight": [5e-4, 5e-3, 5e-2],
        "n_components": [3, 6],
        "latent_dim": [1, 3],
    },
    "DAE": {"noise_std": [0.3, 1.0, 3.0], "noise_scale": [4, 16]},
    "DSVDD": {"latent_dim": [8, 32], "width": [8, 32]},
    "GMVAE": {"tv_weight": [0.3, 1.0, 3.0], "restoration_steps": [1, 10]},
    "GaussianMixture": {"n_components": [1, 2, 4, 8, 16]},
    "PCA": {"n_components": [1, 2, 3], "neighbourhood": [1, 5]},
}
CRITERIA = ("synthetic", "likelihood")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_experiment_arguments(parser)
    add_methods(parser, list(GRIDS))
    parser.add_argument(
        "--folds", type=positive, default=2, help="number of folds of GroupKFold"
    )
    parser.set_defaults(seeds=1)


def measure(
    name: str, grid: Mapping[str, Sequence[Any]], split: Split, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Return a row for each candidate: the three criteria and the test AUC."""
    import numpy as np
    from sklearn.model_selection import PredefinedSplit

    from benchmarks.lib.methods import make_seeded
    from benchmarks.lib.search import by_patient, search
    from skadm.metrics import roc_auc_scorer
    from skadm.model_selection import HeldOutLikelihoodScorer, SyntheticLesionScorer

    detector = make_seeded(name, options)
    training = np.flatnonzero(split.train)
    scorers = {
        "labelled": roc_auc_scorer,
        "synthetic": SyntheticLesionScorer(random_state=0),
        "likelihood": HeldOutLikelihoodScorer(),
    }
    folds = by_patient(split, training, options.folds)
    chosen = search(detector, grid, split, training, folds, scorers, options)
    everything = np.arange(len(split.stack))
    test = PredefinedSplit(np.where(split.test, 0, -1))
    scorers = {"auc": roc_auc_scorer}
    tested = search(detector, grid, split, everything, test, scorers, options)
    return [{"method": name, **a, "test": b["auc"]} for a, b in zip(chosen, tested)]


def summarise(name: str, candidates: DataFrame) -> list[dict[str, Any]]:
    """Return rank correlations and the regret of each criterion without labels."""
    ranks = candidates[["labelled", "test", *CRITERIA]].corr("spearman")
    tested = candidates["test"]
    with_labels = tested[candidates["labelled"].idxmax()]
    summary = []
    for criterion in CRITERIA:
        without = tested[candidates[criterion].idxmax()]
        summary.append(
            {
                "method": name,
                "criterion": criterion,
                "candidates": len(candidates),
                "rank correlation, labelled": ranks.loc[criterion, "labelled"],
                "rank correlation, test": ranks.loc[criterion, "test"],
                "AUC, its choice": without,
                "AUC, labelled choice": with_labels,
                "regret": with_labels - without,
                "AUC, best": tested.max(),
                "AUC, worst": tested.min(),
            }
        )
    return summary


def draw(candidates: DataFrame, criterion: str) -> Figure:
    """Draw the test AUC against a criterion, one panel for each method."""
    from matplotlib.figure import Figure

    methods = candidates.groupby("method", sort=False)
    n_columns = min(3, len(methods))
    n_rows = -(-len(methods) // n_columns)
    figure = Figure(figsize=(3.2 * n_columns, 2.7 * n_rows), layout="constrained")
    grid = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axes, (name, rows) in zip(grid, methods):
        axes.plot(rows[criterion], rows["test"], "o", color="#0072B2")
        axes.set_title(name)
        axes.set_xlabel(f"{criterion}, held-out patients")
        axes.set_ylabel("AUC, test")
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[len(methods) :]:
        axes.remove()
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    options = read_options(__name__, argv)

    import pandas as pd

    from benchmarks.lib.data import load_split
    from benchmarks.lib.methods import choose
    from benchmarks.lib.page import Page

    methods = choose(options.methods, GRIDS)
    split = load_split(options)
    page = Page(
        options,
        "Hyperparameters chosen without labels",
        "Rank correlation of each criterion with the labelled AUC of the same folds and "
        "with the test AUC. Regret: test AUC of the candidate chosen with labels minus "
        "that of the candidate chosen without.",
    )
    rows: list[dict[str, Any]] = []
    summary: list[dict[str, Any]] = []
    for name in methods:
        say(f"{name}: {GRIDS[name]}")
        candidates = measure(name, GRIDS[name], split, options)
        rows += candidates
        summary += summarise(name, pd.DataFrame(candidates))
    page.table("label_free", summary, "Choice without labels")
    page.rows("candidates", rows)
    for criterion in CRITERIA:
        page.figure(
            criterion,
            draw(pd.DataFrame(rows), criterion),
            f"AUC of the test against the criterion: {criterion}. A point is a candidate.",
        )
    page.close(split.describe(), grids=GRIDS)
