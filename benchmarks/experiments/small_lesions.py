"""Small lesions at full resolution, compared with thresholds on smoothed FLAIR.

An eraser (preset "small-lesions", with the prior that lesions are bright on FLAIR) is
fine-tuned on normal slices of the patients of --train, who have other diseases or none. It
is tested on the patients of --data: average precision and best Dice of each. Slices are not
resized. Scores are smoothed by a Gaussian in millimetres, within slices and through slices
that are at most 2 mm apart. FLAIR is smoothed with several widths, so that the best one is
among them. The eraser has a width fixed in advance, 1 mm.

    python -m benchmarks small_lesions --train brats healthy --data mslesseg open_ms/mni wmh

Writes per_patient.csv, a Markdown table to the screen, and run.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.lib.options import positive, read_options, say

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from skadm.data import SliceStack
    from skadm.detectors import EraserDetector

CONTRASTS = ("FLAIR", "T1")
WIDTHS = (0.7, 1.0, 1.5, 2.0)  # mm: standard deviations of the Gaussian
WIDTH = 1.0  # mm: of the eraser
THIN = 2.0  # mm: largest distance of slices for smoothing through them


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--train", nargs="+", required=True, help="folders of scans")
    parser.add_argument("--data", nargs="+", required=True, help="folders of scans")
    parser.add_argument(
        "--every", type=positive, default=2, help="use every n-th training slice"
    )
    parser.add_argument("--epochs", type=positive, help="default: those of the preset")
    parser.add_argument("--seed", type=int, default=0)


def patients_of(folder: str) -> Iterator[tuple[str, SliceStack]]:
    """Read the normalised slices of patients that show brain."""
    from skadm.data import read_any
    from skadm.preprocessing import IntensityNormalizer

    stack = read_any(folder, contrasts=CONTRASTS, allow_empty_masks=True)
    for volume, places in stack.volume_places():
        scan = IntensityNormalizer().fit_transform(stack[places]).in_memory()
        yield volume.name, scan[np.array([image.any() for image in scan])]


def padded(array: NDArray, shape: tuple[int, int], value: float) -> NDArray:
    """Put slices in the middle of larger ones."""
    spare = [wanted - found for wanted, found in zip(shape, array.shape[-2:])]
    sides = [(0, 0)] * (array.ndim - 2) + [(s // 2, s - s // 2) for s in spare]
    return np.pad(array, sides, constant_values=value)


def training_stack(folders: Sequence[str], every: int) -> SliceStack:
    """Return the normal slices of all patients, padded to one size."""
    from skadm.data import ArrayVolume, SliceStack

    scans = [patient for folder in folders for patient in patients_of(folder)]
    sides = zip(*(scan.shape[-2:] for _, scan in scans))
    shape = tuple(-(-max(side) // 8) * 8 for side in sides)
    volumes = []
    for name, scan in scans:
        X, y = scan.load()
        normal = np.ones(len(X), bool) if y is None else ~(y == 1).any(axis=(1, 2))
        X = padded(X[normal][::every], shape, 0.0)
        volumes.append(ArrayVolume(X, patient=name, contrasts=CONTRASTS))
    return SliceStack.from_volumes(volumes)


def smoothed(
    values: NDArray, brain: NDArray, voxel_size: Sequence[float], width: float
) -> NDArray:
    """Smooth by some mm within the brain, also through thin slices."""
    from skadm.postprocessing import GaussianSmoother

    *in_plane, thickness = voxel_size
    through = width / thickness if thickness <= THIN else 0.0
    smoother = GaussianSmoother(width / float(np.mean(in_plane)), sigma_through=through)
    one_scan = {"brain": brain, "groups": np.zeros(len(values), int)}
    return smoother.fit(values, **one_scan).transform(values, **one_scan)


def maps_of(eraser: EraserDetector, scan: SliceStack) -> dict[str, NDArray]:
    """Compute the normality of a scan by each method."""
    X = scan.X
    brain = (X != 0).any(axis=1)
    voxel_size = scan.voxel_sizes[0]
    flair = X[:, 0]
    maps = {"FLAIR": -flair}
    for width in WIDTHS:
        maps[f"FLAIR, {width:g} mm"] = smoothed(-flair, brain, voxel_size, width)
    both = eraser.set_params(sigma=0.0).score_samples(X)  # -(residual + FLAIR)
    both = np.where(brain, both, 0)
    for name, values in (("residual", both + flair), ("residual + FLAIR", both)):
        maps[f"{name}, {WIDTH:g} mm"] = smoothed(values, brain, voxel_size, WIDTH)
    return maps


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    options = read_options(__name__, argv)

    import pandas as pd

    from benchmarks.lib.page import Page
    from skadm.metrics import best_dice_score, pixel_average_precision_score
    from skadm.presets import make_detector

    stack = training_stack(options.train, options.every)
    changed: dict[str, Any] = {"prior": {"FLAIR": 1.0}, "random_state": options.seed}
    if options.epochs:
        changed["max_epochs"] = options.epochs
    eraser = make_detector("EraserDetector", "small-lesions", **changed)
    started = time.perf_counter()
    eraser.fit(stack)
    seconds = time.perf_counter() - started
    trained_on = set(stack.groups.tolist())
    say(f"{len(stack)} slices of {len(trained_on)} patients: {seconds:.0f} s")
    rows = []
    for folder in options.data:
        for patient, scan in patients_of(folder):
            if patient in trained_on:
                raise SystemExit(f"{patient} is in --train and in --data")
            labels = scan.y
            for method, maps in maps_of(eraser, scan).items():
                row = {"data": Path(folder).name, "patient": patient, "method": method}
                row["ap"] = pixel_average_precision_score(labels, maps)
                row["dice"] = best_dice_score(labels, maps)
                rows.append(row)
            say(f"{folder}: {patient}")
    page = Page(
        options,
        "Small lesions",
        f"{len(stack)} training slices of {len(trained_on)} patients; {seconds:.0f} s",
    )
    page.rows("per_patient", rows)
    table = pd.DataFrame(rows).pivot(
        index="method", columns=["data", "patient"], values=["ap", "dice"]
    )
    table.columns = [f"{patient}, {metric}" for metric, _, patient in table.columns]
    table = table.loc[list(dict.fromkeys(row["method"] for row in rows))]
    page.table("small_lesions", table.reset_index().to_dict("records"), page.text)
    page.close()
