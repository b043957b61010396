"""What a GPU buys: tests, rates, utilisation, and scores equal to those of the CPU.

For a machine with a CUDA device, in under eight minutes: the tests that need one; slices
that ADM and the eraser, at the sizes of the preset "paper", train on and score in a second;
how busy the device is meanwhile, as its driver says; and how far scores in float32 are from
those of the CPU. With --device cpu everything but the tests runs without a GPU, with
networks as small as --preset says.

    python -m benchmarks gpu
    python -m benchmarks gpu --device cpu --preset quick --slices 4 --size 32

Prints a table and writes gpu.csv and run.json. Exit code 1: a test failed, or scores differ
by more than 1e-3 of their spread.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.lib.options import positive, read_options, say

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from skadm.neural import TorchDetector

DETECTORS = {"ADMDetector": "paper-brats", "EraserDetector": "paper"}
TOLERANCE = 1e-3  # of scores, relative to their standard deviation over brain pixels
EPOCHS = (1, 3)  # of two trainings, whose difference is the time of an epoch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--device", default="cuda", help="'cuda', 'cuda:1' or 'cpu'")
    parser.add_argument("--preset", help="by default the sizes of the publications")
    parser.add_argument("--size", type=positive, default=128, help="pixels of a side")
    parser.add_argument("--slices", type=positive, default=256, help="to measure on")
    parser.add_argument("--compared", type=positive, default=4, help="slices on the CPU")


@contextmanager
def utilisation(device: str) -> Iterator[list[int]]:
    """Percent of the time in which the device computes, sampled twice a second."""
    samples: list[int] = []
    done = threading.Event()

    def sample() -> None:
        import torch

        while not done.wait(0.5):
            samples.append(torch.cuda.utilization(device))

    thread = threading.Thread(target=sample, daemon=True)
    if device != "cpu":
        thread.start()
    try:
        yield samples
    finally:
        done.set()
        if thread.is_alive():
            thread.join()


def synchronised(device: str) -> float:
    """Return the time when all that was asked of the device is done."""
    import torch

    if device != "cpu":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def epoch_seconds(detector: TorchDetector, images: NDArray, device: str) -> float:
    """Seconds of an epoch of all stages, without what is done once for a training."""
    from sklearn.base import clone

    seconds = []
    for epochs in EPOCHS:
        started = synchronised(device)
        clone(detector).set_params(max_epochs=epochs).fit(images)
        seconds.append(synchronised(device) - started)
    return (seconds[1] - seconds[0]) / (EPOCHS[1] - EPOCHS[0])


def difference(fitted: TorchDetector, images: NDArray) -> float:
    """Largest difference of scores to those of the CPU, both in float32."""
    brain = (images != 0).any(axis=1)
    first, second = (
        # Copied without its networks, which are built again on the device.
        copy(fitted)
        .set_params(device=device, precision="float32")
        .score_samples(images)[brain]
        .astype(np.float64)
        for device in (fitted.device, "cpu")
    )
    return float(np.abs(first - second).max() / second.std())


def measure(
    name: str, preset: str, images: NDArray, options: argparse.Namespace
) -> dict[str, Any]:
    """Rates of one detector."""
    import torch

    from skadm.presets import make_detector

    device = options.device
    detector = make_detector(name, preset, device=device, random_state=0)
    fitted = detector.set_params(max_epochs=1).fit(images)  # warms up, too
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats(device)
    with utilisation(device) as training:
        epoch = epoch_seconds(detector, images, device)
    with utilisation(device) as scoring:
        started = synchronised(device)
        fitted.score_samples(images)
        seconds = synchronised(device) - started
    memory = 0.0 if device == "cpu" else torch.cuda.max_memory_allocated(device) / 2**20
    return {
        "detector": name,
        "preset": preset,
        "training, slices/s": len(images) / max(epoch, 1e-9),
        "scoring, slices/s": len(images) / seconds,
        "busy in training, %": float(np.mean(training)) if training else None,
        "busy in scoring, %": float(np.mean(scoring)) if scoring else None,
        "peak memory, MiB": memory,
        "difference to the CPU": difference(fitted, images[: options.compared]),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 if a test failed or scores differ, else 0."""
    options = read_options(__name__, argv)

    import torch

    from benchmarks.lib.data import load_stack, normal_slices
    from benchmarks.lib.page import Page
    from benchmarks.lib.speed.machine import describe

    failed = False
    if options.device != "cpu":
        if not torch.cuda.is_available():
            raise SystemExit(
                f"--device {options.device}, but torch finds no CUDA device: run this on a "
                "machine with one, or pass --device cpu."
            )
        say("tests that need a CUDA device")
        command = [sys.executable, "-m", "pytest", "-q", "tests/test_device.py"]
        failed = subprocess.run(command, check=False).returncode != 0
    n_patients, n_slices = -(-options.slices // 32), min(32, options.slices)
    stack = load_stack("phantom", options.size, n_patients, n_slices, lesion_fraction=0.0)
    images = stack[normal_slices(stack, options.slices)].X
    rows = []
    for name, preset in DETECTORS.items():
        say(f"{name}: measuring")
        rows.append(measure(name, options.preset or preset, images, options))
    machine = describe()
    if options.device != "cpu":
        machine["gpu"] = torch.cuda.get_device_name(options.device)
    page = Page(
        options,
        "What a GPU buys",
        f"{len(images)} slices of {options.size} x {options.size} pixels with four "
        f"contrasts, on {machine.get('gpu', 'the CPU')}",
    )
    page.table("gpu", rows, page.text)
    page.close(machine=machine)
    differing = [
        row["detector"] for row in rows if row["difference to the CPU"] > TOLERANCE
    ]
    if differing:
        say(f"scores differ from those of the CPU: {', '.join(differing)}")
    return 1 if failed or differing else 0
