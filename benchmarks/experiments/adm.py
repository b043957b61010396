"""ADM and its departures from the paper, each alone and together, over folds of patients.

The departures: a density by expectation maximisation in place of the density network's,
the brain as a further channel of the networks, scores that are smoothed, and the rim of the
brain called normal. All combinations are tested, with each weight of the energy, λ.
Patients are dealt into folds as in `beyond`; filters are applied to the same maps.

    python -m benchmarks adm --data brats --size 64 --seeds 1
    python -m benchmarks adm --data brats --size 64 --seeds 1 --largest 105

Choose by the validation slices, the abnormal ones of the training patients (mean over
folds). Test slices of all folds are pooled, each score relative to its threshold, which has
the best F1 of the validation. Writes adm.csv (a row for each method and seed),
per_patient.csv (AUC and AP of each test patient) and run.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.lib.options import add_experiment_arguments, positive, read_options

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.lib.data import Split
    from skadm.data import SliceStack
    from skadm.postprocessing._map_transformer import MapTransformer

TRAININGS: dict[str, dict[str, Any]] = {
    "ADM": {},
    "EM": {"density": "em"},
    "brain channel": {"brain_channel": True},
    "EM, brain channel": {"density": "em", "brain_channel": True},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_experiment_arguments(parser)
    parser.add_argument("--folds", type=positive, default=3, help="of patients")
    parser.add_argument(
        "--energy-weights",
        type=float,
        nargs="+",
        default=[5e-3, 5e-4],
        metavar="WEIGHT",
        help="λ; the paper has 5e-4 for BraTS",
    )
    parser.add_argument(
        "--trainings",
        nargs="+",
        choices=TRAININGS,
        default=list(TRAININGS),
        metavar="NAME",
        help="by default all: " + "; ".join(TRAININGS),
    )
    parser.add_argument(
        "--largest",
        type=positive,
        help="slices of each patient that are kept, those with most brain; by default all",
    )


def filters() -> dict[str, list[MapTransformer]]:
    """Filters that are applied one after the other, by what they are called.

    The rim comes before the smoothing, which then brings lesions there back.
    """
    from skadm.postprocessing import BorderEroder, GaussianSmoother

    rims = {"": [], **{f"rim {n}": [BorderEroder(float(n))] for n in (1, 2, 4)}}
    sigmas = {"": [], **{f"σ {n}": [GaussianSmoother(float(n))] for n in (1, 2, 3)}}
    chosen = {
        ", ".join(filter(None, (rim, sigma))): [*rims[rim], *sigmas[sigma]]
        for rim in rims
        for sigma in sigmas
    }
    after = {"σ 2, then rim 2": [*sigmas["σ 2"], *rims["rim 2"]]}
    return chosen | after


def largest(stack: SliceStack, n_slices: int) -> SliceStack:
    """So many slices of each patient, those with most brain, in their order."""
    areas = (stack.X != 0).any(axis=1).sum(axis=(1, 2))
    groups = stack.groups
    kept = np.zeros(len(stack), dtype=bool)
    for patient in np.unique(groups):
        slices = np.flatnonzero(groups == patient)
        kept[slices[np.argsort(-areas[slices], kind="stable")[:n_slices]]] = True
    return stack[kept]


def pooled(
    splits: Sequence[Split], folds: Sequence[Mapping[str, NDArray]]
) -> tuple[NDArray, dict[str, float]]:
    """Test maps of all folds, less their thresholds, and the mean of validation metrics."""
    from benchmarks.lib.measures import measure
    from skadm.metrics import best_f1_threshold

    labels = splits[0].labels
    test = np.full(labels.shape, np.nan, np.float32)
    validation = []
    for split, maps in zip(splits, folds, strict=True):
        known = labels[split.validation]
        threshold = best_f1_threshold(known, maps["validation"])
        test[split.test] = maps["test"] - np.float32(threshold)
        validation.append(measure(known, maps["validation"]))
    means = {
        f"validation {name}": float(np.mean([row[name] for row in validation]))
        for name in ("auc", "ap")
    }
    return test, means


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    options = read_options(__name__, argv)

    import pandas as pd

    from benchmarks.lib.data import crop, deal, load_slices
    from benchmarks.lib.filters import apply
    from benchmarks.lib.folds import carry_out_folds
    from benchmarks.lib.measures import measure
    from benchmarks.lib.page import Page
    from benchmarks.lib.summary import parameters
    from skadm.metrics import best_dice_score
    from skadm.presets import make_detector

    stack = load_slices(options.data, options)
    if options.largest:
        stack = largest(stack, options.largest)
    splits = deal(options.data, crop(stack), options.folds)
    detectors = {
        f"{name}, λ {weight:g}": make_detector(
            "ADMDetector", options.preset, energy_weight=weight, **TRAININGS[name]
        )
        for weight in options.energy_weights
        for name in options.trainings
    }
    outcomes = carry_out_folds(detectors, splits, options)
    labels, groups = splits[0].labels, splits[0].stack.groups
    rows, of_patients = [], []
    for training, seeds in outcomes.items():
        for seed, folds in seeds.items():
            raw = [outcome.load_maps()._asdict() for outcome in folds]
            for name, steps in filters().items():
                maps = [apply(steps, split, each) for split, each in zip(splits, raw)]
                head = {"method": f"{training}, {name}".strip(", "), "seed": seed}
                test, validation = pooled(splits, maps)
                dice = best_dice_score(labels, test)
                row = head | measure(labels, test, 0.0) | {"dice": dice} | validation
                rows.append(row)
                of_patients += [
                    head
                    | {"patient": patient}
                    | measure(labels[groups == patient], test[groups == patient])
                    for patient in np.unique(groups[splits[0].abnormal])
                ]
    page = Page(
        options,
        "ADM and its departures from the paper",
        "EM: density by expectation maximisation. Brain channel: the networks are given "
        "the brain. Rim: so many pixels from the border are called normal. σ: scores "
        "smoothed, in pixels, after that.",
    )
    means = pd.DataFrame(rows).drop(columns="seed").groupby("method", sort=False).mean()
    page.table(
        "adm",
        rows,
        "Test slices of all folds pooled, and validation, mean over seeds",
        means.reset_index().to_dict("records"),
    )
    table = pd.DataFrame(of_patients).pivot_table("ap", "method", "patient", sort=False)
    page.table(
        "per_patient",
        of_patients,
        "AP of each test patient, mean over seeds",
        table.reset_index().to_dict("records"),
    )
    flat = [o for seeds in outcomes.values() for folds in seeds.values() for o in folds]
    page.close(splits[0].describe(), parameters=parameters(flat))
