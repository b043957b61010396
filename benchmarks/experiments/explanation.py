"""What makes pixels anomalous for ADM: features and components of the mixture.

Every pixel's anomaly is parted into its features, which add up to it: errors of the
translation of each contrast, and latent features. The table shows their mean part on lesion
pixels and on the normal pixels that are flagged with them.

    python -m benchmarks explanation --data brats

Trains ADM with seed 0 (in the memory of compare, if it is given its cache). Writes
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
        "Mean part of each feature in the anomaly of test pixels, at the threshold with "
        "the best F1 on the validation slices; features and baseline add up to it.",
    )
    page.table("explanation", rows, "Parts of the anomaly")
    shown = representative_slices(masks, test.groups)
    figure = plot_explanation(test, parts, slices=shown)
    page.figure("explanation", figure, "Parts of the anomaly of test slices")
    page.close(split.describe(), parameters=detector.get_params())
