"""What the machine can do, and what the networks ask of it."""

import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.lib.speed.plain_adm import Translation, medians

_SIDE = 64  # pixels of the slice on which operations are counted


def describe() -> dict[str, Any]:
    """Processor, threads and memory."""
    cpuinfo, meminfo = Path("/proc/cpuinfo"), Path("/proc/meminfo")
    record: dict[str, Any] = {"torch_threads": torch.get_num_threads()}
    record["processor"] = platform.processor() or platform.machine()
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        names = [line.split(":")[1].strip() for line in lines if "model name" in line]
        record |= {"processor": names[0], "cores": len(names)} if names else {}
    if meminfo.exists():
        record["memory_gib"] = round(int(meminfo.read_text().split()[1]) / 2**20, 1)
    return record


def matrix_rate(dtype: torch.dtype, side: int = 2048, seconds: float = 1.0) -> float:
    """Floating-point operations per second of square matrix products.

    The best of all in this time: a limit is what the machine does undisturbed.
    """
    a, b = (torch.randn(side, side).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    best = np.inf
    until = time.perf_counter() + seconds
    while best == np.inf or time.perf_counter() < until:
        started = time.perf_counter()
        torch.mm(a, b, out=out)
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best


def translation_flops(n_contrasts: int, width: int, training: bool) -> float:
    """Operations of one translation for each pixel, counted from the layers.

    Of the plain network, forward, or forward and backward in a training step.
    """
    network = Translation(n_contrasts, width, n_blocks=5)
    images = torch.randn(1, n_contrasts, _SIDE, _SIDE)
    with FlopCounterMode(display=False) as counter:
        made = network(images, 0, medians(images)[:, 0])
        if training:
            made.square().mean().backward()
    return counter.get_total_flops() / _SIDE**2


def needed_pixels(images: NDArray) -> int:
    """Pixels in the boxes around the brain, of all slices (n, K, H, W) together.

    A convolution works on rectangles; what lies outside of these is background.
    """
    brain = (images != 0).any(axis=1)
    rows, columns = brain.any(axis=2), brain.any(axis=1)
    return sum(int(_extent(r) * _extent(c)) for r, c in zip(rows, columns))


def _extent(line: NDArray) -> int:
    places = np.flatnonzero(line)
    return int(places[-1] - places[0] + 1) if places.size else 0
