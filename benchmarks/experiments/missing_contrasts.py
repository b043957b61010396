"""AUC and AP of ADM on patients who lack a contrast.

ADM is trained once, on normal slices of patients with all contrasts. The last patients are
the test patients. Each contrast in turn is removed from them. Then it is either translated
from the others and excluded from the density, or, for comparison, set to 0 (the mean of a
normalised volume) as if measured. The same is done for the first test patient only, with
the scores of all test patients pooled.

    python -m benchmarks missing_contrasts --data path/to/brats

Prints the table, and writes missing_contrasts.csv and run.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.lib.options import add_data_arguments, positive, read_options, say

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from skadm import ADMDetector


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_data_arguments(parser)
    parser.add_argument("--preset", default="cpu", help="preset of ADM")
    parser.add_argument("--test", type=positive, default=2, help="test patients")
    parser.set_defaults(patients=6)


def rows_of(
    detector: ADMDetector,
    X: NDArray[np.float32],
    y: NDArray[np.int8],
    first: NDArray[np.bool_],
    contrasts: Sequence[str],
) -> list[dict[str, Any]]:
    """Compute AUC and AP with all contrasts, and with each of them missing.

    `first` marks the slices of the first test patient.
    """
    from skadm.data import brain_mask

    whole = detector.score_samples(X)
    rows = [row("none", "", detector, y, whole)]
    for index, name in enumerate(contrasts):
        for how, value in (("translated", np.nan), ("zero-filled", 0)):
            changed = X.copy()
            changed[:, index] = value
            # Pixels that only this contrast shows are no longer brain.
            labels = np.where(brain_mask(changed), y, -1)
            scores = detector.score_samples(changed)
            rows.append(row(name, f"{how}, all", detector, labels, scores))
            # Slices are scored independently: the other scores do not change.
            labels = np.where(first[:, None, None], labels, y)
            scores = np.where(first[:, None, None], scores, whole)
            rows.append(row(name, f"{how}, the first", detector, labels, scores))
    return rows


def row(
    name: str, how: str, detector: ADMDetector, y: NDArray[np.int8], scores: NDArray
) -> dict[str, Any]:
    """A row of the table."""
    from skadm.metrics import pixel_average_precision_score, pixel_roc_auc_score

    return {
        "missing": name,
        "replaced by, in patients": how,
        "AUC": pixel_roc_auc_score(y, scores),
        "AP": pixel_average_precision_score(y, scores),
        "normal pixels flagged": float((scores[y == 0] < detector.offset_).mean()),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = read_options(__name__, argv)

    from benchmarks.lib.data import load_stack
    from benchmarks.lib.page import Page
    from skadm.presets import make_detector

    stack = load_stack(options.data, options.size, options.patients, options.slices)
    names = list(dict.fromkeys(stack.groups.tolist()))
    if options.test >= len(names):
        raise ValueError(
            f"--test {options.test} of {len(names)} patients leaves no training patient"
        )
    test = np.isin(stack.groups, names[-options.test :])
    detector = make_detector("ADMDetector", options.preset, random_state=0)
    say(f"training on {len(names) - options.test} patients")
    start = time.perf_counter()
    detector.fit(stack[~test], stack[~test].y)
    say(f"trained in {time.perf_counter() - start:.0f} s")
    X, y = stack[test].load()
    first = stack[test].groups == names[-options.test]
    rows = rows_of(detector, X, y, first, stack.contrasts)
    page = Page(options, "Missing contrasts", f"Tested: {names[-options.test :]}")
    page.table("missing_contrasts", rows, "Test patients, each contrast missing in turn")
    page.close(test_patients=names[-options.test :])
