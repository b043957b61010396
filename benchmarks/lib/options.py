"""What the benchmark scripts share: data, and where results go."""

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.lib.budget import BUDGET_EPOCHS, BUDGET_SLICES

from skadm.data import SliceStack, make_phantom, read_any
from skadm.preprocessing import IntensityNormalizer, SliceResizer


def parser(description: str, out: str) -> argparse.ArgumentParser:
    """Argument parser with --data, --out and --size."""
    result = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    result.add_argument(
        "--data",
        default="phantom",
        help="'phantom', or a folder of scans (BraTS or ISLES layout, or a table)",
    )
    result.add_argument("--size", type=int, default=128, help="pixels of a slice's side")
    result.add_argument("--out", type=Path, default=Path(out), help="folder of the results")
    return result


def experiment_parser(description: str, name: str) -> argparse.ArgumentParser:
    """Argument parser of the paper's experiments: data, seeds, preset, budget, cache."""
    result = parser(description, f"out/{name}")
    result.add_argument("--seeds", type=positive, default=3, help="runs of each method")
    result.add_argument("--preset", default="cpu", help="parameters of the methods")
    result.add_argument("--patients", type=positive, default=12, help="of the phantom")
    result.add_argument("--slices", type=positive, default=24, help="of a phantom patient")
    result.add_argument(
        "--budget",
        action="store_true",
        help=f"less work: {BUDGET_EPOCHS:.0%} of the preset's epochs, and at most about "
        f"{BUDGET_SLICES} slices",
    )
    result.add_argument(
        "--augment-test",
        action="store_true",
        help="test on changed copies of the test slices too, as the paper did",
    )
    result.add_argument(
        "--cache",
        type=Path,
        help="folder of finished runs, which several experiments may share "
        "(default: cache in the folder of the results)",
    )
    return result


def read_options(
    arguments: argparse.ArgumentParser, argv: Sequence[str] | None
) -> argparse.Namespace:
    """Options of an `experiment_parser`, with the cache where it is."""
    options = arguments.parse_args(argv)
    if options.cache is None:
        options.cache = options.out / "cache"
    return options


def positive(text: str) -> int:
    """An integer of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return value


def load_stack(
    data: str, size: int, n_patients: int = 12, n_slices: int = 24, **phantom: Any
) -> SliceStack:
    """Normalised slices with brain and masks, in memory.

    Parameters
    ----------
    data : str
        "phantom" or a folder of scans.
    size : int
        Pixels of a slice's side.
    n_patients, n_slices : int
        Of the phantom.
    **phantom
        More parameters of `make_phantom`.
    """
    if data == "phantom":
        stack = make_phantom(n_patients, n_slices, size, random_state=0, **phantom)
    else:
        stack = SliceResizer(size).fit_transform(read_any(data))
    if not stack.volumes[0].has_labels:
        raise SystemExit(f"{data} has no masks: a benchmark needs them")
    stack = IntensityNormalizer().fit_transform(stack).in_memory()
    return stack[np.array([image.any() for image in stack])]


def load(data: str, size: int, n_patients: int = 12, n_slices: int = 24):
    """Arrays of `load_stack`: X, y, and the patient of each slice."""
    stack = load_stack(data, size, n_patients, n_slices)
    X, y = stack.load()
    return X, y, stack.groups


def say(message: str) -> None:
    """Print a note, which is not a result, to stderr."""
    print(message, file=sys.stderr, flush=True)


def write_run(folder: Path, configuration: dict[str, Any], **more: Any) -> None:
    """Write run.json: the command, its configuration, the versions, and more."""
    script = Path(sys.argv[0])
    record = {
        "command": " ".join(["python", f"benchmarks/{script.name}", *sys.argv[1:]]),
        **more,
        "configuration": configuration,
        "versions": {
            name: version(name) for name in ("skadm", "torch", "scikit-learn", "numpy")
        },
        "machine": platform.machine(),
    }
    (folder / "run.json").write_text(json.dumps(record, indent=2, default=str) + "\n")
