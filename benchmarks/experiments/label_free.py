"""Hyperparameters chosen without labels: how well, against the choice with labels.

Every candidate of a grid is trained on part of the training patients and measured on the
others in three ways: AUC with the lesion labels, detection of synthetic lesions in their
normal slices, and the likelihood of their normal slices (GroupKFold). Each is trained on
all training patients, too, and tested. Reported for each criterion: its rank correlation
(Spearman) with the labelled AUC of the same folds and with the AUC of the test; and the
regret: test AUC of the candidate that labels would have chosen, less that of the candidate
chosen without.

    python benchmarks/label_free.py --data brats --out out/label_free
    python benchmarks/label_free.py --methods PCA GaussianMixture --budget

Writes label_free.csv (a row for each criterion), candidates.csv, a figure for each
criterion, and run.json. Each candidate is in the cache as soon as it is done.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from benchmarks.lib.budget import with_fewer_epochs
from benchmarks.lib.options import experiment_parser, positive, read_options, say
from benchmarks.lib.page import Page
from benchmarks.lib.search import search
from benchmarks.lib.split import Split, load_split
from matplotlib.figure import Figure
from scipy.stats import spearmanr
from sklearn.model_selection import GroupKFold, PredefinedSplit

from skadm.metrics import roc_auc_scorer
from skadm.model_selection import HeldOutLikelihoodScorer, SyntheticLesionScorer
from skadm.presets import make_detector

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


def measure(
    name: str, grid: Mapping[str, Sequence[Any]], split: Split, options: Any
) -> list[dict[str, Any]]:
    """A row for each candidate: the three criteria, and the AUC of the test."""
    detector = make_detector(f"{name}Detector", options.preset)
    if "random_state" in detector.get_params():
        detector.set_params(random_state=0)
    if options.budget:
        detector = with_fewer_epochs(detector)
    training = np.flatnonzero(split.train)
    n_patients = len(np.unique(split.stack.groups[training]))
    scorers = {
        "labelled": roc_auc_scorer,
        "synthetic": SyntheticLesionScorer(random_state=0),
        "likelihood": HeldOutLikelihoodScorer(),
    }
    folds = GroupKFold(min(options.folds, n_patients))
    chosen = search(detector, grid, split, training, folds, scorers, options)
    everything = np.arange(len(split.stack))
    test = PredefinedSplit(np.where(split.test, 0, -1))
    tested = search(
        detector, grid, split, everything, test, {"auc": roc_auc_scorer}, options
    )
    return [{"method": name, **row, "test": own["auc"]} for row, own in zip(chosen, tested)]


def summarise(name: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each criterion without labels: rank correlations, and what it costs."""
    values = {
        key: np.array([row[key] for row in rows]) for key in ("labelled", "test", *CRITERIA)
    }
    with_labels = values["test"][values["labelled"].argmax()]
    summary = []
    for criterion in CRITERIA:
        own = values[criterion]
        chosen = own.argmax()
        summary.append(
            {
                "method": name,
                "criterion": criterion,
                "candidates": len(rows),
                "rank correlation, labelled": spearmanr(own, values["labelled"]).statistic,
                "rank correlation, test": spearmanr(own, values["test"]).statistic,
                "AUC, its choice": values["test"][chosen],
                "AUC, labelled choice": with_labels,
                "regret": with_labels - values["test"][chosen],
                "AUC, best": values["test"].max(),
                "AUC, worst": values["test"].min(),
            }
        )
    return summary


def draw(points: Mapping[str, Sequence[tuple[float, float]]], criterion: str) -> Figure:
    """AUC of the test against a criterion, a panel for each method."""
    n_columns = min(3, len(points))
    n_rows = -(-len(points) // n_columns)
    figure = Figure(figsize=(3.2 * n_columns, 2.7 * n_rows), layout="constrained")
    grid = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axes, (name, own) in zip(grid, points.items()):
        axes.plot(*zip(*own), "o", color="#0072B2")
        axes.set_title(name)
        axes.set_xlabel(f"{criterion}, held-out patients")
        axes.set_ylabel("AUC, test")
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[len(points) :]:
        axes.remove()
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    arguments = experiment_parser(__doc__.splitlines()[0], "label_free")
    arguments.add_argument("--folds", type=positive, default=2, help="of GroupKFold")
    arguments.add_argument("--methods", nargs="+", choices=GRIDS, default=list(GRIDS))
    arguments.set_defaults(seeds=1)
    options = read_options(arguments, argv)
    split = load_split(options)
    page = Page(
        options.out,
        "Hyperparameters chosen without labels",
        "For each criterion, its rank correlation with the AUC that lesion labels give on "
        "the same folds, and with the AUC of the test; and the regret: test AUC of the "
        "candidate chosen with labels, less that of the candidate chosen without.",
    )
    candidates: list[dict[str, Any]] = []
    summary: list[dict[str, Any]] = []
    for name in options.methods:
        say(f"{name}: {GRIDS[name]}")
        rows = measure(name, GRIDS[name], split, options)
        candidates += rows
        summary += summarise(name, rows)
    page.table("label_free", summary, "Choice without labels")
    page.rows("candidates", candidates)
    for criterion in CRITERIA:
        points = {
            name: [
                (row[criterion], row["test"]) for row in candidates if row["method"] == name
            ]
            for name in options.methods
        }
        page.figure(
            criterion,
            draw(points, criterion),
            f"AUC of the test against the criterion: {criterion}. A point is a candidate.",
        )
    page.close(split.describe(), options, grids=GRIDS)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"label_free.py: error: {error}")
