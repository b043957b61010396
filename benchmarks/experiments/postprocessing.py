"""What filters of the score maps buy: median, smoothing, border erosion, small components.

Each filter is applied to the same maps of each method; the threshold is set anew on the
validation slices. The sizes are fixed beforehand (`FILTERS`), not chosen. "Through slices"
filters take the neighbouring slices of the patient in, as they lie in the data.

    python benchmarks/postprocessing.py --data brats --out out/postprocessing

Uses the runs of compare.py if it is given their cache. Writes postprocessing.csv (a row for
each method, seed, filter and side), montage.png and run.json.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from benchmarks.lib.cache import ResultCache
from benchmarks.lib.options import experiment_parser, read_options, say
from benchmarks.lib.experiment import parameters, run_variants
from benchmarks.lib.methods import method_names, own_parameters
from benchmarks.lib.page import Page
from benchmarks.lib.split import Split, load_split
from benchmarks.lib.summary import with_spread
from numpy.typing import NDArray

from skadm.evaluation import intensity_baselines
from skadm.metrics import (
    best_f1_threshold,
    pixel_average_precision_score,
    pixel_roc_auc_score,
    pixel_scores_at_threshold,
)
from skadm.plotting import plot_montage, representative_slices
from skadm.postprocessing import (
    BorderEroder,
    GaussianSmoother,
    MapTransformer,
    MedianFilter,
    SmallComponentRemover,
)
from skadm.presets import make_detector

FILTERS: dict[str, list[MapTransformer]] = {
    "none": [],
    "median 5 × 5": [MedianFilter(5)],
    "median 5 × 5 × 5": [MedianFilter(5, size_through=5)],
    "Gaussian, σ 2": [GaussianSmoother(2.0)],
    "Gaussian, σ 2, through slices": [GaussianSmoother(2.0, sigma_through=2.0)],
    "border, 4 pixels": [BorderEroder(4.0)],
    "components under 20 pixels": [SmallComponentRemover(20)],
    "Gaussian, then border": [GaussianSmoother(2.0), BorderEroder(4.0)],
}
SIDES = ("validation", "test")


def filtered(
    filters: Sequence[MapTransformer], split: Split, maps: Mapping[str, NDArray]
) -> dict[str, NDArray]:
    """Maps of either side after the filters, which are fitted on validation slices."""
    out = dict(maps)
    chosen = {"validation": split.validation, "test": split.test}
    known = {
        side: {
            "brain": split.labels[slices] >= 0,
            "groups": split.stack.groups[slices],
        }
        for side, slices in chosen.items()
    }
    for each in filters:
        each.fit(out["validation"], **known["validation"])
        out = {side: each.transform(out[side], **known[side]) for side in SIDES}
    return out


def measure(split: Split, maps: Mapping[str, NDArray]) -> list[dict[str, Any]]:
    """AUC, AP and F1 of either side."""
    labels = {
        "validation": split.labels[split.validation],
        "test": split.labels[split.test],
    }
    threshold = best_f1_threshold(labels["validation"], maps["validation"])
    return [
        {
            "split": side,
            "auc": pixel_roc_auc_score(labels[side], maps[side]),
            "ap": pixel_average_precision_score(labels[side], maps[side]),
            "f1": pixel_scores_at_threshold(labels[side], maps[side], threshold)["f1"],
        }
        for side in SIDES
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    arguments = experiment_parser(__doc__.splitlines()[0], "postprocessing")
    arguments.add_argument(
        "--methods",
        nargs="+",
        choices=method_names(),
        default=["ADM", "DAE", "GaussianMixture"],
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
    unsmoothed = [name for name in baselines if "smoothed" not in name][-1:]
    variants |= {name: baselines[name] for name in unsmoothed}
    outcomes = run_variants(variants, split, options)
    cache = ResultCache(options.cache)
    stack, labels = split.stack[split.test], split.labels[split.test]
    shown = representative_slices(labels, stack.groups)
    rows, montage = [], {}
    for outcome in outcomes:
        say(f"{outcome.run.title}: filters")
        maps = cache.load_maps(outcome.key)._asdict()
        for name, filters in FILTERS.items():
            found = filtered(filters, split, maps)
            head = {"method": outcome.run.method, "seed": outcome.run.seed, "filter": name}
            rows += [head | row for row in measure(split, found)]
            if outcome is outcomes[0]:
                montage[name] = found["test"][shown]
    page = Page(
        options.out,
        "Post-processing of score maps",
        "Filters applied to the same maps; thresholds set anew on the validation slices. "
        "The DAE's own median filter comes before them.",
    )
    page.table("postprocessing", rows, "Test, mean over seeds", summarise(rows))
    figure = plot_montage(stack[shown], labels[shown], montage, slices=range(len(shown)))
    page.figure("montage", figure, f"{outcomes[0].run.title}: score maps after each filter")
    page.close(split.describe(), options, parameters=parameters(outcomes))


def summarise(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Test metrics of each method and filter, mean over seeds."""
    alike: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["split"] == "test":
            alike.setdefault((row["method"], row["filter"]), []).append(row)
    summary = []
    for (method, name), own in alike.items():
        summary.append({"method": method, "filter": name})
        for metric in ("auc", "ap", "f1"):
            values = np.array([row[metric] for row in own])
            spread = values.std(ddof=1) if len(own) > 1 else np.nan
            summary[-1][metric] = with_spread(values.mean(), spread)
    return summary


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"postprocessing.py: error: {error}")
