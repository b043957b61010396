"""Average precision against training time, for each detector.

Every point is a whole training, since the learning rate follows a schedule over all
epochs. Trainings have a share of the epochs of their preset. They use the normal slices of
the training patients. Average precision is that of their abnormal slices, which no training
sees (validation). Times are seconds of the processor: other programs do not count.

    python -m benchmarks time_to_quality --data brats
    OMP_NUM_THREADS=1 python -m benchmarks time_to_quality --data brats --shares 0.1 1

"Directed" methods know that lesions are bright on FLAIR and T2 (or DWI), like the smoothed
intensity beside them. Share 0 of "pretrained" are the shipped weights as they are. Writes
time_to_quality.csv (means over seeds), runs.csv, time_to_quality.png and run.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.lib.options import add_data_arguments, positive, read_options, say
from benchmarks.lib.priors import known_direction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from benchmarks.lib.data import Split
    from skadm.base import Detector

# Detector and preset of each method, and whether it knows on which contrasts lesions are
# bright.
METHODS = {
    "Eraser": ("EraserDetector", "cpu", False),
    "Eraser, directed": ("EraserDetector", "cpu", True),
    "Eraser, pretrained": ("EraserDetector", "fine-tune", False),
    "Eraser, pretrained, directed": ("EraserDetector", "fine-tune", True),
    "DAE": ("DAEDetector", "cpu", False),
    "DAE, directed": ("DAEDetector", "cpu", True),
    "ADM": ("ADMDetector", "cpu", False),
    "ADM+": ("ADM+", "cpu", False),
}
QUICK = {"size": 32, "patients": 4, "slices": 4, "shares": [0.1]}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_data_arguments(parser)
    parser.add_argument(
        "--shares",
        type=float,
        nargs="+",
        default=[0.1, 0.25, 0.5, 1.0],
        help="of the epochs of the preset, at least one epoch",
    )
    parser.add_argument("--learning-rate", type=float, help="instead of that of the preset")
    parser.add_argument(
        "--networks", type=positive, default=1, help="of each eraser (default: %(default)s)"
    )
    parser.add_argument("--seeds", type=positive, default=1, help="runs of each method")
    parser.add_argument(
        "--methods", nargs="+", metavar="NAME", help=f"some of {', '.join(METHODS)}"
    )


def trained_for(detector: Detector, share: float) -> Detector:
    """A copy with a share of the epochs of each stage, at least one."""
    from sklearn.base import clone

    from benchmarks.lib.budget import with_fewer_epochs

    return with_fewer_epochs(clone(detector), share)


def make_methods(
    contrasts: Sequence[str],
    names: Sequence[str] | None,
    learning_rate: float | None,
    n_networks: int,
) -> dict[str, Detector]:
    """Detectors to train, by name, without those that need a missing contrast."""
    from benchmarks.lib.methods import choose
    from skadm.presets import make_detector

    prior = known_direction(contrasts)
    detectors = {}
    for name in choose(names, METHODS):
        kind, preset, directed = METHODS[name]
        if directed and not prior:
            say(f"{name}: left out; expected FLAIR, T2 or DWI among {', '.join(contrasts)}")
            continue
        more: dict[str, Any] = {"prior": prior} if directed else {}
        if kind == "EraserDetector":
            more["n_networks"] = n_networks
        if learning_rate is not None:
            more["learning_rate"] = learning_rate
        detectors[name] = make_detector(kind, preset, random_state=0, **more)
    return detectors


def measure(detector: Detector, split: Split) -> dict[str, float]:
    """Train on normal slices; seconds of the processor, and AP of the abnormal ones."""
    from skadm.metrics import pixel_average_precision_score

    started = time.process_time()
    detector.fit(split.stack[split.learning])
    seconds = time.process_time() - started
    maps = detector.score_samples(split.stack[split.validation])
    labels = split.labels[split.validation]
    return {"seconds": seconds, "ap": pixel_average_precision_score(labels, maps)}


def warm_up(detector: Detector, split: Split) -> None:
    """Train for an epoch: torch imports its compiler with the first step."""
    trained_for(detector, 0.0).fit(split.stack[np.flatnonzero(split.learning)[:4]])


def measure_all(
    detectors: Mapping[str, Detector], shares: Sequence[float], n_seeds: int, split: Split
) -> Iterator[dict[str, Any]]:
    """Yield a row for each method, share and seed, shortest trainings first."""
    for share in sorted(shares):
        for name, detector in detectors.items():
            for seed in range(n_seeds):
                trained = trained_for(detector, share).set_params(random_state=seed)
                row = {"method": name, "share": share, "seed": seed}
                row |= measure(trained, split)
                say(
                    f"{name}, {share:g} of the epochs, seed {seed}: "
                    f"{row['seconds']:.0f} s, {row['ap']:.3f}"
                )
                yield row


def untrained(split: Split, names: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of what needs no training: intensity, and the shipped weights as they are."""
    from skadm import EraserDetector, IntensityDetector

    contrasts = split.stack.contrasts
    prior = known_direction(contrasts)
    detectors: dict[str, Any] = {}
    if prior:
        name = " + ".join(prior)
        detectors[f"{name}, smoothed"] = IntensityDetector(prior=prior, sigma=2.0)
    for name in names:
        if METHODS.get(name, ("", "", False))[1] == "fine-tune":
            known = prior if METHODS[name][2] else None
            detectors[name] = EraserDetector(
                init="synthetic", max_epochs=0, prior=known, random_state=0
            )
    return [
        {"method": name, "share": 0.0} | measure(detector, split)
        for name, detector in detectors.items()
    ]


