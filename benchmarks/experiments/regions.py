"""How many listed regions of a report are lesions, and how many lesions are listed first.

Each patient is scored by the pretrained model. Lists of at most 20 regions are made in
three ways: connected components of flagged voxels by strength; the regions of a report
(split at saddles, with a least size) by strength; and the same regions by contrast, which
is the mean anomaly of a region minus that of the brain within 8 mm around it. A region is a
hit if at least a fifth of it lies on lesions. All lesions that a hit touches count as
detected.

--share flags this share of the brain instead of using the threshold of the model, like a
detector that flags much. --known gives the model a prior: lesions are bright on FLAIR and
half as much on T2 (or bright on DWI and dark on ADC).

    python -m benchmarks regions --data lgg brats wmh
    python -m benchmarks regions --data lgg brats wmh --share 0.15

Writes per_patient.csv and lists.csv.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.lib.options import read_options, say

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOPS = (3, 5, 20)
SURROUNDINGS = 8.0  # mm


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--data", nargs="+", required=True, help="folders of scans")
    parser.add_argument("--patients", nargs="+", help="default: all patients")
    parser.add_argument("--share", type=float, help="share of the brain to flag")
    parser.add_argument(
        "--known", action="store_true", help="use the known direction of lesions as prior"
    )
    parser.add_argument(
        "--min-region", type=float, default=0.1, help="size of the smallest region in ml"
    )


def components(decision: NDArray, grid: Any, min_ml: float) -> NDArray[np.intp]:
    """Rank flagged components by strength."""
    from scipy import ndimage

    found, _ = ndimage.label(decision < 0, np.ones((3, 3, 3)))
    return ranked(found, np.bincount(found.ravel(), -decision.ravel())[1:])


def by_strength(decision: NDArray, grid: Any, min_ml: float) -> NDArray[np.intp]:
    """Rank the regions of a report by strength."""
    from skadm.report._regions import UNLISTED, rank_regions

    numbers = rank_regions(decision, grid, min_ml=min_ml).numbers.astype(np.intp)
    return np.where(numbers == UNLISTED, 0, numbers)


def by_contrast(decision: NDArray, grid: Any, min_ml: float) -> NDArray[np.intp]:
    """Rank the same regions by their contrast with the brain around them."""
    from scipy import ndimage

    from skadm.report._regions import rank_regions

    regions = rank_regions(decision, grid, min_ml=min_ml).regions
    size = grid.voxel_size[::-1]
    margin = np.ceil(SURROUNDINGS / size).astype(int)
    contrasts = []
    for number, box in enumerate(ndimage.find_objects(regions), start=1):
        around = tuple(slice(max(b.start - m, 0), b.stop + m) for b, m in zip(box, margin))
        region, anomaly = regions[around] == number, -decision[around]
        distance = ndimage.distance_transform_edt(~region, size)
        # Outside the brain the decision function is 0.
        near = (distance > 0) & (distance <= SURROUNDINGS) & (anomaly != 0)
        contrasts.append(
            anomaly[region].mean() - (anomaly[near].mean() if near.any() else 0)
        )
    return ranked(regions, np.array(contrasts))


LISTS = {
    "components by strength": components,
    "regions by strength": by_strength,
    "regions by contrast": by_contrast,
}


def ranked(regions: NDArray, values: NDArray) -> NDArray[np.intp]:
    """Rank numbered regions, highest value first; 0 for those beyond 20."""
    order = np.argsort(-values, kind="stable")[: max(TOPS)]
    rank_of = np.zeros(len(values) + 1, np.intp)
    rank_of[order + 1] = np.arange(1, len(order) + 1)
    return rank_of[regions]


def measure(ranks: NDArray[np.intp], labels: NDArray, voxel_ml: float) -> dict[str, Any]:
    """Compare a patient's list with the labels."""
    from skadm.metrics._lesion_detection import count_hits

    listed = int(ranks.max())
    counts = {
        top: count_hits(np.where(ranks <= top, ranks, 0), labels == 1) for top in TOPS
    }
    row: dict[str, Any] = {"listed": listed, "lesions": counts[max(TOPS)].n_lesions}
    row["hits"] = listed - counts[max(TOPS)].n_false
    row |= {f"found in {top}": count.n_found for top, count in counts.items()}
    first = count_hits(np.where(ranks == 1, 1, 0), labels == 1)
    row["first is a hit"] = int(listed > 0 and not first.n_false)
    row["sizes_ml"] = np.bincount(ranks.ravel())[1:] * voxel_ml
    return row


def score_folder(folder: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return rows of all patients of a folder with a lesion, by kind of list."""
    from benchmarks.lib.priors import known_direction
    from skadm import load_pretrained
    from skadm.data import SliceStack, read_any

    stack = read_any(folder, patients=options.patients)
    prior = known_direction(stack.contrasts) if options.known else None
    model = load_pretrained("synthetic", contrasts=stack.contrasts, prior=prior)
    rows = []
    for volume in stack.volumes:
        prepared = model[:-1].transform(SliceStack.from_volumes([volume])).in_memory()
        (working,) = prepared.volumes
        seen = working.decode()
        scores, labels = model[-1].score_samples(prepared), seen.labels
        if not (labels == 1).any():
            continue
        threshold = model[-1].offset_
        if options.share is not None:
            threshold = np.quantile(scores[seen.brain], options.share)
        decision = np.where(seen.brain, scores - scores.dtype.type(threshold), 0)
        for name, make in LISTS.items():
            row = {"data": Path(folder).name, "patient": volume.name, "list": name}
            ranks = make(decision, working.grid, options.min_region)
            voxel_ml = float(np.prod(working.grid.voxel_size)) / 1000
            rows.append(row | measure(ranks, labels, voxel_ml))
        say(f"{folder}: {volume.name}")
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    options = read_options(__name__, argv)

    import pandas as pd
    import torch

    from benchmarks.lib.page import Page

    torch.set_num_threads(1)
    table = pd.DataFrame(
        row for each in options.data for row in score_folder(each, options)
    )
    groups = table.groupby(["data", "list"], sort=False)
    lists = groups.sum(numeric_only=True)
    lists.insert(0, "patients", groups.size())
    sizes = table.explode("sizes_ml").astype({"sizes_ml": float})
    sizes = sizes.groupby(["data", "list"], sort=False)["sizes_ml"]
    lists["median ml"], lists["largest ml"] = sizes.median(), sizes.max()
    table["sizes_ml"] = [
        " ".join(f"{size:.3f}" for size in own) for own in table["sizes_ml"]
    ]
    page = Page(options, "Regions", "Lists of regions, summed over patients.")
    page.rows("per_patient", table.to_dict("records"))
    page.table("lists", lists.reset_index().to_dict("records"), page.text)
    page.close()
