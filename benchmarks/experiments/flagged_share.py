"""How often scoring warns that too much of a brain is flagged, on the same and other data.

Detectors are trained on the normal slices of every second patient of --train. The other
patients, and all patients of --score, are scored with two thresholds: that of the
contamination, and that with the best F1 on the abnormal slices of the training patients.
Networks have the preset "quick".

    python -m benchmarks flagged_share --train ../shared/data/lgg --score phantom

Prints the table, and writes flagged_share.csv and run.json.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.lib.options import positive, read_options

NAMES = ("PCADetector", "GaussianMixtureDetector", "DAEDetector", "ADMDetector")
PHANTOM = "phantom"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--train", required=True, help="folder of scans, or 'phantom'")
    parser.add_argument(
        "--score", nargs="*", default=[], help="more folders of scans, or 'phantom'"
    )
    parser.add_argument("--contrasts", nargs="+", default=["T1", "FLAIR"], help="names")
    parser.add_argument("--step", type=positive, default=3, help="use every STEP-th slice")
    parser.add_argument("--size", type=positive, default=64, help="pixels along a side")


def read(name: str, options: argparse.Namespace, seed: int) -> Any:
    """Read and prepare the slices of the phantom or of a folder."""
    from sklearn.pipeline import make_pipeline

    from skadm.data import make_phantom, read_any
    from skadm.preprocessing import IntensityNormalizer, SliceResizer

    if name == PHANTOM:
        stack = make_phantom(
            n_patients=12,
            n_slices=30,
            size=options.size,
            contrasts=options.contrasts,
            random_state=seed,
        )
    else:
        stack = read_any(name, contrasts=options.contrasts)
        stack = stack[stack.z % options.step == 0]
    steps = make_pipeline(IntensityNormalizer(), SliceResizer(options.size))
    return steps.fit_transform(stack).in_memory()


def detectors() -> Iterator[tuple[str, Any]]:
    """Names and detectors."""
    from skadm import IntensityDetector
    from skadm.presets import make_detector

    yield "FLAIR", IntensityDetector(prior={"FLAIR": 1})
    for name in NAMES:
        yield name.removesuffix("Detector"), make_detector(name, "quick", random_state=0)


def flagged(detector: Any, stack: Any) -> dict[str, Any]:
    """Count volumes and warnings, and the share of the brain that is flagged."""
    from skadm import FlaggedShareWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FlaggedShareWarning)
        anomalous = detector.predict(stack) == -1
    brain, names = (stack.X != 0).any(axis=1), stack.volume_ids
    shares = [
        anomalous[names == name][brain[names == name]].mean() for name in np.unique(names)
    ]
    return {
        "warned": sum(warning.category is FlaggedShareWarning for warning in caught),
        "of": len(shares),
        "median share": float(np.median(shares)),
        "highest share": float(max(shares)),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = read_options(__name__, argv)

    from benchmarks.lib.page import Page
    from skadm.model_selection import set_offset_by_f1

    home = read(options.train, options, seed=0)
    others = {name: read(name, options, seed=1) for name in options.score}
    y = home.y
    known = np.isin(home.groups, np.unique(home.groups)[::2])
    places = {"held out": home[~known], **others}
    rows = []
    for name, detector in detectors():
        detector.fit(home[known], y[known])
        for threshold in ("contamination", "best F1"):
            if threshold == "best F1":
                set_offset_by_f1(detector, home[known], y[known], abnormal_only=True)
            expected = detector.training_scores_.expected(detector.offset_)
            for place, stack in places.items():
                head = {"method": name, "threshold": threshold, "expected": expected}
                rows.append(head | {"scored": place} | flagged(detector, stack))
    page = Page(
        options,
        "Warnings of flagged shares",
        f"Trained on every second patient of {options.train}",
    )
    page.table("flagged_share", rows, page.text, rows)
    page.close()
