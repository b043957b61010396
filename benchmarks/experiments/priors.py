"""ADM with and without the median prior and intensity scaling (Fig. S3 of the paper).

The translation network gets the median of the contrast that it predicts, so it knows how
bright that is (Eq. 3). Without the median prior it gets 0. Random scaling of intensities is
a part of the augmentation.

    python -m benchmarks priors --data brats

Writes priors_*.csv, montage.png and run.json.
"""

from collections.abc import Sequence

from benchmarks.lib.options import add_experiment_arguments, read_options

add_arguments = add_experiment_arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    options = read_options(__name__, argv)

    from benchmarks.lib.data import load_split
    from benchmarks.lib.page import Page
    from benchmarks.lib.runs import run_variants
    from benchmarks.lib.summary import draw_montage, parameters, show
    from skadm import Augmentation
    from skadm.presets import make_detector

    split = load_split(options)
    no_prior = {"median_prior": False}
    no_scaling = {"augmentation": Augmentation(intensity_scaling=0.0)}
    variants = {
        name: make_detector("ADMDetector", options.preset, **changed)
        for name, changed in {
            "both": {},
            "no median prior": no_prior,
            "no scaling": no_scaling,
            "neither": no_prior | no_scaling,
        }.items()
    }
    outcomes = run_variants(variants, split, options)
    page = Page(
        options,
        "Median prior and intensity scaling (Fig. S3)",
        "ADM; ADM with 0 instead of the median of the predicted contrast; trained "
        "without random scaling of intensities; without both.",
    )
    show(page, "priors", outcomes)
    maps = {
        outcome.run.method: outcome.load_maps().test
        for outcome in outcomes
        if outcome.run.seed == 0
    }
    page.figure("montage", draw_montage(split, maps), "Score maps of the first seed")
    page.close(split.describe(), parameters=parameters(outcomes))
