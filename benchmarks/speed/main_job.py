"""The jobs that a user waits for: from a folder of scans to a model, and to maps.

Runs `skadm score` of one patient with the shipped weights, and `skadm fit` of an eraser
from the shipped weights (preset fine-tune) and from random ones (preset cpu). Each is a
process of its own. Prints how long their stages take, in seconds of the processor, and how
long the whole process takes by the clock, which needs an idle machine.

    python -m benchmarks main_job --data brats
    python -m benchmarks main_job --data brats --jobs score --against path/to/older

With --against, another checkout does the same in turn. Writes main_job.csv (medians),
runs.csv and run.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.lib.options import positive, read_options, say

HERE = Path(__file__).parents[2]
JOBS = {
    "score": "score --model synthetic --prior FLAIR --data {one} --out {out}",
    "fit from shipped weights": "fit --detector EraserDetector --preset fine-tune "
    "--data {data} --out {out}.skadm",
    "fit from random weights": "fit --detector EraserDetector --preset cpu "
    "--data {data} --out {out}.skadm",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--data", required=True, help="folder of scans with FLAIR")
    parser.add_argument("--repeats", type=positive, default=3, help="of each job")
    parser.add_argument(
        "--jobs", nargs="+", choices=list(JOBS), default=list(JOBS), metavar="JOB"
    )
    parser.add_argument("--against", type=Path, help="another checkout of skadm")


def run(job: str, data: Path, checkout: Path) -> dict[str, float]:
    """Seconds of a job, as a whole by the clock and of its stages by the processor."""
    with tempfile.TemporaryDirectory() as folder:
        one = Path(folder, "scans")
        one.mkdir()
        patient = next(path for path in sorted(data.iterdir()) if path.is_dir())
        Path(one, patient.name).symlink_to(patient.resolve())
        record = Path(folder, "stages.json")
        places = {"one": one, "data": data, "out": Path(folder, "out")}
        words = [word.format(**places) for word in JOBS[job].split()]
        script = Path(__file__).with_name("_stages.py")
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, str(script), str(record), *words],
            check=True,
            stdout=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": str(checkout)},
        )
        elapsed = time.perf_counter() - started
        stages = json.loads(record.read_text(encoding="utf-8"))
    return {"elapsed": elapsed, "processor": sum(stages.values())} | stages


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = read_options(__name__, argv)

    import pandas as pd

    # Imported for run.json, which records the code of all modules that are loaded.
    import skadm.cohort
    import skadm.pretrained  # noqa: F401
    from benchmarks.lib.page import Page
    from benchmarks.lib.speed.machine import describe

    checkouts = {"here": HERE}
    if options.against is not None:
        checkouts["against"] = options.against.resolve()
    rows: list[dict[str, Any]] = []
    for job in options.jobs:
        for number in range(options.repeats):
            for name, checkout in checkouts.items():
                seconds = run(job, Path(options.data).resolve(), checkout)
                rows.append({"job": job, "checkout": name} | seconds)
                say(f"{job}, {name}, {number + 1}: {seconds['processor']:.1f} s")
    machine = describe()
    page = Page(
        options,
        "Whole jobs",
        f"{options.data}; medians of {options.repeats}, in seconds; "
        f"{machine['processor']}, {machine['torch_threads']} threads",
    )
    medians = pd.DataFrame(rows).groupby(["job", "checkout"], sort=False).median()
    page.rows("runs", rows)
    page.table("main_job", medians.reset_index().to_dict("records"), page.text)
    page.close(machine=machine)
