"""ADM without one of its parts (Tables 3 and 4 of the paper).

ADM_ct has no reduction network and ADM_dr no translation network. In ADM_woj, each term of
Eq. 14 trains a separate network. All variants see the same batches. Those that translate
share the translation network of their seed.

    python -m benchmarks ablation --data brats

Writes ablation_*.csv, published.csv and run.json.
"""

from collections.abc import Sequence

from benchmarks.lib.options import add_experiment_arguments, read_options

add_arguments = add_experiment_arguments

VARIANTS = {
    "ADM_ct": {"features": "translation"},
    "ADM_dr": {"features": "reduction"},
    "ADM_woj": {"joint": False},
    "ADM": {},
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    options = read_options(__name__, argv)

    from benchmarks.lib.data import load_split
    from benchmarks.lib.page import Page
    from benchmarks.lib.published import beside_published
    from benchmarks.lib.runs import run_variants
    from benchmarks.lib.summary import all_rows, parameters, show
    from skadm.evaluation import paired_t_tests, summarise_seeds
    from skadm.presets import make_detector

    split = load_split(options)
    variants = {
        name: make_detector("ADMDetector", options.preset, **changed)
        for name, changed in VARIANTS.items()
    }
    outcomes = run_variants(variants, split, options)
    page = Page(
        options,
        "Ablations (Tables 3 and 4)",
        "ADM_ct: no reduction network. ADM_dr: no translation network. ADM_woj: each term "
        "of Eq. 14 trains a separate network.",
    )
    show(page, "ablation", outcomes)
    tests = paired_t_tests(all_rows(outcomes, "test"), "ADM", ("auc", "ap", "f1"))
    page.table("t_tests", tests, "Paired t-tests against ADM, over seeds")
    page.table(
        "published",
        beside_published(summarise_seeds(all_rows(outcomes)), "ablation"),
        "Beside the published numbers, which are of other patients "
        "and of test sets enlarged by augmentation",
    )
    page.close(split.describe(), parameters=parameters(outcomes))
