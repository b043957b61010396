"""AUC of each slice by the size of its lesion (Fig. 7 of the paper).

Test slices with a lesion are put into eight bins of 200 pixels, from 0 to 1600 pixels of
the resized slices (--size). The AUC is computed within each slice. It says how well the
lesion stands out in that slice, not whether one threshold works for all slices.

    python -m benchmarks lesion_size --data brats

Uses the runs of compare if --cache is its cache. Writes lesion_size.csv,
lesion_size.png and run.json.
"""

import argparse
from collections.abc import Sequence

from benchmarks.lib.options import add_experiment_arguments, add_methods, read_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_experiment_arguments(parser)
    add_methods(parser, ["ADM", "DAE"])


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    options = read_options(__name__, argv)

    import pandas as pd

    from benchmarks.lib.data import load_split
    from benchmarks.lib.methods import variants_of
    from benchmarks.lib.page import Page
    from benchmarks.lib.runs import run_variants
    from benchmarks.lib.summary import parameters, with_spread
    from skadm.metrics import roc_auc_by_lesion_size
    from skadm.plotting import plot_roc_auc_by_lesion_size

    split = load_split(options)
    variants = variants_of(options, split, smoothed=True)
    outcomes = run_variants(variants, split, options)
    labels = split.labels[split.test]
    rows = [
        {"method": outcome.run.method, "seed": outcome.run.seed, **row}
        for outcome in outcomes
        for row in roc_auc_by_lesion_size(labels, outcome.load_maps().test)
    ]
    bins = ["method", "low", "high", "n_slices"]
    means = pd.DataFrame(rows).groupby(bins, sort=False)[["mean", "std"]]
    means = means.mean(skipna=False).reset_index()
    by_method = {
        name: means[means["method"] == name].drop(columns="method").to_dict("records")
        for name in variants
    }
    page = Page(
        options,
        "AUC by lesion size (Fig. 7)",
        f"Test slices with a lesion, of {split.n_test_patients_with_anomaly} patients. "
        "Mean and standard deviation over the slices of a bin, averaged over seeds.",
    )
    page.table(
        "lesion_size",
        rows,
        "AUC of a slice by the size of its lesion",
        [
            {
                "lesion, pixels": f"{row[0]['low']:.0f} to {row[0]['high']:.0f}",
                "slices": row[0]["n_slices"],
            }
            | {name: with_spread(b["mean"], b["std"]) for name, b in zip(by_method, row)}
            for row in zip(*by_method.values())
        ],
    )
    page.figure(
        "lesion_size",
        plot_roc_auc_by_lesion_size(by_method),
        "AUC of a slice by the size of its lesion, and the number of slices",
    )
    page.close(split.describe(), parameters=parameters(outcomes))
