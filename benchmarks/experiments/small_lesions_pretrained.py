"""Small lesions without any training, compared with thresholds on smoothed intensity.

The pretrained model "synthetic-small-lesions" scores the patients of --data: average
precision and best Dice of each, and Dice and the share of flagged normal pixels at its own
threshold. Maps are smoothed by 1 pixel of about 1 mm, and by 1 mm through slices that are
at most 2 mm apart. Intensity has the same slices, prior and rule, and for each patient the
best of several widths of the Gaussian.

    python -m benchmarks small_lesions_pretrained --data mslesseg open_ms/mni wmh healthy
    python -m benchmarks small_lesions_pretrained --data isles2022 \
        --contrasts DWI ADC --prior DWI ADC=-1 --prior-rule all

Writes per_patient.csv, a Markdown table to the screen, and run.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.experiments.small_lesions import THIN, WIDTH, WIDTHS
from benchmarks.experiments.zero_shot import measure
from benchmarks.lib.options import read_options, say

if TYPE_CHECKING:
    from skadm.data import SliceStack

MODEL = "synthetic-small-lesions"
# Healthy patients lack all but the last.
COLUMNS = ("data", "patient", "method", "ap", "best_dice", "dice", "flagged")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--data", nargs="+", required=True, help="folders of scans")
    parser.add_argument(
        "--contrasts", nargs="+", default=["FLAIR", "T1"], help="default: FLAIR T1"
    )
    parser.add_argument(
        "--prior", nargs="+", default=["FLAIR"], help="as in 'skadm score' (default: FLAIR)"
    )
    parser.add_argument(
        "--prior-rule", choices=("sum", "all"), default="sum", help="as in 'skadm score'"
    )
    parser.set_defaults(prior_sign=None)


def read(folder: str, contrasts: Sequence[str]) -> SliceStack:
    """Read the scans of a folder."""
    from skadm.data import read_any

    return read_any(folder, contrasts=contrasts, allow_empty_masks=True)


def score(stack: SliceStack, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield a row for each patient and method."""
    from skadm import IntensityDetector, PostprocessedDetector, load_pretrained
    from skadm.cli._model import stated_prior
    from skadm.postprocessing import GaussianSmoother

    known = stated_prior(options, options.contrasts, ("prior",))
    for volume, places in stack.volume_places():
        say(volume.name)
        thickness = float(volume.voxel_size[2])

        def through(width: float, thickness: float = thickness) -> float:
            return width / thickness if thickness <= THIN else 0.0

        model = load_pretrained(
            MODEL, contrasts=options.contrasts, smooth_through=through(WIDTH), **known
        )
        scan = model[:-1].transform(stack[places]).in_memory()
        X, labels = scan.load()
        if labels is None:
            labels = np.where((X != 0).any(axis=1), 0, -1)
        pixel = float(np.mean(scan.voxel_sizes[0][:2]))
        for width in WIDTHS:
            intensity = PostprocessedDetector(
                IntensityDetector(sigma=width / pixel, **known),
                GaussianSmoother(0.0, sigma_through=through(width)),
            )
            maps = intensity.fit(scan, labels).score_samples(scan)
            row = {"patient": volume.name, "method": f"intensity, {width:g} mm"}
            yield row | measure(labels, maps, None)
        maps, threshold = model[-1].score_samples(scan), float(model[-1].offset_)
        row = {"patient": volume.name, "method": MODEL}
        yield row | measure(labels, maps, threshold)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    options = read_options(__name__, argv)

    import pandas as pd

    from benchmarks.lib.fingerprints import data_fingerprint
    from benchmarks.lib.page import Page

    stacks = {folder: read(folder, options.contrasts) for folder in options.data}
    rows = [
        {"data": Path(folder).name} | row
        for folder, stack in stacks.items()
        for row in score(stack, options)
    ]
    page = Page(options, "Small lesions", "The pretrained model, without training")
    page.rows("per_patient", rows)
    found = pd.DataFrame(rows, columns=COLUMNS)
    best = found[found["method"] != MODEL].groupby(["data", "patient"]).max()
    table = [
        {
            "patient": f"{row['data']} {row['patient']}",
            "intensity: AP": best["ap"][row["data"], row["patient"]],
            "intensity: best Dice": best["best_dice"][row["data"], row["patient"]],
            "AP": row["ap"],
            "best Dice": row["best_dice"],
            "Dice at its threshold": row["dice"],
            "normal pixels flagged": row["flagged"],
        }
        for row in found[found["method"] == MODEL].to_dict("records")
    ]
    page.table("small_lesions_pretrained", table, page.text)
    page.close(
        {name: {"fingerprint": data_fingerprint(stack)} for name, stack in stacks.items()}
    )
