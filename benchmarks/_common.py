"""What the benchmark scripts share: data, and where results go."""

import argparse
import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

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


def write_run(folder: Path, **configuration) -> None:
    """Write run.json: the command, its configuration and the versions."""
    record = {
        "command": " ".join([Path(sys.executable).name, *sys.argv]),
        "configuration": configuration,
        "versions": {
            name: version(name) for name in ("skadm", "torch", "scikit-learn", "numpy")
        },
        "machine": platform.machine(),
    }
    (folder / "run.json").write_text(json.dumps(record, indent=2, default=str) + "\n")
