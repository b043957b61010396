"""Peak memory of training and scoring, as the number of slices on disk grows.

Synthetic slices of correlated contrasts in an elliptic brain are written to a .npy file, on
which a detector is trained for one epoch and which it scores into another .npy file, each
in a process of its own. Beside it the size of the slices, which a program that reads them
all would take. Peak memory is the kernel's (VmHWM), so on Linux only, less that of a
process that has only imported the package and mapped the file.

    OMP_NUM_THREADS=1 python -m benchmarks streaming

Prints a table, and writes streaming.csv, streaming.png and run.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.lib.options import positive, read_options, say
from benchmarks.lib.speed.memory import peak_mib, run_alone

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from skadm.base import BaseDetector

N_CONTRASTS, CHUNK = 4, 500
_TICKS = (50, 100, 200, 500, 1000)  # MiB


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--slices", type=positive, nargs="+", default=[2000, 10000, 50000])
    parser.add_argument("--size", type=positive, default=32, help="of a slice's side")
    parser.add_argument(
        "--working-memory",
        type=positive,
        default=64,
        help="MiB: scikit-learn's setting, above which arrays go to disk",
    )


def detectors() -> dict[str, BaseDetector]:
    """Small ones: what memory they take of themselves does not depend on the slices."""
    from skadm import ADMDetector, PCADetector

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
        noise = rng.standard_normal(chunk.shape, dtype=np.float32)
        chunk[:] = np.where(brain, common + 0.3 * noise, 0)
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
) -> tuple[float, float | None, BaseDetector]:
    """Seconds, peak memory and the detector after the work."""
    import sklearn

    sklearn.set_config(working_memory=working_memory)
    images = np.load(path, mmap_mode="r")
    start = time.perf_counter()
    peak = peak_mib(lambda: work(detector, images))
    return time.perf_counter() - start, peak, detector


def draw(rows: Sequence[dict]) -> Figure:
    """Peak memory over the number of slices."""
    import pandas as pd
    from matplotlib.figure import Figure

    table = pd.DataFrame(rows)
    figure = Figure(figsize=(6.0, 3.8), layout="constrained")
    axes = figure.subplots()
    styles = {"fit": "-o", "score": "--s"}
    for (name, step), rows_of_step in table.groupby(["detector", "step"], sort=False):
        line = rows_of_step["slices"], rows_of_step["peak_mib"], styles[step]
        axes.plot(*line, label=f"{name}, {step}")
    sizes = dict(zip(table["slices"], table["on_disk_mib"]))
    axes.plot(list(sizes), list(sizes.values()), ":", color="gray", label="the slices")
    axes.set(xlabel="slices on disk", ylabel="MiB", xscale="log", yscale="log")
    axes.set_xticks(list(sizes), [f"{size:,}" for size in sizes])
    axes.set_yticks(_TICKS, [str(tick) for tick in _TICKS])
    axes.minorticks_off()
    axes.legend(frameon=False, ncols=2)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    options = read_options(__name__, argv)

    from benchmarks.lib.page import Page

    page = Page(options, "Memory as the slices grow", "MiB; a process for each step.")
    rows = []
    for n_slices in options.slices:
        with tempfile.TemporaryDirectory(dir=options.out) as folder:
            path = Path(folder) / "slices.npy"
            say(f"{n_slices} slices: writing")
            write_slices(path, n_slices, options.size)
            on_disk = path.stat().st_size / 2**20
            for name, detector in detectors().items():
                for work in (fit, score):
                    seconds, peak, detector = run_alone(
                        measure, work, detector, path, options.working_memory
                    )
                    row = {"detector": name, "slices": n_slices, "on_disk_mib": on_disk}
                    row |= {"step": work.__name__, "seconds": seconds, "peak_mib": peak}
                    rows.append(row)
                    say(", ".join(f"{key} {value}" for key, value in row.items()))
    page.table("streaming", rows, "Peak memory")
    page.figure("streaming", draw(rows), "Peak memory over the number of slices")
    page.close()
