"""Losses of ADM's two stages against the epoch (Fig. S1 of the paper).

    python benchmarks/loss_curves.py --data brats --out out/loss_curves

Uses the runs of compare.py if it is given their cache. Writes loss_curves.csv,
loss_curves.png and run.json.
"""

import sys
from collections.abc import Sequence

from benchmarks.lib.options import experiment_parser, read_options
from benchmarks.lib.experiment import parameters, run_variants
from benchmarks.lib.page import Page, columns_of
from benchmarks.lib.split import load_split

from skadm.plotting import plot_history
from skadm.presets import make_detector


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    arguments = experiment_parser(__doc__.splitlines()[0], "loss_curves")
    options = read_options(arguments, argv)
    split = load_split(options)
    detector = make_detector("ADMDetector", options.preset)
    outcomes = run_variants({"ADM": detector}, split, options)
    page = Page(
        options.out,
        "Loss curves (Fig. S1)",
        "Mean over the slices of an epoch: the error of the translation (Eq. 13); the "
        "error of the reduction and the energy, which together are the loss of the second "
        "stage (Eq. 14); the least eigenvalue of a covariance, before the floor.",
    )
    rows = [
        {"seed": outcome.run.seed, **record}
        for outcome in outcomes
        for record in outcome.result.history
    ]
    last = {(row["seed"], row["stage"]): row for row in rows}
    # The first stage lacks what only the second records.
    shown = [{key: row.get(key) for key in columns_of(rows)} for row in last.values()]
    page.table("loss_curves", rows, "Last epoch of each stage", shown)
    figure = plot_history(outcomes[0].result.history)
    page.figure("loss_curves", figure, "Losses of the first seed against the epoch")
    page.close(split.describe(), options, parameters=parameters(outcomes))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"loss_curves.py: error: {error}")
