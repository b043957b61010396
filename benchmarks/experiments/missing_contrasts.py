"""What a missing contrast costs: AUC and AP of ADM on patients who lack one.

ADM is trained once, on normal slices of patients who have all contrasts; the last patients
are the test. Then each contrast in turn is taken away from them: it is supplied by
translation and its evidence left out of the density, or, for comparison, set to 0 (the mean
of a normalised volume) as if it had been measured. Last, the same for the first test
patient only, with the scores of all test patients pooled.

    python benchmarks/missing_contrasts.py --data path/to/brats

Prints the table, and writes missing_contrasts.csv and run.json.
"""

import csv
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from benchmarks.lib.options import load_stack, parser, positive, say, write_run
from numpy.typing import NDArray

from skadm.data import brain_mask
from skadm.metrics import pixel_average_precision_score, pixel_roc_auc_score
from skadm.presets import make_detector


def rows_of(
    detector: Any,
    X: NDArray[np.float32],
    y: NDArray[np.int8],
    first: NDArray[np.bool_],
    contrasts: Sequence[str],
) -> list[dict[str, Any]]:
    """AUC and AP with all contrasts, and with each of them missing.

    Parameters
    ----------
    detector : ADMDetector
        Fitted.
    X, y : ndarray
        Test slices and masks.
    first : ndarray of bool, shape (n_slices,)
        Slices of the first test patient.
    contrasts : sequence of str
        Their names.
    """
    whole = detector.score_samples(X)
    rows = [row("none", "", detector, y, whole)]
    for index, name in enumerate(contrasts):
        for how, value in (("translated", np.nan), ("zero-filled", 0)):
            changed = X.copy()
            changed[:, index] = value
            # What only this contrast showed is not brain any more.
            labels = np.where(brain_mask(changed), y, -1)
            scores = detector.score_samples(changed)
            rows.append(row(name, f"{how}, all", detector, labels, scores))
            # Slices do not see each other: the others keep the scores they had.
            labels = np.where(first[:, None, None], labels, y)
            scores = np.where(first[:, None, None], scores, whole)
            rows.append(row(name, f"{how}, the first", detector, labels, scores))
            say(f"{name} {how}")
    return rows


def row(
    name: str, how: str, detector: Any, y: NDArray[np.int8], scores: NDArray
) -> dict[str, Any]:
    """A row of the table."""
    flagged = float((scores[y == 0] < detector.offset_).mean())
    return {
        "missing": name,
        "in its place, in patients": how,
        "AUC": round(pixel_roc_auc_score(y, scores), 4),
        "AP": round(pixel_average_precision_score(y, scores), 4),
        "normal pixels flagged": round(flagged, 4),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    arguments = parser(__doc__.splitlines()[0], "out/missing_contrasts")
    arguments.add_argument("--preset", default="cpu", help="parameters of ADM")
    arguments.add_argument("--test", type=positive, default=2, help="test patients")
    arguments.add_argument("--patients", type=positive, default=6, help="of the phantom")
    arguments.add_argument(
        "--slices", type=positive, default=24, help="of a phantom patient"
    )
    options = arguments.parse_args(argv)
    stack = load_stack(options.data, options.size, options.patients, options.slices)
    names = list(dict.fromkeys(stack.groups.tolist()))
    if options.test >= len(names):
        raise ValueError(
            f"--test {options.test} of {len(names)} patients leaves none to train on"
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
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "missing_contrasts.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    write_run(options.out, vars(options), test=names[-options.test :])
    print("| " + " | ".join(rows[0]) + " |\n" + "|---" * len(rows[0]) + "|")
    for each in rows:
        print("| " + " | ".join(str(value) for value in each.values()) + " |")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"missing_contrasts.py: error: {error}")
