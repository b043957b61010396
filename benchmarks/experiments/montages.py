"""Score maps and segmentations of all methods (Fig. 6 and S2 of the paper).

A pixel is segmented where its score is below the method's threshold, that with the best F1
on validation slices. Shows test slices and validation slices, with the outlines of the
lesions, of the first seed.

    python benchmarks/montages.py --data brats --out out/montages

Uses the runs of compare.py if it is given their cache. Writes four montages and run.json.
"""

import sys
from collections.abc import Sequence

import numpy as np
from benchmarks.lib.cache import ResultCache
from benchmarks.lib.options import experiment_parser, read_options
from benchmarks.lib.methods import add_methods, plan
from benchmarks.lib.page import Page
from benchmarks.lib.runs import carry_out
from benchmarks.lib.split import load_split

from skadm.evaluation import intensity_baselines
from skadm.plotting import plot_montage, representative_slices


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    arguments = experiment_parser(__doc__.splitlines()[0], "montages")
    add_methods(arguments)
    arguments.set_defaults(seeds=1)
    options = read_options(arguments, argv)
    split = load_split(options)
    contrasts = split.stack.contrasts
    baselines, _ = intensity_baselines(contrasts)
    runs = plan(dict.fromkeys(options.methods), baselines, contrasts, options)
    cache = ResultCache(options.cache)
    first = [
        outcome
        for outcome in carry_out(runs, split, cache)
        if outcome.result is not None and outcome.run.seed in (None, 0)
    ]
    page = Page(
        options.out,
        "Score maps and segmentations (Fig. 6 and S2)",
        "Bright is anomalous. Segmentations are at the threshold with the best F1 on the "
        "validation slices; outlines are the lesions as they were drawn by experts.",
    )
    for side, chosen in (("test", split.test), ("validation", split.validation)):
        stack, labels = split.stack[chosen], split.labels[chosen]
        shown = representative_slices(labels, stack.groups)
        scores, segmented = {}, {}
        for outcome in first:
            name = outcome.run.method
            title = f"{name} intensity" if name in contrasts else name
            own = getattr(cache.load_maps(outcome.key), side)[shown]
            scores[title] = own
            threshold = outcome.result.rows[-1]["threshold"]
            segmented[title] = np.where(own < threshold, -1.0, 0.0)
        for what, maps, ends in (
            ("score maps", scores, (1.0, 99.5)),
            ("segmentations", segmented, (0.0, 100.0)),
        ):
            figure = plot_montage(
                stack[shown],
                labels[shown],
                maps,
                slices=range(len(shown)),
                percentiles=ends,
            )
            caption = f"{side.capitalize()} slices: {what}"
            page.figure(f"{side}_{what.replace(' ', '_')}", figure, caption)
    page.close(split.describe(), options)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"montages.py: error: {error}")
