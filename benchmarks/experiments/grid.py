"""AUC over a grid of λ and C, as GridSearchCV finds it, in two ways.

Hold-out, the paper's way (2.6): train on the normal slices of the training patients,
measure on their abnormal slices (`PredefinedSplit`). By patient: `GroupKFold` over the
training patients, all slices of the patients left out. Test patients are not looked at.
The translation network depends on neither λ nor C, and is trained once for each fold.

    python benchmarks/grid.py --data brats --out out/grid
    python benchmarks/grid.py --energy-weight 5e-4 5e-3 --n-components 3 6

Writes grid.csv, heat maps and run.json. Each candidate is in the cache as soon as it is
done.
"""

import sys
from collections.abc import Sequence

import numpy as np
from benchmarks.lib.budget import with_fewer_epochs
from benchmarks.lib.options import experiment_parser, positive, read_options
from benchmarks.lib.page import Page
from benchmarks.lib.search import search
from benchmarks.lib.split import Split, load_split
from numpy.typing import NDArray
from sklearn.model_selection import BaseCrossValidator, GroupKFold, PredefinedSplit

from skadm.metrics import roc_auc_scorer
from skadm.plotting import plot_heat_map
from skadm.presets import make_detector


def hold_out(split: Split) -> tuple[NDArray[np.intp], BaseCrossValidator]:
    """Training patients' slices, the abnormal ones being the only fold to measure on."""
    slices = np.flatnonzero(split.train)
    return slices, PredefinedSplit(np.where(split.abnormal[slices], 0, -1))


def by_patient(split: Split, n_folds: int) -> tuple[NDArray[np.intp], BaseCrossValidator]:
    """Training patients' slices, in folds of patients."""
    slices = np.flatnonzero(split.train)
    n_patients = len(np.unique(split.stack.groups[slices]))
    return slices, GroupKFold(min(n_folds, n_patients))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    arguments = experiment_parser(__doc__.splitlines()[0], "grid")
    arguments.add_argument(
        "--energy-weight", nargs="+", type=float, default=[5e-4, 5e-3, 5e-2], help="λ"
    )
    arguments.add_argument(
        "--n-components", nargs="+", type=positive, default=[3, 6, 9], help="C"
    )
    arguments.add_argument("--folds", type=positive, default=3, help="of GroupKFold")
    arguments.set_defaults(seeds=1)
    options = read_options(arguments, argv)
    split = load_split(options)
    detector = make_detector("ADMDetector", options.preset, random_state=0)
    if options.budget:
        detector = with_fewer_epochs(detector)
    weights, components = sorted(options.energy_weight), sorted(options.n_components)
    grid = {"energy_weight": weights, "n_components": components}
    page = Page(
        options.out,
        "Grid of λ and C",
        "Mean AUC over the folds. Hold-out is the paper's: trained on normal slices, "
        "measured on abnormal ones of the same patients. By patient: measured on all "
        "slices of patients that were not trained on.",
    )
    rows, best = [], []
    ways = {"hold-out": hold_out(split), "by patient": by_patient(split, options.folds)}
    for way, (slices, folds) in ways.items():
        found = search(
            detector, grid, split, slices, folds, {"auc": roc_auc_scorer}, options
        )
        rows += [{"way": way, **row} for row in found]
        best.append({"way": way, **max(found, key=lambda row: row["auc"])})
        page.figure(
            f"heat_map_{way.replace(' ', '_')}",
            plot_heat_map(
                table_of(found, weights, components),
                row_labels=[f"{weight:g}" for weight in weights],
                column_labels=[str(n) for n in components],
                row_title="λ (energy_weight)",
                column_title="C (n_components)",
                value_title="AUC",
            ),
            f"AUC, {way}",
        )
    page.table("grid", rows, "Best of the grid", best)
    page.close(split.describe(), options, parameters=detector.get_params())


def table_of(
    rows: Sequence[dict], weights: Sequence[float], components: Sequence[int]
) -> NDArray:
    """AUC as an array: a row for each λ, a column for each C."""
    found = {(row["energy_weight"], row["n_components"]): row["auc"] for row in rows}
    return np.array([[found[w, c] for c in components] for w in weights])


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"grid.py: error: {error}")
