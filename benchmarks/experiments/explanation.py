"""What makes pixels anomalous for ADM: features and components of the mixture.

The anomaly score of each pixel is decomposed into contributions of features that add up to
it: the translation error of each contrast, and latent features. The table shows their mean
contribution on lesion pixels and on normal pixels, flagged or not.

    python -m benchmarks explanation --data brats

Trains ADM with seed 0, or uses the run of compare if --cache is its cache. Writes
explanation.csv, explanation.png and run.json.
"""

import argparse
from collections.abc import Sequence

from benchmarks.lib.options import add_experiment_arguments, read_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_experiment_arguments(parser)
    parser.set_defaults(seeds=1)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    options = read_options(__name__, argv)

    import numpy as np

    from benchmarks.lib.data import load_split
    from benchmarks.lib.methods import make_seeded
    from benchmarks.lib.page import Page
    from benchmarks.lib.runs import stages_of
    from skadm.model_selection import set_offset_by_f1
    from skadm.plotting import plot_explanation, representative_slices

    split = load_split(options)
    detector = make_seeded("ADM", options)
    detector.set_params(memory=stages_of(detector, options.cache))
    stack, labels = split.stack, split.labels
    detector.fit(stack[split.learning])
    set_offset_by_f1(detector, stack[split.validation], labels[split.validation])
    test, masks = stack[split.test], labels[split.test]
    parts = detector.explain(test)
    flagged = detector.predict(test) == -1
    pixels = {
        "lesion, found": flagged & (masks == 1),
        "lesion, missed": ~flagged & (masks == 1),
        "normal, flagged": flagged & (masks == 0),
        "normal, not flagged": ~flagged & (masks == 0),
    }
    rows = []
    for name, chosen in pixels.items():
        row = {"pixels": name, "number": int(chosen.sum())}
        if chosen.any():
            row["anomaly"] = float(parts.anomaly[chosen].mean())
            row |= {part: float(parts[part][chosen].mean()) for part in parts.names}
            row["baseline"] = float(parts.baseline[chosen].mean())
            counts = np.bincount(parts.component[chosen], minlength=detector.n_components)
            row["most frequent component"] = int(counts.argmax())
        rows.append(row)
    page = Page(
        options,
        "What makes a pixel anomalous",
        "Mean contribution of each feature to the anomaly score of test pixels, at the "
        "threshold with the best F1 on the validation slices. Features and baseline add up "
        "to the score.",
    )
    page.table("explanation", rows, "Parts of the anomaly")
    shown = representative_slices(masks, test.groups)
    figure = plot_explanation(test, parts, slices=shown)
    page.figure("explanation", figure, "Parts of the anomaly of test slices")
    page.close(split.describe(), parameters=detector.get_params())
