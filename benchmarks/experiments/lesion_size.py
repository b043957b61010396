"""AUC of each slice by the size of its lesion (Fig. 7 of the paper).

Eight bins of 200 pixels, from 0 to 1600, on the test slices with a lesion; pixels are those
of the resized slices (--size). The AUC of a slice is over its own pixels: it tells how well
the lesion stands out in its own slice, not whether one threshold would do for all slices.

    python benchmarks/lesion_size.py --data brats --out out/lesion_size

Uses the runs of compare.py if it is given their cache. Writes lesion_size.csv,
lesion_size.png and run.json.
"""

import sys
from collections.abc import Sequence

import numpy as np
from benchmarks.lib.cache import ResultCache
from benchmarks.lib.options import experiment_parser, read_options
from benchmarks.lib.experiment import parameters, run_variants
from benchmarks.lib.methods import method_names, own_parameters
from benchmarks.lib.page import Page
from benchmarks.lib.split import load_split
from benchmarks.lib.summary import with_spread

from skadm.evaluation import intensity_baselines
from skadm.metrics import roc_auc_by_lesion_size
from skadm.plotting import plot_roc_auc_by_lesion_size
from skadm.presets import make_detector


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    arguments = experiment_parser(__doc__.splitlines()[0], "lesion_size")
    arguments.add_argument(
        "--methods", nargs="+", choices=method_names(), default=["ADM", "DAE"]
    )
    options = read_options(arguments, argv)
    split = load_split(options)
    contrasts = split.stack.contrasts
    baselines, _ = intensity_baselines(contrasts)
    variants = {
        name: make_detector(
            method_names()[name], options.preset, **own_parameters(name, contrasts)
        )
        for name in options.methods
    }
    # The last of the baselines is the strongest that there is: all contrasts, smoothed.
    strongest = list(baselines)[-1:]
    variants |= {name: baselines[name] for name in strongest}
    outcomes = run_variants(variants, split, options)
    cache = ResultCache(options.cache)
    labels = split.labels[split.test]
    rows = []
    for outcome in outcomes:
        maps = cache.load_maps(outcome.key).test
        rows += [
            {"method": outcome.run.method, "seed": outcome.run.seed, **row}
            for row in roc_auc_by_lesion_size(labels, maps)
        ]
    means = {
        name: over_seeds([r for r in rows if r["method"] == name]) for name in variants
    }
    page = Page(
        options.out,
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
                "lesion, pixels": f"{bins[0]['low']:.0f} to {bins[0]['high']:.0f}",
                "slices": bins[0]["n_slices"],
            }
            | {name: with_spread(row["mean"], row["std"]) for name, row in zip(means, bins)}
            for bins in zip(*means.values())
        ],
    )
    page.figure(
        "lesion_size",
        plot_roc_auc_by_lesion_size(means),
        "AUC of a slice by the size of its lesion, and the number of slices",
    )
    page.close(split.describe(), options, parameters=parameters(outcomes))


def over_seeds(rows: Sequence[dict]) -> list[dict]:
    """Rows of the bins, with the means over seeds of mean and spread."""
    bins: dict[float, list[dict]] = {}
    for row in rows:
        bins.setdefault(row["low"], []).append(row)
    return [
        {
            **{key: own[0][key] for key in ("low", "high", "n_slices")},
            **{key: float(np.mean([r[key] for r in own])) for key in ("mean", "std")},
        }
        for own in bins.values()
    ]


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"lesion_size.py: error: {error}")
