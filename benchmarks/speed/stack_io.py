"""What reading and writing cost: files against nibabel, and a cache that grows.

Files: reads patients in the layout of BraTS, prepares them, and writes maps of one
contrast; beside it, nibabel reads the same files and writes the same maps. CPU seconds of
one thread, medians, without and with steps. Cache: builds caches of more and more synthetic
volumes, and prints what it costs to open one, to read random slices, to go through it, and
the highest memory that each of these processes took (on Linux).

    OMP_NUM_THREADS=1 python -m benchmarks stack_io --data path/to/brats --volumes 100 2000
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.lib.options import positive, read_options

if TYPE_CHECKING:
    from skadm.data import Grid

N_SLICES, N_CONTRASTS = 25, 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--data", help="patients in the layout of BraTS; without, no files")
    parser.add_argument("--patients", type=positive, default=2)
    parser.add_argument("--repeats", type=positive, default=5)
    parser.add_argument("--volumes", type=positive, nargs="*", default=[100, 2000])
    parser.add_argument("--size", type=positive, default=32, help="of the synthetic slices")


def cpu_seconds(function: Callable[[], Any], repeats: int) -> float:
    """Median of the CPU time of a call."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    return float(np.median(seconds))


def compare_files(data: str, n_patients: int, repeats: int) -> list[dict[str, Any]]:
    """CPU seconds of nibabel and of a stack, and their ratio."""
    import nibabel as nib

    from skadm.data import SliceStack, read_brats, write_maps
    from skadm.preprocessing import IntensityNormalizer, SliceResizer

    files = read_brats(data, labels=False).volumes[:n_patients]
    chains = {
        "as they are": [],
        "normalised": [IntensityNormalizer()],
        "normalised, 128 x 128": [IntensityNormalizer(), SliceResizer(128)],
    }
    rows = []
    for name, steps in chains.items():
        with tempfile.TemporaryDirectory() as out:

            def skadm(in_memory: bool, steps=steps, out=out) -> None:
                for volume in files:
                    stack = SliceStack.from_volumes([volume])
                    for step in steps:
                        stack = step.fit_transform(stack)
                    stack = stack.in_memory() if in_memory else stack
                    write_maps(stack.X[:, -1], stack, out, force=True)

            skadm(True)
            maps = [
                np.asarray(nib.load(Path(out) / f"{volume.name}_score.nii.gz").dataobj)
                for volume in files
            ]

            def plain(maps=maps, out=out) -> None:
                for volume, voxels in zip(files, maps):
                    images = [nib.load(path) for path in volume.paths]
                    for image in images:
                        np.asarray(image.dataobj, dtype=np.float32)
                    image = nib.Nifti1Image(voxels, images[0].affine)
                    nib.save(image, Path(out) / "plain.nii.gz")

            raw = cpu_seconds(plain, repeats)
            memory, lazy = (
                cpu_seconds(lambda mode=mode: skadm(mode), repeats)
                for mode in (True, False)
            )
            row = {"slices": name, "nibabel, s": raw, "in memory, s": memory}
            row |= {"ratio": memory / raw, "lazy, s": lazy, "ratio, lazy": lazy / raw}
            rows.append(row)
    return rows


@dataclass(frozen=True, eq=False)
class Noise:
    """A volume that is made when it is read, from its number."""

    number: int
    size: int
    contrasts = ("T1", "T1ce", "T2", "FLAIR")
    n_slices = N_SLICES
    has_labels = True

    @property
    def name(self) -> str:
        return f"P{self.number}"

    patient = name

    @property
    def grid(self) -> Grid:
        from skadm.data import Grid

        return Grid((self.size, self.size), np.eye(4))

    @property
    def origin(self) -> Noise:
        return self

    def read(self):
        rng = np.random.default_rng(self.number)
        shape = (N_SLICES, N_CONTRASTS, self.size, self.size)
        images = rng.standard_normal(shape, dtype=np.float32)
        return images, (images[:, 0] > 4).astype(np.int8)

    def read_with_origin_brain(self):
        images, labels = self.read()
        return images, labels, np.ones(labels.shape, dtype=bool)

    def invert(self, maps):
        return maps


def use_cache(n_volumes: int, size: int, results: multiprocessing.SimpleQueue) -> None:
    """Build a cache, use it, and put a row into the queue."""
    from skadm.data import SliceStack

    row: dict[str, float] = {"volumes": n_volumes}
    with tempfile.TemporaryDirectory() as folder:
        stack = SliceStack.from_volumes([Noise(i, size) for i in range(n_volumes)])
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
            ("all chunks, s", lambda: [len(places) for places, _ in cached.chunks()]),
        ):
            start = time.perf_counter()
            work()
            row[name] = time.perf_counter() - start
    # Not that of getrusage, which a new process takes over from its parent.
    status = Path("/proc/self/status").read_text()
    row["peak memory, MiB"] = int(status.split("VmHWM:")[1].split()[0]) / 1024
    results.put(row)


def main(argv: Sequence[str] | None = None) -> None:
    """Run both."""
    options = read_options(__name__, argv)

    from benchmarks.lib.page import Page

    page = Page(options, "Reading and writing", "Files, and caches that grow.")
    if options.data:
        rows = compare_files(options.data, options.patients, options.repeats)
        page.table("files", rows, "CPU seconds of one thread")
    rows = []
    # A process for each: the highest memory is that of this size alone.
    context = multiprocessing.get_context("spawn")
    for n_volumes in options.volumes:
        results = context.SimpleQueue()
        process = context.Process(target=use_cache, args=(n_volumes, options.size, results))
        process.start()
        rows.append(results.get())
        process.join()
    page.table("cache", rows, "Caches of synthetic volumes")
    page.close()
