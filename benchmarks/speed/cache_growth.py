"""Cost of a cache of slices as its number of volumes grows.

Builds caches of more and more synthetic volumes. Measures the time to open one, to read
random slices and to read all slices, and the peak memory of each of these processes (on
Linux).

    OMP_NUM_THREADS=1 python -m benchmarks cache_growth --volumes 100 2000

Prints a table, and writes cache_growth.csv and run.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.lib.options import positive, read_options
from benchmarks.lib.speed.memory import kib, run_alone

if TYPE_CHECKING:
    from skadm.data import Slices
    from skadm.data._interfaces import Grid

N_SLICES, N_CONTRASTS = 25, 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--volumes", type=positive, nargs="+", default=[100, 2000])
    parser.add_argument("--size", type=positive, default=32, help="of the synthetic slices")


@dataclass(frozen=True, eq=False)
class Noise:
    """The source of a volume of noise in an ellipse, made from its number when read."""

    number: int
    size: int
    session = ""
    contrasts = ("T1", "T1ce", "T2", "FLAIR")
    n_slices = N_SLICES
    has_labels = True

    @property
    def name(self) -> str:
        return f"P{self.number}"

    patient = name

    @property
    def grid(self) -> Grid:
        from skadm.data._interfaces import Grid

        return Grid((self.size, self.size), np.eye(4))

    @property
    def outline(self) -> Noise:
        return self

    def release(self) -> None:
        """Nothing is kept."""

    def decode(self, labels: bool) -> Slices:
        from skadm.data import Slices

        rng = np.random.default_rng(self.number)
        shape = (N_SLICES, N_CONTRASTS, self.size, self.size)
        images = rng.standard_normal(shape, dtype=np.float32)
        rows, columns = np.mgrid[-1 : 1 : self.size * 1j, -1 : 1 : self.size * 1j]
        inside = rows**2 + columns**2 < 0.8
        images *= inside
        brain = np.broadcast_to(inside, (N_SLICES, *inside.shape)).copy()
        return Slices(images, brain, (images[:, 0] > 4).astype(np.int8))


def use_cache(n_volumes: int, size: int) -> dict[str, float]:
    """Build a cache, use it, and make a row of it."""
    from skadm.data import SliceStack, Volume

    row: dict[str, float] = {"volumes": n_volumes}
    with tempfile.TemporaryDirectory() as folder:
        stack = SliceStack.from_volumes([Volume(Noise(i, size)) for i in range(n_volumes)])
        stack.cache(folder)
        on_disk = sum(path.stat().st_size for path in Path(folder).iterdir())
        row |= {"slices": len(stack), "disk, MiB": on_disk / 2**20}
        start = time.perf_counter()
        cached = stack.cache(folder)
        row["open, ms"] = (time.perf_counter() - start) * 1e3
        rng, batches = np.random.default_rng(0), []
        for _ in range(200):
            start = time.perf_counter()
            cached[rng.integers(len(cached), size=16)].load()
            batches.append(time.perf_counter() - start)
        row["16 random slices, ms"] = float(np.median(batches)) * 1e3
        for name, work in (
            ("normal slices, s", cached.normal),
            ("all chunks, s", lambda: [len(part.z) for part in cached.chunks()]),
        ):
            start = time.perf_counter()
            work()
            row[name] = time.perf_counter() - start
    # Not that of getrusage, which a new process takes over from its parent.
    row["peak memory, MiB"] = kib("VmHWM") / 1024
    return row


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = read_options(__name__, argv)

    from benchmarks.lib.page import Page

    page = Page(options, "Caches", "Synthetic volumes; a process for each number of them.")
    rows = [run_alone(use_cache, number, options.size) for number in options.volumes]
    page.table("cache_growth", rows, "Caches of synthetic volumes")
    page.close()
