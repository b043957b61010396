"""Scoring a cohort with two jobs against one, and memory as the cohort grows.

Scores more and more synthetic volumes of 25 slices, none of which is in memory before it is
read, with a network of the preset quick, from a model file to NIfTI files. Each measurement
is a process of its own. `elapsed` is the time of the clock and needs an idle machine; the
seconds of the processor, of all processes together, do not. Starting the processes counts.
Peak memory is that of the largest process. Linux only.

    OMP_NUM_THREADS=1 python -m benchmarks cohort --volumes 50 200 2000

Prints a table with the goal, and writes cohort.csv and run.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.lib.options import positive, read_options, say
from benchmarks.lib.speed.memory import kib, run_alone
from benchmarks.speed.cache_growth import N_SLICES, Noise

GOAL = 1.7  # times as fast as one job


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--volumes", type=positive, nargs="+", default=[50, 200, 2000])
    parser.add_argument("--size", type=positive, default=64, help="of the synthetic slices")
    parser.add_argument("--jobs", type=positive, default=2, help="compared with one")


def save_model(path: Path, size: int) -> None:
    """Train for an epoch on a volume, and save the model."""
    from sklearn.pipeline import make_pipeline

    import skadm
    from skadm.data import SliceStack, Volume
    from skadm.preprocessing import IntensityNormalizer
    from skadm.presets import make_detector

    detector = make_detector("EraserDetector", "quick", max_epochs=1, random_state=0)
    model = make_pipeline(IntensityNormalizer(), detector)
    stack = SliceStack.from_volumes([Volume(Noise(0, size))]).without_labels()
    skadm.save(model.fit(stack), path)


def score(model: Path, n_volumes: int, size: int, n_jobs: int) -> dict[str, float]:
    """Seconds and memory of scoring the cohort."""
    import resource

    from joblib.externals.loky import get_reusable_executor

    from skadm.cohort import score_cohort
    from skadm.data import SliceStack, Volume

    volumes = [Volume(Noise(number, size)) for number in range(n_volumes)]
    stack = SliceStack.from_volumes(volumes)
    started, worked = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        report = score_cohort(model, stack, folder, n_jobs=n_jobs)
        elapsed = time.perf_counter() - started
    if report.failures:
        raise RuntimeError(f"could not be scored: {report.failures}")
    worked = time.process_time() - worked
    peak = kib("VmHWM")
    if n_jobs > 1:
        get_reusable_executor().shutdown(wait=True)
        workers = resource.getrusage(resource.RUSAGE_CHILDREN)
        worked += workers.ru_utime + workers.ru_stime
        peak = max(peak, workers.ru_maxrss)
    return {"elapsed, s": elapsed, "processor, s": worked, "peak memory, MiB": peak / 1024}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = read_options(__name__, argv)

    from benchmarks.lib.page import Page

    page = Page(
        options,
        "Cohorts",
        f"Synthetic volumes of {N_SLICES} slices of {options.size} pixels a side.",
    )
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.skadm"
        save_model(model, options.size)
        for n_volumes in options.volumes:
            alone: float | None = None
            for n_jobs in (1, options.jobs):
                say(f"{n_volumes} volumes, jobs: {n_jobs}")
                found = run_alone(score, model, n_volumes, options.size, n_jobs)
                alone = alone or found["elapsed, s"]
                row = {"volumes": n_volumes, "slices": n_volumes * N_SLICES}
                row |= {"jobs": n_jobs} | found
                row |= {"ratio": alone / found["elapsed, s"], "goal": None}
                rows.append(row | ({"goal": GOAL} if n_jobs > 1 else {}))
    page.table("cohort", rows, "Cohorts of synthetic volumes")
    page.close()
