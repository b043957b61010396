"""What each detector costs: time to train and to score a slice, on the phantom.

Every epoch of a stage takes the same time, so the whole training of a preset is told from
short ones. A training on two tiny slices counts the epochs of each stage, and warms up.
Short trainings, several times, give the time of an epoch and of what is done once, such as
a last pass over all slices. Prints a table in Markdown, and writes cost.json and
detectors.md: the same beside what the catalogue says, the table of the documentation.

    python benchmarks/cost.py --size 128 --preset cpu
"""

import argparse
import json
import os
import platform
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.lib.options import load_stack, say
from numpy.typing import NDArray
from sklearn.base import clone

from skadm.base import BaseDetector
from skadm.catalogue import METHODS
from skadm.data import SliceStack
from skadm.detectors import all_detectors
from skadm.evaluation import format_markdown
from skadm.presets import PRESETS, make_detector

CONTRASTS = ("T1", "T1ce", "T2", "FLAIR")
# Epochs of a short training. The first of each stage is not measured; the others are so
# many that they hold their share of steps that are not taken for every batch.
SHORT = 6
TINY = 16  # pixels of a tiny slice's side


def epoch_parameters(detector: BaseDetector) -> dict[str, int]:
    """All parameters that are numbers of epochs, at least one."""
    parameters = detector.get_params()
    return {name: n for name, n in parameters.items() if name.endswith("epochs") and n}


def count_epochs(detector: BaseDetector, images: NDArray) -> Counter[str]:
    """Epochs of each stage of the whole training; none where there are no stages."""
    middle = images.shape[-1] // 2
    tiny = slice(middle - TINY // 2, middle + TINY // 2)
    trained = clone(detector).fit(images[:2, :, tiny, tiny])
    return Counter(record["stage"] for record in getattr(trained, "history_", []))


def measure(detector: BaseDetector, images: NDArray, repeats: int) -> dict[str, Any]:
    """Costs of training and scoring, for each slice.

    Returns
    -------
    dict
        weights (number of), epochs (of all stages), epoch_ms (mean over the epochs of the
        training; None without epochs), training_s, scoring_ms.
    """
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
            own = [record["seconds"] for record in history if record["stage"] == stage]
            means.append(float(np.mean(own[1:] or own)))
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


def normal_slices(stack: SliceStack, n_slices: int) -> NDArray:
    """So many slices without lesion, evenly spread."""
    X, y = stack.load()
    normal = np.flatnonzero((y != 1).all(axis=(1, 2)))
    places = np.linspace(0, len(normal) - 1, min(n_slices, len(normal)))
    return X[normal[places.astype(int)]]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown, with units."""
    titles = {
        "method": "method",
        "weights": "weights",
        "epochs": "epochs",
        "epoch_ms": "training, ms per slice and epoch",
        "training_s": "whole training, s per slice",
        "scoring_ms": "scoring, ms per slice",
    }
    return format_markdown(
        {titles.get(key, key): _short(value) for key, value in row.items()} for row in rows
    )


def page(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown of the catalogue with the costs."""
    entries = []
    for row in rows:
        name = f"{row['method']}Detector"
        method = METHODS[name]
        training = f"{_short(row['training_s'])} s"
        if row["epochs"]:
            training += f" ({row['epochs']} epochs)"
        entries.append(
            {
                "detector": f"`{name}`",
                "idea": method.idea,
                "paper": method.paper,
                "tune first": ", ".join(f"`{name}`" for name in method.tune),
                "training, per slice": training,
                "scoring, per slice": f"{_short(row['scoring_ms'])} ms",
                "good at": method.good_at,
            }
        )
    return format_markdown(entries)


def _short(value: Any) -> Any:
    """Three significant digits are more than a timing is worth."""
    if not isinstance(value, float):
        return value
    return f"{value:#.3g}".rstrip(".") if value >= 1e-3 else "< 0.001"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 if a detector failed, else 0."""
    arguments = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    names = [name.removesuffix("Detector") for name, _ in all_detectors()]
    arguments.add_argument("--size", type=int, default=128, help="pixels of a slice's side")
    arguments.add_argument("--preset", default="cpu", help="parameters of the detectors")
    arguments.add_argument(
        "--contrasts", type=int, default=4, choices=range(1, 5), help="number of them"
    )
    arguments.add_argument("--slices", type=int, default=32, help="to measure on")
    arguments.add_argument("--repeats", type=int, default=3, help="of each measurement")
    arguments.add_argument(
        "--methods", nargs="+", metavar="NAME", choices=names, default=names,
        help="class names without 'Detector'",
    )  # fmt: skip
    arguments.add_argument("--out", type=Path, default=Path("out/cost"), help="folder")
    options = arguments.parse_args(argv)
    stack = load_stack(
        "phantom", options.size, 4, 24, contrasts=CONTRASTS[: options.contrasts]
    )
    images = normal_slices(stack, options.slices)
    rows: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for name in options.methods:
        say(f"{name}: measuring")
        own = f"{name}Detector"
        try:
            # Without any presets, as those that train nothing: the defaults.
            detector = make_detector(own, options.preset if own in PRESETS else None)
            if "random_state" in detector.get_params():
                detector.set_params(random_state=0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # short trainings do not converge
                rows.append({"method": name} | measure(detector, images, options.repeats))
        except Exception as error:  # one broken detector must not cost the others
            traceback.print_exc()
            failed.append({"method": name, "note": f"{type(error).__name__}: {error}"})
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("skadm", "torch", "scikit-learn")},
    }
    print(
        f"{len(images)} slices of {options.size} x {options.size} pixels, "
        f"{options.contrasts} contrasts, preset {options.preset}; medians of "
        f"{options.repeats}; {machine['cores']} cores, {machine['torch_threads']} of them "
        "used by torch.\n"
    )
    print(table(rows + failed))
    options.out.mkdir(parents=True, exist_ok=True)
    record = {"configuration": vars(options), "machine": machine, "rows": rows + failed}
    path = options.out / "cost.json"
    path.write_text(json.dumps(record, indent=2, default=str) + "\n", encoding="utf-8")
    (options.out / "detectors.md").write_text(page(rows) + "\n", encoding="utf-8")
    say(f"written to {path}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
