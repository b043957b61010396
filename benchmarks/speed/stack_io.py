"""What reading and writing cost: files against nibabel, and a cache that grows.

Files: reads patients in the layout of BraTS, prepares them, and writes maps of one
contrast; beside it, nibabel reads the same files and writes the same maps. CPU seconds of
one thread, medians, without and with steps. Cache: builds caches of more and more synthetic
volumes, and prints what it costs to open one, to read random slices, to go through it, and
the highest memory that each of these processes took (on Linux).

    OMP_NUM_THREADS=1 python benchmarks/stack_io.py --data path/to/brats --volumes 100 2000
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from skadm.data import Grid, SliceStack, read_brats, write_maps
from skadm.preprocessing import IntensityNormalizer, SliceResizer

N_SLICES, N_CONTRASTS = 25, 4


def cpu_seconds(function: Callable[[], Any], repeats: int) -> float:
    """Median of the CPU time of a call."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    return float(np.median(seconds))


def compare_files(data: str, n_patients: int, repeats: int) -> None:
    """Print CPU seconds of nibabel and of a stack, and their ratio."""
    files = read_brats(data, labels=False).volumes[:n_patients]
    chains = {
        "as they are": [],
        "normalised": [IntensityNormalizer()],
        "normalised, 128 x 128": [IntensityNormalizer(), SliceResizer(128)],
    }
    print("| slices | nibabel (s) | in memory (s) | ratio | lazy (s) | ratio |")
    print("|---|---|---|---|---|---|")
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
            print(
                f"| {name} | {raw:.2f} | {memory:.2f} | {memory / raw:.2f} | {lazy:.2f} | "
                f"{lazy / raw:.2f} |"
            )


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
        return Grid((self.size, self.size), np.eye(4))

    @property
    def origin(self) -> "Noise":
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


def use_cache(n_volumes: int, size: int) -> None:
    """Build a cache, use it, and print a row."""
    row: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        stack = SliceStack.from_volumes([Noise(i, size) for i in range(n_volumes)])
        stack.cache(folder)
        on_disk = sum(path.stat().st_size for path in Path(folder).iterdir())
        start = time.perf_counter()
        cached = stack.cache(folder)
        row.append((time.perf_counter() - start) * 1e3)
        rng, batches = np.random.default_rng(0), []
        for _ in range(200):
            start = time.perf_counter()
            cached[rng.integers(len(cached), size=16)].load()
            batches.append(time.perf_counter() - start)
        row.append(float(np.median(batches)) * 1e3)
        for work in (cached.normal, lambda: [len(places) for places, _ in cached.chunks()]):
            start = time.perf_counter()
            work()
            row.append(time.perf_counter() - start)
    # Not that of getrusage, which a new process takes over from its parent.
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    print(
        f"| {n_volumes} | {len(stack)} | {on_disk / 2**20:.0f} | "
        f"{row[0]:.0f} | {row[1]:.2f} | {row[2]:.2f} | {row[3]:.2f} | {peak:.0f} |",
        flush=True,
    )


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="patients in the layout of BraTS; else no files")
    parser.add_argument("--patients", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--volumes", type=int, nargs="*", default=[100, 2000])
    parser.add_argument("--size", type=int, default=32, help="of the synthetic slices")
    args = parser.parse_args()
    if args.data:
        compare_files(args.data, args.patients, args.repeats)
        print()
    print("| volumes | slices | disk (MiB) | open (ms) | 16 random slices (ms) ", end="")
    print("| normal slices (s) | all chunks (s) | peak memory (MiB) |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for n_volumes in args.volumes:
        # A process for each: the highest memory is that of this size alone.
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=use_cache, args=(n_volumes, args.size))
        process.start()
        process.join()


if __name__ == "__main__":
    main()
