"""Cost of each detector: time to train and to score a slice, on the phantom.

Every epoch of a stage takes the same time, so the time of a whole training is extrapolated
from short ones. A training on two tiny slices counts the epochs of each stage, and warms
up. Several short trainings give the time of an epoch, and of work that is done once, such
as a last pass over all slices. Prints a table in Markdown, and writes cost.csv and
run.json.

    python -m benchmarks cost --size 128 --preset cpu
"""

from __future__ import annotations

import argparse
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.lib.options import add_methods, positive, read_options, say

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from skadm.base import BaseDetector

CONTRASTS = ("T1", "T1ce", "T2", "FLAIR")
# Epochs of a short training. The first of each stage is not measured; the others are so
# many that they hold their share of steps that are not taken for every batch.
SHORT = 6
TINY = 16  # pixels of a tiny slice's side


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--size", type=positive, default=128, help="pixels of a side")
    parser.add_argument("--preset", default="cpu", help="parameters of the detectors")
    parser.add_argument(
        "--contrasts", type=int, default=4, choices=range(1, 5), help="number of them"
    )
    parser.add_argument("--slices", type=positive, default=32, help="to measure on")
    parser.add_argument("--repeats", type=positive, default=3, help="of each measurement")
    add_methods(parser)


def epoch_parameters(detector: BaseDetector) -> dict[str, int]:
    """All parameters that are numbers of epochs, at least one."""
    parameters = detector.get_params()
    return {name: n for name, n in parameters.items() if name.endswith("epochs") and n}


def count_epochs(detector: BaseDetector, images: NDArray) -> Counter[str]:
    """Epochs of each stage of the whole training; none where there are no stages."""
    from sklearn.base import clone

    middle = images.shape[-1] // 2
    tiny = slice(middle - TINY // 2, middle + TINY // 2)
    trained = clone(detector).fit(images[:2, :, tiny, tiny])
    return Counter(record["stage"] for record in getattr(trained, "history_", []))


def measure(detector: BaseDetector, images: NDArray, repeats: int) -> dict[str, Any]:
    """Costs of training and scoring, for each slice.

    weights is their number, epochs those of all stages, epoch_ms the mean over the epochs
    of the training (None without any); training_s and scoring_ms are times.
    """
    from sklearn.base import clone

    n_epochs = count_epochs(detector, images)
    short = {name: min(SHORT, n) for name, n in epoch_parameters(detector).items()}
    epochs: dict[str, list[float]] = {stage: [] for stage in n_epochs}
    once: list[float] = []
    for _ in range(repeats):
        trained = clone(detector).set_params(**short)
        started = time.perf_counter()
        trained.fit(images)
        seconds = time.perf_counter() - started
        history = getattr(trained, "history_", [])
        once.append(seconds - sum(record["seconds"] for record in history))
        for stage, means in epochs.items():
            times = [record["seconds"] for record in history if record["stage"] == stage]
            means.append(float(np.mean(times[1:] or times)))
    of_epochs = sum(n * float(np.median(epochs[stage])) for stage, n in n_epochs.items())
    trained.score_samples(images)
    scoring = []
    for _ in range(repeats):
        started = time.perf_counter()
        trained.score_samples(images)
        scoring.append(time.perf_counter() - started)
    n_slices, total = len(images), n_epochs.total()
    weights = getattr(trained, "weights_", {})
    return {
        "weights": sum(np.size(array) for array in weights.values()) if total else None,
        "epochs": total or None,
        "epoch_ms": 1e3 * of_epochs / total / n_slices if total else None,
        "training_s": (of_epochs + float(np.median(once))) / n_slices,
        "scoring_ms": 1e3 * float(np.median(scoring)) / n_slices,
    }


def show(row: dict[str, Any]) -> dict[str, Any]:
    """A row with units."""
    titles = {
        "epoch_ms": "epoch, ms per slice",
        "training_s": "whole training, s per slice",
        "scoring_ms": "scoring, ms per slice",
    }
    return {titles.get(key, key): _short(value) for key, value in row.items()}


def _short(value: Any) -> Any:
    """Three significant digits are more than a timing is worth."""
    if not isinstance(value, float):
        return value
    return f"{value:#.3g}".rstrip(".") if value >= 1e-3 else "< 0.001"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 if a detector failed, else 0."""
    options = read_options(__name__, argv)

    from benchmarks.lib.data import load_stack, normal_slices
    from benchmarks.lib.methods import choose
    from benchmarks.lib.page import Page
    from benchmarks.lib.speed.machine import describe
    from skadm.detectors import all_detectors
    from skadm.presets import PRESETS, make_detector

    names = [name.removesuffix("Detector") for name, _ in all_detectors()]
    methods = choose(options.methods, names)
    contrasts = CONTRASTS[: options.contrasts]
    stack = load_stack("phantom", options.size, 4, 24, contrasts=contrasts)
    images = stack[normal_slices(stack, options.slices)].X
    rows: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for name in methods:
        say(f"{name}: measuring")
        cls = f"{name}Detector"
        try:
            # Without any presets, as those that train nothing: the defaults.
            detector = make_detector(cls, options.preset if cls in PRESETS else None)
            if "random_state" in detector.get_params():
                detector.set_params(random_state=0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # short trainings do not converge
                rows.append({"method": name} | measure(detector, images, options.repeats))
        except Exception as error:  # one broken detector must not cost the others
            traceback.print_exc()
            failed.append({"method": name, "note": f"{type(error).__name__}: {error}"})
    machine = describe()
    page = Page(
        options,
        "Cost of each detector",
        f"{len(images)} slices of {options.size} x {options.size} pixels, "
        f"{options.contrasts} contrasts, preset {options.preset}; medians of "
        f"{options.repeats}; {machine['torch_threads']} threads of torch.",
    )
    page.table("cost", rows + failed, page.text, map(show, rows + failed))
    page.close(machine=machine)
    return 1 if failed else 0