def over_seeds(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Means over seeds; with more than one, also the range of average precision."""
    import pandas as pd

    groups = pd.DataFrame(rows).groupby(["method", "share"], sort=False)
    means = groups.agg(
        seconds=("seconds", "mean"),
        ap=("ap", "mean"),
        lowest=("ap", "min"),
        highest=("ap", "max"),
    )
    if groups.size().max() == 1:
        means = means.drop(columns=["lowest", "highest"])
    return means.reset_index().to_dict("records")


def draw(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Average precision against seconds, a line a method; intensity as a dashed line."""
    import pandas as pd
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, group in pd.DataFrame(rows).groupby("method", sort=False):
        group = group.sort_values("seconds")
        if len(group) == 1 and group["share"].iloc[0] == 0:
            axes.axhline(group["ap"].iloc[0], color="0.4", linestyle="--", label=name)
        else:
            axes.plot(group["seconds"], group["ap"], marker="o", label=name)
    axes.set_xscale("log")
    axes.set_xlabel("training, seconds of the processor")
    axes.set_ylabel("average precision (validation)")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper")
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = read_options(__name__, argv)

    from benchmarks.lib.data import crop, load_stack, split_of
    from benchmarks.lib.page import Page

    stack = load_stack(options.data, options.size, options.patients, options.slices)
    split = split_of(options.data, crop(stack))
    page = Page(
        options,
        "Time to quality",
        f"{options.data}: {split.learning.sum()} training and {split.validation.sum()} "
        f"validation slices of {options.size} x {options.size} pixels",
    )
    detectors = make_methods(
        stack.contrasts, options.methods, options.learning_rate, options.networks
    )
    warm_up(next(iter(detectors.values())), split)
    rows = untrained(split, list(detectors))
    for row in measure_all(detectors, options.shares, options.seeds, split):
        rows.append(row)
        page.rows("runs", rows)  # after each, in case of an interruption
    means = over_seeds(rows)
    page.table(
        "time_to_quality", means, "Average precision by training time, mean of seeds"
    )
    page.figure("time_to_quality", draw(means), "Average precision against training time")
    page.close(split.describe())
