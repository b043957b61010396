"""Train the pretrained model of the package on synthetic brains, for any set of contrasts.

Each round draws new synthetic patients, so no brain occurs in two rounds. A checkpoint is
written after each round, and the same command resumes from it. --watch records the average
precision on some patients of a folder of scans during training (lesions bright on FLAIR and
T2, if present). These patients are not trained on. Use development patients only.

    python -m benchmarks pretrain --watch ../shared/data/lgg
    python -m benchmarks pretrain --quick

Writes checkpoint.npz, history.jsonl (the loss of each round), watched.csv, and
synthetic.safetensors: the weights in half precision, as they are shipped.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.lib.options import positive, read_options, say
from benchmarks.lib.priors import BRIGHT

if TYPE_CHECKING:
    from skadm.nn.slots import SlottedUNet

QUICK = {"rounds": 2, "patients": 2, "size": 32, "width": 4}
SCORED = 128  # pixels along a side at which the pretrained model scores


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--rounds", type=positive, default=13)
    parser.add_argument(
        "--patients", type=positive, default=48, help="synthetic patients of a round"
    )
    parser.add_argument("--size", type=positive, default=80, help="pixels along a side")
    parser.add_argument("--width", type=positive, default=16, help="width of the network")
    parser.add_argument("--levels", type=positive, default=3, help="levels of the network")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--contrasts",
        nargs="+",
        help="one fixed set of contrasts, for comparison (default: any set)",
    )
    parser.add_argument("--watch", help="folder of scans with masks")
    parser.add_argument(
        "--watched", type=positive, default=8, help="patients of that folder"
    )
    parser.add_argument("--every", type=positive, default=5, help="rounds between looks")


def watched_volumes(folder: str, n_patients: int) -> list[Any]:
    """Read every few slices of some patients: images, masks and names of contrasts."""
    from skadm.data import read_any
    from skadm.preprocessing import IntensityNormalizer, SliceResizer

    stack = read_any(folder)
    patients = np.unique(stack.groups)
    chosen = patients[np.linspace(0, len(patients) - 1, n_patients).astype(int)]
    volumes = []
    for patient in dict.fromkeys(chosen.tolist()):
        scan = stack[stack.groups == patient]
        scan = SliceResizer(SCORED).fit_transform(IntensityNormalizer().fit_transform(scan))
        X, y = scan.load()
        shown = np.flatnonzero((X != 0).any(axis=(1, 2, 3)))
        step = max(1, len(shown) // 16)
        rows = shown[step // 2 :: step]
        if (y[rows] == 1).any():
            volumes.append((X[rows], y[rows], scan.contrasts))
    return volumes


def main(argv: Sequence[str] | None = None) -> None:
    """Run the training."""
    options = read_options(__name__, argv)

    import torch

    from benchmarks.lib.pretraining import Settings, average_precision, export, pretrain

    torch.set_num_threads(1)
    settings = Settings(
        seed=options.seed,
        rounds=options.rounds,
        patients=options.patients,
        size=options.size,
        width=options.width,
        n_levels=options.levels,
        contrasts=None if options.contrasts is None else tuple(options.contrasts),
    )
    folder: Path = options.out
    volumes = []
    if options.watch is not None:
        volumes = watched_volumes(options.watch, options.watched)

    def watch(network: SlottedUNet, number: int, seconds: float) -> None:
        if not volumes or (number % options.every and number != options.rounds):
            return
        scores = average_precision(network, volumes, BRIGHT)
        table = folder / "watched.csv"
        if not table.exists():
            table.write_text("round,seconds,mean_ap," + ",".join(
                f"patient_{i}" for i in range(len(scores))) + "\n")  # fmt: skip
        with table.open("a", encoding="utf-8") as file:
            numbers = [np.mean(scores), *scores]
            file.write(f"{number},{seconds:.0f}," + ",".join(f"{n:.4f}" for n in numbers))
            file.write("\n")
        say(f"round {number}: mean AP {np.mean(scores):.3f}")

    network = pretrain(settings, folder, watch, say)
    export(network, folder / "synthetic.safetensors")
