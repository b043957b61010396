"""Peak memory of training and scoring, as the number of slices on disk grows.

Synthetic slices of correlated contrasts in an elliptic brain are written to a .npy file, on
which a detector is trained for one epoch and which it scores into another .npy file, each
in a process of its own. Beside it the size of the slices, which a program that reads them
all would take. Peak memory is the kernel's (VmHWM), so on Linux only, less that of a
process that has only imported the package and mapped the file.

    OMP_NUM_THREADS=1 python benchmarks/streaming.py

Prints a table, and writes streaming.csv, streaming.png and run.json.
"""

import argparse
import csv
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import sklearn
from benchmarks.lib.options import positive, say, write_run
from benchmarks.lib.speed.memory import peak_mib
from matplotlib.figure import Figure
from numpy.typing import NDArray

from skadm import ADMDetector, PCADetector
from skadm.base import BaseDetector

N_CONTRASTS, CHUNK = 4, 500
_TICKS = (50, 100, 200, 500, 1000)  # MiB
FIELDS = ("detector", "slices", "on_disk_mib", "step", "seconds", "peak_mib")


def detectors() -> dict[str, BaseDetector]:
    """Small ones: what memory they take of themselves does not depend on the slices."""
    return {
        "PCA": PCADetector(random_state=0),
        "ADM": ADMDetector(
            width=4,
            n_blocks=1,
            n_components=4,
            batch_size=256,
            max_epochs=1,
            random_state=0,
        ),
    }


def write_slices(path: Path, n_slices: int, size: int) -> None:
    """Write float32 slices (n, 4, size, size), a chunk at a time."""
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    brain = rows**2 + columns**2 < 0.8
    shape = (n_slices, N_CONTRASTS, size, size)
    out = np.lib.format.open_memmap(path, "w+", dtype=np.float32, shape=shape)
    rng = np.random.default_rng(0)
    for first in range(0, n_slices, CHUNK):
        chunk = out[first : first + CHUNK]
        common = rng.standard_normal((len(chunk), 1, size, size), dtype=np.float32)
        own = rng.standard_normal(chunk.shape, dtype=np.float32)
        chunk[:] = np.where(brain, common + 0.3 * own, 0)
    out.flush()


def fit(detector: BaseDetector, images: NDArray) -> None:
    """Train."""
    detector.fit(images)


def score(detector: BaseDetector, images: NDArray) -> None:
    """Score into a file beside the slices."""
    shape = (len(images), *images.shape[2:])
    with tempfile.TemporaryDirectory(dir=Path(images.filename).parent) as folder:
        maps = np.lib.format.open_memmap(
            Path(folder) / "maps.npy", "w+", dtype=np.float32, shape=shape
        )
        detector.score_samples(images, out=maps)


def measure(
    work: Callable[[BaseDetector, NDArray], None],
    detector: BaseDetector,
    path: Path,
    working_memory: int,
    results: "multiprocessing.SimpleQueue",
) -> None:
    """Put seconds, peak memory and the detector into the queue."""
    sklearn.set_config(working_memory=working_memory)
    images = np.load(path, mmap_mode="r")
    start = time.perf_counter()
    peak = peak_mib(lambda: work(detector, images))
    results.put((time.perf_counter() - start, peak, detector))


def in_a_process(
    work: Callable[[BaseDetector, NDArray], None],
    detector: BaseDetector,
    path: Path,
    working_memory: int,
) -> tuple[float, float, BaseDetector]:
    """Measure where nothing else has taken memory."""
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    process = context.Process(
        target=measure, args=(work, detector, path, working_memory, results)
    )
    process.start()
    found = results.get()
    process.join()
    return found


def draw(rows: Sequence[dict], path: Path) -> None:
    """Peak memory over the number of slices."""
    figure = Figure(figsize=(6.0, 3.8), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(row["detector"] for row in rows):
        for step, style in (("fit", "-o"), ("score", "--s")):
            own = [r for r in rows if r["detector"] == name and r["step"] == step]
            axes.plot(
                [row["slices"] for row in own],
                [row["peak_mib"] for row in own],
                style,
                label=f"{name}, {step}",
            )
    sizes = {row["slices"]: row["on_disk_mib"] for row in rows}
    axes.plot(list(sizes), list(sizes.values()), ":", color="gray", label="the slices")
    axes.set(xlabel="slices on disk", ylabel="MiB", xscale="log", yscale="log")
    axes.set_xticks(list(sizes), [f"{size:,}" for size in sizes])
    axes.set_yticks(_TICKS, [str(tick) for tick in _TICKS])
    axes.minorticks_off()
    axes.legend(frameon=False, ncols=2)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument(
        "--slices", type=positive, nargs="+", default=[2000, 10000, 50000]
    )
    arguments.add_argument("--size", type=positive, default=32, help="of a slice's side")
    arguments.add_argument(
        "--working-memory",
        type=positive,
        default=64,
        help="MiB: scikit-learn's setting, above which arrays go to disk",
    )
    arguments.add_argument("--out", type=Path, default=Path("out/streaming"))
    options = arguments.parse_args(argv)
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    print("| detector | slices | on disk (MiB) | step | seconds | peak memory (MiB) |")
    print("|---|---|---|---|---|---|", flush=True)
    for n_slices in options.slices:
        with tempfile.TemporaryDirectory(dir=out) as folder:
            path = Path(folder) / "slices.npy"
            say(f"{n_slices} slices: writing")
            write_slices(path, n_slices, options.size)
            on_disk = path.stat().st_size / 2**20
            for name, detector in detectors().items():
                for work in (fit, score):
                    seconds, peak, detector = in_a_process(
                        work, detector, path, options.working_memory
                    )
                    values = (name, n_slices, on_disk, work.__name__, seconds, peak)
                    rows.append(dict(zip(FIELDS, values)))
                    print(
                        f"| {name} | {n_slices} | {on_disk:.0f} | {work.__name__} | "
                        f"{seconds:.1f} | {peak:.0f} |",
                        flush=True,
                    )
    with open(out / "streaming.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    draw(rows, out / "streaming.png")
    write_run(out, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
