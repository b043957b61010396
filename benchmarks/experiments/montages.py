"""Score maps and segmentations of all methods (Fig. 6 and S2 of the paper).

A pixel is segmented if its score is below the threshold with the best F1 on validation
slices. The figures show test and validation slices of the first seed, with the outlines of
the lesions.

    python -m benchmarks montages --data brats

Uses the runs of compare if --cache is its cache. Writes four montages and run.json.
"""

import argparse
from collections.abc import Sequence

from benchmarks.lib.options import add_experiment_arguments, add_methods, read_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_experiment_arguments(parser)
    add_methods(parser)
    parser.set_defaults(seeds=1)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    options = read_options(__name__, argv)

    import numpy as np

    from benchmarks.lib.data import load_split
    from benchmarks.lib.methods import choose, method_names, plan
    from benchmarks.lib.page import Page
    from benchmarks.lib.runs import carry_out
    from benchmarks.lib.summary import draw_montage
    from skadm.evaluation import intensity_baselines

    methods = choose(options.methods, method_names())
    split = load_split(options)
    contrasts = split.stack.contrasts
    baselines, _ = intensity_baselines(contrasts)
    runs = plan(methods, baselines, contrasts, options)
    page = Page(
        options,
        "Score maps and segmentations (Fig. 6 and S2)",
        "Bright is anomalous. Segmentations are at the threshold with the best F1 on the "
        "validation slices; outlines are the lesions as they were drawn by experts.",
    )
    scores: dict = {"test": {}, "validation": {}}
    segmented: dict = {"test": {}, "validation": {}}
    for outcome in carry_out(runs, split, options.cache):
        if outcome.result is None or outcome.run.seed not in (None, 0):
            continue
        threshold = outcome.result.rows[-1]["threshold"]
        for side, maps in outcome.load_maps()._asdict().items():
            scores[side][outcome.run.method] = maps
            segmented[side][outcome.run.method] = np.where(maps < threshold, -1.0, 0.0)
    for side in scores:
        for what, maps, ends in (
            ("score maps", scores[side], (1.0, 99.5)),
            ("segmentations", segmented[side], (0.0, 100.0)),
        ):
            figure = draw_montage(split, maps, side, percentiles=ends)
            caption = f"{side.capitalize()} slices: {what}"
            page.figure(f"{side}_{what.replace(' ', '_')}", figure, caption)
    page.close(split.describe())
