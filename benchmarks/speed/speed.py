"""Speed and memory: the package beside what else does the same work, in one run.

Training and scoring against the same networks written straight from the paper's equations
(lib/speed/plain_adm.py), convolutions against what the machine can do, density, metrics and
files against torch, scikit-learn and nibabel. Measurements take turns, and are medians.

    python -m benchmarks speed
    python -m benchmarks speed --data brats --equal-loss
    python -m benchmarks speed --quick --only scoring density
    python -m benchmarks speed --only parts
    python -m benchmarks speed --profile

Prints a table, and then what is under its goal. Writes speed.json and speed.csv (a row for
each measurement: name, ours_s, reference_s, ratio, goal, and more), missed.csv, speed.png,
run.json, and with --equal-loss equal_loss.png. With --threads 1 or OMP_NUM_THREADS=1, times
of all but training are of the processor.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from benchmarks.lib.options import add_data_arguments, positive, read_options, say

if TYPE_CHECKING:
    from benchmarks.lib.speed.rows import Row
    from benchmarks.lib.speed.setting import Setting

# Modules of lib.speed.
SECTIONS = ("training", "scoring", "limit", "density", "metrics", "io", "growth")
# Only where they are asked for.
PARTS, EQUAL_LOSS = "parts", "equal_loss"
QUICK = {
    "size": 32,
    "width": 8,
    "slices": 16,
    "repeats": 1,
    "epochs": [2, 6],
    "plain_epochs": [1, 3],
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_data_arguments(parser)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=(*SECTIONS, PARTS, EQUAL_LOSS),
        metavar="ROWS",
        help=f"which rows: {', '.join(SECTIONS)} (these are the default), {PARTS}, what "
        f"each part of the package buys, and {EQUAL_LOSS}",
    )
    parser.add_argument("--repeats", type=positive, default=5, help="of each measurement")
    parser.add_argument(
        "--threads", type=positive, help="by default as many as torch takes"
    )
    parser.add_argument("--width", type=positive, default=32, help="as ADMDetector's")
    parser.add_argument("--large", action="store_true", help="metrics of 1e8 pixels too")
    parser.add_argument(
        "--equal-loss", action="store_true", help="the trainings to equal loss too"
    )
    parser.add_argument(
        "--epochs",
        type=positive,
        nargs="+",
        default=[10, 20, 40, 80],
        help="lengths of our trainings to equal loss",
    )
    parser.add_argument(
        "--plain-epochs",
        type=positive,
        nargs="+",
        default=[5, 10, 20, 40],
        help="lengths of the plain ones",
    )
    parser.add_argument(
        "--profile", action="store_true", help="print where the time goes, and end"
    )
    parser.set_defaults(slices=32)


def make_setting(options: argparse.Namespace) -> Setting:
    """Slices and sizes that the options ask for."""
    import numpy as np

    from benchmarks.lib.data import load_stack, normal_slices
    from benchmarks.lib.speed.setting import Setting

    n_patients = max(1, -(-options.slices // 12))
    stack = load_stack(options.data, options.size, n_patients, 24)
    pixels = (10**5,) if options.quick else (10**5, 10**6, 10**7)
    return Setting(
        images=np.ascontiguousarray(stack[normal_slices(stack, options.slices)].X),
        width=options.width,
        repeats=options.repeats,
        data=options.data,
        metric_pixels=(*pixels, 10**8) if options.large else pixels,
        volume_shape=(64, 16) if options.quick else (240, 100),
    )


def choose(options: argparse.Namespace) -> dict[str, Callable[[Setting], list[Row]]]:
    """Functions that measure the sections asked for, in their order."""
    wanted = set(options.only or SECTIONS) | ({EQUAL_LOSS} if options.equal_loss else set())
    sections = {}
    for name in (*SECTIONS, PARTS, EQUAL_LOSS):
        if name in wanted:
            sections[name] = import_module(f"benchmarks.lib.speed.{name}").measure
    if EQUAL_LOSS in sections:
        lengths = {"epochs": options.epochs, "plain_epochs": options.plain_epochs}
        sections[EQUAL_LOSS] = partial(sections[EQUAL_LOSS], **lengths)
    return sections


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = read_options(__name__, argv)

    import torch
    from threadpoolctl import threadpool_limits

    from benchmarks.lib.page import Page
    from benchmarks.lib.speed import machine, profile
    from benchmarks.lib.speed.figure import draw_losses, draw_ratios
    from benchmarks.lib.speed.rows import short

    if options.threads is not None:
        torch.set_num_threads(options.threads)
        os.environ["OMP_NUM_THREADS"] = str(options.threads)  # of our sort
    rows: list[Row] = []
    with threadpool_limits(torch.get_num_threads()):
        setting = make_setting(options)
        if options.profile:
            print(profile.report(setting))
            return
        options.out.mkdir(parents=True, exist_ok=True)
        for name, measure in choose(options).items():
            say(f"{name}: measuring")
            rows += measure(setting)
            # After each: what is measured is not lost with what comes next.
            text = json.dumps([row.record() for row in rows], indent=2)
            (options.out / "speed.json").write_text(text + "\n", encoding="utf-8")
    known = machine.describe()
    page = Page(
        options,
        "Speed",
        f"{len(setting.images)} slices of {options.size} x {options.size} pixels, "
        f"{setting.images.shape[1]} contrasts, width {options.width}; medians of "
        f"{options.repeats}; {known['processor']}, {known['torch_threads']} threads.",
    )
    records = [row.record() for row in rows]
    page.table("speed", records, page.text, [row.shown() for row in rows])
    if missed := [row for row in rows if row.missed]:
        page.table(
            "missed",
            [row.record() for row in missed],
            "Under the goal",
            [
                {
                    "measurement": row.name,
                    "ratio": short(row.ratio),
                    "goal": short(row.goal),
                }
                for row in missed
            ],
        )
    if any(row.ratio is not None for row in rows):
        page.figure("speed", draw_ratios(rows), "Time of the reference / time of ours")
    if ends := [row for row in rows if "curves" in row.more]:
        page.figure("equal_loss", draw_losses(ends), "Loss over the time of training")
    page.close(processor=known)
