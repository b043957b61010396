"""ADM without one of its parts (Tables 3 and 4 of the paper).

ADM_ct has no reduction network, ADM_dr no translation network; in ADM_woj the two terms of
Eq. 14 train their own networks. All of them see the same batches, and those that translate
share the translation network of their seed.

    python benchmarks/ablation.py --data brats --out out/ablation

Writes ablation_*.csv, published.csv and run.json.
"""

import sys
from collections.abc import Sequence

from benchmarks.lib.options import experiment_parser, read_options
from benchmarks.lib.experiment import parameters, run_variants, show
from benchmarks.lib.page import Page
from benchmarks.lib.published import ABLATION, beside_published
from benchmarks.lib.split import load_split
from benchmarks.lib.summary import all_rows

from skadm.evaluation import paired_t_tests, summarise_seeds
from skadm.presets import make_detector

VARIANTS = {
    "ADM_ct": {"features": "translation"},
    "ADM_dr": {"features": "reduction"},
    "ADM_woj": {"joint": False},
    "ADM": {},
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    arguments = experiment_parser(__doc__.splitlines()[0], "ablation")
    options = read_options(arguments, argv)
    split = load_split(options)
    variants = {
        name: make_detector("ADMDetector", options.preset, **own)
        for name, own in VARIANTS.items()
    }
    outcomes = run_variants(variants, split, options)
    page = Page(
        options.out,
        "Ablations (Tables 3 and 4)",
        "ADM_ct: no reduction network. ADM_dr: no translation network. ADM_woj: the two "
        "terms of Eq. 14 train their own networks.",
    )
    show(page, "ablation", outcomes)
    rows = all_rows(outcomes)
    tests = paired_t_tests(
        [row for row in rows if row["split"] == "test"], "ADM", ("auc", "ap", "f1")
    )
    page.table("t_tests", tests, "Paired t-tests against ADM, over seeds")
    page.table(
        "published",
        beside_published(summarise_seeds(rows), ABLATION),
        "Beside the published numbers, which are of other patients "
        "and of test sets enlarged by augmentation",
    )
    page.close(split.describe(), options, parameters=parameters(outcomes))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"ablation.py: error: {error}")
