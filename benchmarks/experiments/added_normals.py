"""Training on another data set's normal slices, too (paper 2.4, for ISLES with BraTS).

Both data sets are reduced to their common contrasts. The normal slices of all patients of
the other data set are added to those of the training patients; validation and test stay
what they are.

    python benchmarks/added_normals.py --data isles --add brats --out out/added_normals

Writes added_normals_*.csv, t_tests.csv and run.json.
"""

import sys
from collections.abc import Sequence

import numpy as np
from benchmarks.lib.options import experiment_parser, read_options
from benchmarks.lib.experiment import parameters, run_variants, show
from benchmarks.lib.page import Page
from benchmarks.lib.split import Split, crop, load_slices, split_of
from benchmarks.lib.summary import all_rows

from skadm.data import ArrayVolume, SliceStack
from skadm.evaluation import paired_t_tests
from skadm.presets import make_detector


def of_contrasts(stack: SliceStack, contrasts: Sequence[str]) -> list[ArrayVolume]:
    """Volumes with these contrasts alone, in this order."""
    places = [stack.contrasts.index(name) for name in contrasts]
    X, y = stack.load()
    return [
        ArrayVolume(
            X[stack.groups == patient][:, places],
            y[stack.groups == patient],
            patient=patient,
            contrasts=contrasts,
        )
        for patient in dict.fromkeys(stack.groups.tolist())
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    arguments = experiment_parser(__doc__.splitlines()[0], "added_normals")
    arguments.add_argument(
        "--add", default="phantom", help="as --data: where normal slices are added from"
    )
    options = read_options(arguments, argv)
    own, added = (load_slices(name, options) for name in (options.data, options.add))
    contrasts = [name for name in own.contrasts if name in added.contrasts]
    if len(contrasts) < 2:
        raise ValueError(
            f"{options.data} has the contrasts {own.contrasts}, {options.add} has "
            f"{added.contrasts}: expected at least 2 in common"
        )
    if shared := set(own.groups.tolist()) & set(added.groups.tolist()):
        raise ValueError(f"patients of both data sets: {sorted(shared)[:5]}")
    added = added[~(added.y == 1).any(axis=(1, 2))]
    # One box for both: their slices are trained on together.
    both = crop(
        SliceStack.from_volumes(
            [*of_contrasts(own, contrasts), *of_contrasts(added, contrasts)]
        )
    )
    of_own = np.isin(both.groups, own.groups)
    alone = split_of(options.data, both[of_own])
    test = np.isin(both.groups, alone.patients["test"])
    together = Split(f"{options.data} + {options.add}", both, both.y, ~test, test)
    detector = make_detector("ADMDetector", options.preset)
    outcomes = [
        *run_variants({"ADM, own normals": detector}, alone, options),
        *run_variants({"ADM, added normals": detector}, together, options),
    ]
    page = Page(
        options.out,
        "Added normal slices",
        f"{', '.join(contrasts)}; {alone.learning.sum()} normal slices of {options.data}, "
        f"and {together.learning.sum() - alone.learning.sum()} of {options.add}. "
        "Validation and test are the same.",
    )
    show(page, "added_normals", outcomes)
    rows = [row for row in all_rows(outcomes) if row["split"] == "test"]
    tests = paired_t_tests(rows, "ADM, own normals", ("auc", "ap", "f1"))
    page.table("t_tests", tests, "Paired t-test over seeds")
    page.close(together.describe(), options, parameters=parameters(outcomes))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"added_normals.py: error: {error}")
