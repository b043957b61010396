"""ADM with and without the median prior and intensity scaling (Fig. S3 of the paper).

The median of the contrast to be made tells the translation network how bright it is
(Eq. 3); without it, 0 stands there. Random scaling of intensities is a part of the
augmentation.

    python benchmarks/priors.py --data brats --out out/priors

Writes priors_*.csv, montage.png and run.json.
"""

import sys
from collections.abc import Sequence

from benchmarks.lib.cache import ResultCache
from benchmarks.lib.options import experiment_parser, read_options
from benchmarks.lib.experiment import parameters, run_variants, show
from benchmarks.lib.page import Page
from benchmarks.lib.split import load_split

from skadm import Augmentation
from skadm.plotting import plot_montage, representative_slices
from skadm.presets import make_detector

UNSCALED = Augmentation(intensity_scaling=0.0)
VARIANTS = {
    "both": {},
    "no median prior": {"median_prior": False},
    "no scaling": {"augmentation": UNSCALED},
    "neither": {"median_prior": False, "augmentation": UNSCALED},
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    arguments = experiment_parser(__doc__.splitlines()[0], "priors")
    options = read_options(arguments, argv)
    split = load_split(options)
    variants = {
        name: make_detector("ADMDetector", options.preset, **own)
        for name, own in VARIANTS.items()
    }
    outcomes = run_variants(variants, split, options)
    page = Page(
        options.out,
        "Median prior and intensity scaling (Fig. S3)",
        "ADM as it is; told 0 instead of the median of the contrast to be made; trained "
        "without random scaling of intensities; without both.",
    )
    show(page, "priors", outcomes)
    cache = ResultCache(options.cache)
    stack, labels = split.stack[split.test], split.labels[split.test]
    shown = representative_slices(labels, stack.groups)
    maps = {
        outcome.run.method: cache.load_maps(outcome.key).test[shown]
        for outcome in outcomes
        if outcome.run.seed == 0
    }
    figure = plot_montage(stack[shown], labels[shown], maps, slices=range(len(shown)))
    page.figure("montage", figure, "Score maps of the first seed")
    page.close(split.describe(), options, parameters=parameters(outcomes))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"priors.py: error: {error}")
