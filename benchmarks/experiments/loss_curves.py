"""Losses of ADM's two stages against the epoch (Fig. S1 of the paper).

    python -m benchmarks loss_curves --data brats

Uses the runs of compare if --cache is its cache. Writes loss_curves.csv,
loss_curves.png and run.json.
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
    from benchmarks.lib.summary import parameters
    from skadm.plotting import plot_history
    from skadm.presets import make_detector

    split = load_split(options)
    detector = make_detector("ADMDetector", options.preset)
    outcomes = run_variants({"ADM": detector}, split, options)
    page = Page(
        options,
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
    page.table("loss_curves", rows, "Last epoch of each stage", last.values())
    figure = plot_history(outcomes[0].result.history)
    page.figure("loss_curves", figure, "Losses of the first seed against the epoch")
    page.close(split.describe(), parameters=parameters(outcomes))
