"""Speed and memory: the package beside what else does the same work, in one run.

Training and scoring against the same networks written straight from the paper's equations
(_plain_adm.py), convolutions against what the machine can do, density, metrics and files
against torch, scikit-learn and nibabel. Measurements take turns, and are medians.

    python benchmarks/speed.py
    python benchmarks/speed.py --data brats --equal-loss
    python benchmarks/speed.py --quick --only scoring density
    python benchmarks/speed.py --only parts
    python benchmarks/speed.py --profile

Prints a table, and writes speed.json (a row for each measurement: name, ours_s,
reference_s, ratio, goal, and more), speed.png, run.json, and with --equal-loss
equal_loss.png.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import _machine
import _speed_density
import _speed_equal_loss
import _speed_growth
import _speed_io
import _speed_limit
import _speed_metrics
import _speed_parts
import _speed_profile
import _speed_scoring
import _speed_training
import numpy as np
import torch
from benchmarks.lib.options import load, parser, positive, say, write_run
from benchmarks.lib.speed.figure import draw_losses, draw_ratios
from benchmarks.lib.speed.rows import Row, table
from benchmarks.lib.speed.setting import Setting
from threadpoolctl import threadpool_limits

SECTIONS: dict[str, Callable[[Setting], list[Row]]] = {
    "training": _speed_training.measure,
    "scoring": _speed_scoring.measure,
    "limit": _speed_limit.measure,
    "density": _speed_density.measure,
    "metrics": _speed_metrics.measure,
    "io": _speed_io.measure,
    "growth": _speed_growth.measure,
}
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


def read_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    arguments = parser(__doc__.splitlines()[0], "out/speed")
    arguments.add_argument(
        "--only", nargs="+", choices=(*SECTIONS, PARTS, EQUAL_LOSS),
        metavar="ROWS",
        help=f"which rows: {', '.join(SECTIONS)} (these are the default), {PARTS}, what "
        f"each part of the package buys, and {EQUAL_LOSS}",
    )  # fmt: skip
    arguments.add_argument(
        "--repeats", type=positive, default=5, help="of each measurement"
    )
    arguments.add_argument(
        "--threads", type=positive, help="default: as many as torch takes"
    )
    arguments.add_argument("--width", type=positive, default=32, help="as ADMDetector's")
    arguments.add_argument(
        "--slices",
        type=positive,
        default=32,
        help="to measure on, and to train to equal loss",
    )
    arguments.add_argument("--large", action="store_true", help="metrics of 1e8 pixels too")
    arguments.add_argument(
        "--equal-loss", action="store_true", help="the trainings to equal loss too"
    )
    arguments.add_argument(
        "--epochs", type=positive, nargs="+", default=[10, 20, 40, 80],
        help="lengths of our trainings to equal loss",
    )  # fmt: skip
    arguments.add_argument(
        "--plain-epochs", type=positive, nargs="+", default=[5, 10, 20, 40],
        help="lengths of the plain ones",
    )  # fmt: skip
    arguments.add_argument(
        "--profile", action="store_true", help="print where the time goes, and end"
    )
    arguments.add_argument(
        "--quick", action="store_true",
        help="everything small, to see that it runs: "
        + ", ".join(f"{name} {value}" for name, value in QUICK.items()),
    )  # fmt: skip
    # Given before the command line is read, so that what it says goes before.
    if arguments.parse_known_args(argv)[0].quick:
        arguments.set_defaults(**QUICK)
    return arguments.parse_args(argv)


def make_setting(options: argparse.Namespace) -> Setting:
    """Slices and sizes that the options ask for.

    Raises
    ------
    ValueError
        If no slice is free of lesions.
    """
    n_patients = max(1, -(-options.slices // 12))
    X, y, _ = load(options.data, options.size, n_patients, 24)
    normal = np.flatnonzero((y != 1).all(axis=(1, 2)))
    if not len(normal):
        raise ValueError(f"{options.data}: no slice is without lesion")
    places = np.linspace(0, len(normal) - 1, min(options.slices, len(normal))).astype(int)
    pixels = (10**5,) if options.quick else (10**6, 10**7)
    return Setting(
        images=np.ascontiguousarray(X[normal[places]]),
        width=options.width,
        repeats=options.repeats,
        data=options.data,
        metric_pixels=(*pixels, 10**8) if options.large else pixels,
        volume_shape=(64, 16) if options.quick else (240, 100),
    )


def choose(options: argparse.Namespace) -> dict[str, Callable[[Setting], list[Row]]]:
    """Sections to measure, in their order."""
    wanted = set(options.only or SECTIONS)
    if options.equal_loss:
        wanted.add(EQUAL_LOSS)
    equal_loss = partial(
        _speed_equal_loss.measure,
        epochs=options.epochs,
        plain_epochs=options.plain_epochs,
    )
    known = {**SECTIONS, PARTS: _speed_parts.measure, EQUAL_LOSS: equal_loss}
    return {name: section for name, section in known.items() if name in wanted}


def write(rows: Sequence[Row], options: argparse.Namespace) -> None:
    """Table, file and figures of what was measured so far."""
    options.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps([row.record() for row in rows], indent=2)
    (options.out / "speed.json").write_text(text + "\n", encoding="utf-8")
    if any(row.ratio is not None for row in rows):
        draw_ratios(rows).savefig(options.out / "speed.png", dpi=200)
    ends = [row for row in rows if "curves" in row.more]
    if ends:
        draw_losses(ends).savefig(options.out / "equal_loss.png", dpi=200)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = read_options(argv)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
        os.environ["OMP_NUM_THREADS"] = str(options.threads)  # of our sort
    with threadpool_limits(torch.get_num_threads()):
        setting = make_setting(options)
        if options.profile:
            print(_speed_profile.report(setting))
            return
        rows: list[Row] = []
        for name, section in choose(options).items():
            say(f"{name}: measuring")
            rows += section(setting)
            write(rows, options)
    machine: dict[str, Any] = _machine.describe()
    write_run(options.out, vars(options), processor=machine)
    print(
        f"{len(setting.images)} slices of {options.size} x {options.size} pixels, "
        f"{setting.images.shape[1]} contrasts, width {options.width}; medians of "
        f"{options.repeats}; {machine['processor']}, {machine['torch_threads']} threads.\n"
    )
    print(table(rows))
    say(f"written to {options.out}")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"speed.py: error: {error}")
