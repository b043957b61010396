"""How often scoring warns of unusual intensities, on intact and on altered patients.

Normalised normal slices of one half of the patients are the reference for the other half,
and the other way round. Each row of the table is one alteration, or none.

    python -m benchmarks intensity_shift --data ../shared/data/lgg

Prints the table, and writes intensity_shift.csv and run.json.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.lib.options import positive, read_options

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from skadm._reference import TrainingReference


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--data", required=True, help="folder of scans")
    parser.add_argument("--step", type=positive, default=3, help="use every STEP-th slice")


def ways(
    plain: NDArray, raw: NDArray, normal: NDArray, contrasts: Sequence[str]
) -> Iterator[tuple[str, NDArray]]:
    """Yield names of alterations, and the slices of one patient after each."""
    from skadm.data import brain_mask

    if normal.any():
        yield "normal slices", plain[normal]
    yield "all slices", plain
    for image in plain:
        if brain_mask(image[None]).sum() >= 1000:
            yield "a single slice", image[None]
    yield "not normalised", raw
    largest = np.abs(raw).max(axis=(0, 2, 3), keepdims=True)
    yield "divided by the maximum", raw / largest
    for one, other in combinations(range(len(contrasts)), 2):
        order = list(range(len(contrasts)))
        order[one], order[other] = other, one
        yield f"{contrasts[one]} and {contrasts[other]} exchanged", plain[:, order]


def warns(reference: TrainingReference, images: NDArray) -> bool:
    """Return whether the check warns."""
    from skadm import IntensityShiftWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", IntensityShiftWarning)
        reference.check(images)
    return bool(caught)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = read_options(__name__, argv)

    import pandas as pd

    from benchmarks.lib.page import Page
    from skadm._reference import TrainingReference
    from skadm.data import brain_mask, read_any
    from skadm.preprocessing import IntensityNormalizer

    raw = read_any(options.data)
    raw = raw[raw.z % options.step == 0].in_memory()
    plain, y = IntensityNormalizer().fit_transform(raw).in_memory(), raw.y
    normal = ~(y == 1).any(axis=(1, 2))
    patients = np.array(sorted(set(raw.groups.tolist())))
    rows = []
    for half in (0, 1):
        training = np.isin(raw.groups, patients[half::2]) & normal
        X = plain[training].X
        reference = TrainingReference.of(X[brain_mask(X).any(axis=(1, 2))])
        for patient in patients[1 - half :: 2].tolist():
            chosen = raw.groups == patient
            images = plain[chosen].X, raw[chosen].X, normal[chosen], raw.contrasts
            rows += [
                {"slices": name, "patient": patient, "warned": warns(reference, spoilt)}
                for name, spoilt in ways(*images)
            ]
    warned = pd.DataFrame(rows).groupby("slices", sort=False)["warned"]
    page = Page(
        options,
        "Warnings of intensities",
        f"{len(patients)} patients of {options.data}, every {options.step}. slice",
    )
    counts = warned.agg(["sum", "count"]).reset_index()
    counts.columns = ["slices", "warned", "of"]
    page.table("intensity_shift", rows, page.text, counts.to_dict("records"))
    page.close()
