"""Training with normal slices of a second data set (paper 2.4, for ISLES with BraTS).

Both data sets are reduced to their common contrasts. The normal slices of all patients of
the second data set are added to those of the training patients. Validation and test do not
change.

    python -m benchmarks added_normals --data isles --add brats

Writes added_normals_*.csv, t_tests.csv and run.json.
"""

import argparse
from collections.abc import Sequence

from benchmarks.lib.options import add_experiment_arguments, read_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_experiment_arguments(parser)
    parser.add_argument(
        "--add", default="phantom", help="second data set, in the same form as --data"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    options = read_options(__name__, argv)

    import numpy as np

    from benchmarks.lib.data import (
        Split,
        crop,
        join,
        load_slices,
        normal_slices,
        split_of,
    )
    from benchmarks.lib.page import Page
    from benchmarks.lib.runs import run_variants
    from benchmarks.lib.summary import all_rows, parameters, show
    from skadm.evaluation import paired_t_tests
    from skadm.presets import make_detector

    first, added = (load_slices(name, options) for name in (options.data, options.add))
    contrasts = [name for name in first.contrasts if name in added.contrasts]
    if len(contrasts) < 2:
        raise ValueError(
            f"{options.data} has the contrasts {first.contrasts}, {options.add} has "
            f"{added.contrasts}: expected at least 2 in common"
        )
    # One box for both, because their slices are trained on together.
    both = crop(join(first, added[normal_slices(added)], contrasts))
    alone = split_of(options.data, both[np.isin(both.groups, first.groups)])
    test = np.isin(both.groups, alone.patients["test"])
    together = Split(f"{options.data} + {options.add}", both, both.y, ~test, test)
    detector = make_detector("ADMDetector", options.preset)
    outcomes = [
        *run_variants({"ADM, normals of one data set": detector}, alone, options),
        *run_variants({"ADM, normals of both data sets": detector}, together, options),
    ]
    page = Page(
        options,
        "Added normal slices",
        f"{', '.join(contrasts)}; {alone.learning.sum()} normal slices of {options.data}, "
        f"and {together.learning.sum() - alone.learning.sum()} of {options.add}. "
        "Validation and test are the same.",
    )
    show(page, "added_normals", outcomes)
    rows = all_rows(outcomes, "test")
    tests = paired_t_tests(rows, "ADM, normals of one data set", ("auc", "ap", "f1"))
    page.table("t_tests", tests, "Paired t-test over seeds")
    page.close(together.describe(), parameters=parameters(outcomes))
