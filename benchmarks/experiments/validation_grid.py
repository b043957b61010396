"""AUC and AP on validation slices for several values of one parameter of ADM.

Trains on the normal slices of the training patients and scores the abnormal slices of the
same patients. Test patients are not used. Writes validation_grid.csv and run.json.

    python -m benchmarks validation_grid --data brats --parameter norm \\
        --values batch instance none
"""

import argparse
import ast
from collections.abc import Sequence
from typing import Any

from benchmarks.lib.options import add_data_arguments, positive, read_options, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_data_arguments(parser)
    parser.add_argument("--preset", default="cpu", help="preset of the other parameters")
    parser.add_argument("--parameter", required=True, help="parameter of ADMDetector")
    parser.add_argument("--values", nargs="+", type=literal, required=True)
    parser.add_argument("--seeds", type=positive, default=1, help="runs for each value")


def literal(text: str) -> Any:
    """Parse a number, True or None; other words stay text."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = read_options(__name__, argv)

    from benchmarks.lib.data import load_stack, split_of
    from benchmarks.lib.measures import measure
    from benchmarks.lib.page import Page
    from skadm.presets import make_detector

    stack = load_stack(options.data, options.size, options.patients, options.slices)
    split = split_of(options.data, stack)
    X, y = split.stack.X, split.labels
    rows = []
    for value in options.values:
        for seed in range(options.seeds):
            changed = {options.parameter: value, "random_state": seed}
            detector = make_detector("ADMDetector", options.preset, **changed)
            detector.fit(X[split.train], y[split.train])
            maps = detector.score_samples(X[split.validation])
            labels = y[split.validation]
            row = {options.parameter: str(value), "seed": seed}
            row |= measure(labels, maps)
            row["minutes"] = sum(record["seconds"] for record in detector.history_) / 60
            rows.append(row)
            say(", ".join(f"{key} {cell}" for key, cell in row.items()))
    page = Page(options, "Values of a parameter", f"{options.parameter} of ADM")
    page.table("validation_grid", rows, "Validation slices")
    page.close(split.describe())
