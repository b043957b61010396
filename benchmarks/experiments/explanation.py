"""What makes pixels anomalous for ADM: features and components of the mixture.

Every pixel's anomaly is parted into its features, which add up to it: errors of the
translation of each contrast, and latent features. The table shows their mean part on lesion
pixels and on the normal pixels that are flagged with them.

    python benchmarks/explanation.py --data brats --out out/explanation

Trains ADM with seed 0 (in the memory of compare.py, if it is given its cache). Writes
explanation.csv, explanation.png and run.json.
"""

import sys
from collections.abc import Sequence

import numpy as np
from benchmarks.lib.budget import with_fewer_epochs
from benchmarks.lib.cache import code_fingerprint
from benchmarks.lib.options import experiment_parser, read_options
from benchmarks.lib.page import Page
from benchmarks.lib.split import load_split

from skadm.model_selection import set_offset_by_f1
from skadm.plotting import plot_explanation, representative_slices
from skadm.presets import make_detector


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    arguments = experiment_parser(__doc__.splitlines()[0], "explanation")
    arguments.set_defaults(seeds=1)
    options = read_options(arguments, argv)
    split = load_split(options)
    detector = make_detector("ADMDetector", options.preset, random_state=0)
    if options.budget:
        detector = with_fewer_epochs(detector)
    code = code_fingerprint(type(detector))
    detector.set_params(memory=str(options.cache / f"stages-{code}"))
    stack, labels = split.stack, split.labels
    detector.fit(stack[split.learning])
    set_offset_by_f1(detector, stack[split.validation], labels[split.validation])
    test, masks = stack[split.test], labels[split.test]
    found = detector.explain(test)
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
            row["anomaly"] = float(found.anomaly[chosen].mean())
            row |= {part: float(found[part][chosen].mean()) for part in found.names}
            row["baseline"] = float(found.baseline[chosen].mean())
            counts = np.bincount(found.component[chosen], minlength=detector.n_components)
            row["most frequent component"] = int(counts.argmax())
        rows.append(row)
    page = Page(
        options.out,
        "What makes a pixel anomalous",
        "Mean part of each feature in the anomaly of test pixels, at the threshold with "
        "the best F1 on the validation slices; features and baseline add up to it.",
    )
    page.table("explanation", rows, "Parts of the anomaly")
    shown = representative_slices(masks, test.groups)
    figure = plot_explanation(test, found, slices=shown)
    page.figure("explanation", figure, "Parts of the anomaly of test slices")
    page.close(split.describe(), options, parameters=detector.get_params())


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"explanation.py: error: {error}")
