"""All detectors on several diseases: metrics of each patient, means with t intervals.

Each collection of scans is a folder in --data, which `STUDIES` lists with what is trained
on, the contrasts, and what is known of lesions there. Detectors are trained on the normal
slices of other patients; the threshold has the best F1 on these patients' abnormal slices.
Methods appear with each supervision that they can have: none; which slices have a lesion
("learned direction"); on which contrasts lesions are bright or dark ("known direction"),
also with the rule that every one of them is ("all contrasts").

The scores of all methods are smoothed alike, in mm, all networks have the same budget, and
none is an ensemble. "Pretrained" is the network that the package comes with, without a
training; "Small-lesion eraser" and "Stroke eraser" are fine-tuned from it by the presets
"small-lesions" and "strokes" ("any direction": with lesion_direction="any"). ADM+ calls
the outermost pixel of the brain normal, which belongs to it.

    python -m benchmarks diseases
    python -m benchmarks diseases --only brats isles2022 --methods "Eraser" "DAE"
    python -m benchmarks diseases --full

Slices are coarse and far apart, epochs halved and batches small; --full has fine pixels,
all slices, epochs and batches of the preset. Strokes have few slices, hence small batches
there too. Writes per_patient.csv (a row for each method, seed and patient), summary.csv,
diseases.png and run.json, again after each study; runs are kept in cache/, so the same
command resumes.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.lib.options import positive, read_options, say
from benchmarks.lib.priors import BRIGHT, RESTRICTED

if TYPE_CHECKING:
    from benchmarks.lib.data import Split
    from benchmarks.lib.runs import Outcome
    from skadm.base import Detector

QUICK = {"size": 32, "gap": 10.0, "preset": "quick"}
METRICS = ("ap", "dice", "f1", "auc")


@dataclass(frozen=True)
class Study:
    """Patients that the same detectors are tested on, and what is known of them."""

    test: Mapping[str, str]  # folder, and what its patients have
    contrasts: tuple[str, ...]
    prior: Mapping[str, float]  # what is stated where the direction is known
    # Folders to train on. None: the other patients of the tested folder.
    train: tuple[str, ...] = ()
    folds: int | None = None  # of the tested patients; None: each is left out once
    # Test and training patients, drawn with seed 0 and fixed, in place of folds.
    fixed: tuple[int, int] | None = None
    size: int = 64  # pixels of a side, 240 mm
    gap: float = 4.0  # mm between slices
    train_every: int = 1  # of these slices
    sigma: float = 4.0  # mm: Gaussian that smooths scores within slices
    through: float = 0.0  # mm: the same through slices
    # Slices of a training step: few, since there are few. None: those of the preset.
    batch_size: int | None = 4
    full: Mapping[str, Any] = field(default_factory=dict)  # changes with --full


STUDIES = (
    Study(
        {"brats": "glioma, BraTS 2021"},
        ("T1", "T1ce", "T2", "FLAIR"),
        BRIGHT,
        folds=3,
        through=5.0,
        full={"size": 128, "gap": 1.0, "batch_size": None},
    ),
    Study(
        {"lgg": "lower-grade glioma, TCGA"},
        ("T1", "T1ce", "FLAIR"),
        {"FLAIR": 1.0},
        fixed=(16, 12),
        gap=10.0,
        full={"size": 128, "gap": 1.0, "batch_size": None},
    ),
    Study(
        {
            "mslesseg": "multiple sclerosis",
            "open_ms/mni": "multiple sclerosis",
            "wmh": "white-matter hyperintensities",
        },
        ("FLAIR", "T1"),
        {"FLAIR": 1.0},
        train=("brats", "healthy"),
        size=128,
        gap=3.0,
        train_every=3,
        sigma=1.0,
        full={"size": 240, "gap": 1.0, "train_every": 2, "batch_size": None},
    ),
    Study(
        {"brats2020": "glioma, BraTS 2020", "healthy": "healthy"},
        ("T1", "T2", "FLAIR"),
        BRIGHT,
        train=("brats",),
        gap=6.0,
        through=5.0,
        full={"size": 128, "gap": 1.0, "batch_size": None},
    ),
    Study(
        {"isles2022": "stroke, ISLES 2022"},
        ("DWI", "ADC"),
        RESTRICTED,
        size=120,
        gap=2.0,
        sigma=1.0,
        through=1.0,
    ),
)
"""In the order of running."""

HEALTHY = "healthy"
SELF_TRAINING_EPOCHS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="folder of collections"
    )
    names = [name for study in STUDIES for name in study.test]
    parser.add_argument(
        "--only", nargs="+", choices=names, metavar="COLLECTION", help=", ".join(names)
    )
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="by default all")
    parser.add_argument("--seeds", type=positive, default=1, help="runs of each method")
    parser.add_argument("--preset", default="cpu", help="parameters of the methods")
    parser.add_argument("--size", type=positive, help="pixels of a side, in all studies")
    parser.add_argument("--gap", type=float, help="mm between slices, in all studies")
    parser.add_argument(
        "--full", action="store_true", help="fine pixels, all slices and all epochs"
    )
    parser.add_argument(
        "--finished",
        action="store_true",
        help="train nothing: show the methods that are finished in all folds of a study",
    )
    parser.add_argument("--cache", type=Path, help="folder of finished runs")


def chosen_studies(options: argparse.Namespace) -> list[Study]:
    """Studies whose scans are there, with the options' size; says what is left out."""
    studies = []
    for study in STUDIES:
        named = {
            folder: disease
            for folder, disease in study.test.items()
            if options.only is None or folder in options.only
        }
        test = {f: disease for f, disease in named.items() if (options.data / f).is_dir()}
        for folder in set(named) - set(test):
            say(f"{folder}: left out, there is no {options.data / folder}")
        absent = [name for name in study.train if not (options.data / name).is_dir()]
        if test and absent:
            say(f"{', '.join(test)}: left out, {absent} to train on are not there")
        elif test and set(test.values()) == {HEALTHY}:
            say(f"{', '.join(test)}: left out, tested beside {', '.join(study.test)}")
        elif test:
            changed = dict(study.full) if options.full else {}
            changed |= {
                name: value
                for name in ("size", "gap")
                if (value := getattr(options, name)) is not None
            }
            studies.append(dataclasses.replace(study, test=test, **changed))
    if not studies:
        raise ValueError(
            f"nothing to run in {options.data}; expected folders as in STUDIES of "
            "benchmarks/experiments/diseases.py"
        )
    return studies


def check_methods(
    names: Iterable[str] | None, studies: Iterable[Study], preset: str
) -> None:
    """Refuse methods that no study has; thresholds have the name of a contrast."""
    from benchmarks.lib.methods import choose

    found = [methods(study, preset, 1.0, 1.0, budget=False) for study in studies]
    choose(names, dict.fromkeys(name for each in found for name in each))


def load(study: Study, data: Path) -> tuple[list[Split], dict[str, str]]:
    """Splits of a study, cropped to the brain, and the folder of each tested patient."""
    from sklearn.utils import check_random_state

    from benchmarks.lib.data import Split, crop, deal
    from benchmarks.lib.scans import load_scans
    from skadm.data import SliceStack, read_any

    tested, folder_of = [], {}
    held_out: list[str] = []
    for folder in study.test:
        chosen = None
        if study.fixed is not None:
            names = np.unique(read_any(data / folder, contrasts=study.contrasts).groups)
            dealt = check_random_state(0).permutation(names).tolist()
            held_out = dealt[: study.fixed[0]]
            chosen = dealt[: sum(study.fixed)]
        scans = load_scans([data / folder], study.contrasts, study.size, study.gap, chosen)
        tested.append(scans)
        folder_of |= dict.fromkeys(scans.groups.tolist(), folder)
    if study.train:
        folders = [data / name for name in study.train]
        scans = load_scans(folders, study.contrasts, study.size, study.gap)
        if shared := set(scans.groups.tolist()) & set(folder_of):
            raise ValueError(f"to be trained and tested on: {sorted(shared)}")
        tested.append(scans)
    stack = crop(SliceStack.from_volumes([v for part in tested for v in part.volumes]))
    name = ", ".join(study.test)
    if study.train or study.fixed:
        test = np.isin(stack.groups, held_out or list(folder_of))
        splits = [Split(name, stack, stack.y, ~test, test)]
    else:
        n_patients = len(folder_of)
        splits = deal(name, stack, min(study.folds or n_patients, n_patients))
    return [thinned(split, study.train_every) for split in splits], folder_of


def thinned(split: Split, every: int) -> Split:
    """The split with one of so many slices to train on, volume by volume."""
    kept = np.zeros(len(split.stack), bool)
    for _, places in split.stack.volume_places():
        kept[places[::every]] = True
    return dataclasses.replace(split, train=split.train & kept)


def methods(
    study: Study, preset: str, pixel: float, distance: float, *, budget: bool
) -> dict[str, Detector]:
    """All that is compared, by name, not fitted.

    `pixel` is the side of a pixel, `distance` that of slices, in mm.
    """
    from sklearn.base import clone

    from benchmarks.lib.budget import with_fewer_epochs
    from skadm import EraserDetector, PostprocessedDetector
    from skadm.postprocessing import GaussianSmoother
    from skadm.presets import ADM_PLUS, make_detector

    sigma, through = study.sigma / pixel, study.through / distance
    known: dict[str, Any] = {"prior": dict(study.prior)}
    tiers: dict[str, dict[str, Any]] = {
        "": {},
        ", learned direction": {"prior": "learned"},
        ", known direction": known,
    }
    if len(study.prior) > 1:
        signs = {name: np.sign(weight) for name, weight in study.prior.items()}
        tiers[", all contrasts"] = {"prior": signs, "prior_rule": "all"}
    lead = max(study.prior, key=lambda name: abs(study.prior[name]))

    def smoothed(name: str, **parameters: Any) -> Detector:
        detector = make_detector(f"{name}Detector", preset, **parameters)
        return PostprocessedDetector(
            detector, GaussianSmoother(sigma, sigma_through=through)
        )

    def smoothed_through(detector: Detector) -> Detector:
        """For detectors that smooth within slices themselves."""
        return PostprocessedDetector(detector, GaussianSmoother(0, sigma_through=through))

    plus = make_detector(ADM_PLUS, preset)
    detectors = {
        f"{lead} threshold": smoothed("Intensity", prior={lead: study.prior[lead]}),
        "ADM": smoothed("ADM"),
        ADM_PLUS: plus.set_params(smooth__sigma=sigma, smooth__sigma_through=through),
    }
    for name in ("DAG", "DAGc", "DSVDD", "FAnoGAN", "GMVAE", "GaussianMixture"):
        detectors[name] = smoothed(name)
    for tier, prior in tiers.items():
        # Without a prior, intensity would be the sum of all contrasts.
        if prior and (prior is not known or len(study.prior) > 1):
            # Smooths before it combines, as the eraser does.
            intensity = make_detector("IntensityDetector", preset, sigma=sigma, **prior)
            detectors[f"Intensity{tier}"] = smoothed_through(intensity)
        for name in ("PCA", "DAE"):
            detectors[f"{name}{tier}"] = smoothed(name, **prior)
        one = make_detector("EraserDetector", preset, n_networks=1, sigma=sigma, **prior)
        detectors[f"Eraser{tier}"] = smoothed_through(one)
        trained: dict[str, Any] = {"self_training_epochs": SELF_TRAINING_EPOCHS}
        for how, changed in {
            "edge-aware": {"edge_aware": True},
            "self-trained": trained,
            "self-trained, edge-aware": trained | {"edge_aware": True},
        }.items():
            other = clone(one).set_params(**changed)
            detectors[f"Eraser{tier}, {how}"] = smoothed_through(other)
        if prior and prior.get("prior") != "learned":
            small = make_detector("EraserDetector", "small-lesions", sigma=sigma, **prior)
            detectors[f"Small-lesion eraser{tier}"] = smoothed_through(small)
        if "DWI" in study.prior and "prior_rule" in prior:
            for how, chosen, changed in (
                ("", "strokes", {}),
                (", any direction", "strokes", {"lesion_direction": "any"}),
                (", self-trained", "strokes-self-trained", {}),
            ):
                strokes = make_detector("EraserDetector", chosen, sigma=sigma, **changed)
                detectors[f"Stroke eraser{tier}{how}"] = smoothed_through(strokes)
        if prior.get("prior") != "learned":
            detectors[f"Pretrained{tier}"] = smoothed_through(
                EraserDetector(
                    init="synthetic",
                    evidence="presence",
                    max_epochs=0,
                    sigma=sigma,
                    **prior,
                )
            )
    for detector in detectors.values():
        if budget:
            with_fewer_epochs(detector)
        if study.batch_size and "detector__batch_size" in detector.get_params():
            detector.set_params(detector__batch_size=study.batch_size)
    return detectors


def run_study(
    study: Study, options: argparse.Namespace
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
    """Rows of patients, rows of methods that failed, and a description of the data."""
    from benchmarks.lib.runs import carry_out, is_done, seeded
    from benchmarks.lib.scans import FIELD_OF_VIEW, slice_distance
    from benchmarks.lib.summary import in_a_line

    splits, folder_of = load(study, options.data)
    distance = slice_distance(splits[0].stack) if study.through else 1.0
    pixel = FIELD_OF_VIEW / study.size
    known = methods(study, options.preset, pixel, distance, budget=not options.full)
    runs = [
        run
        for name, detector in known.items()
        if name in (options.methods or known)
        for run in seeded(name, detector, options.seeds)
    ]
    rows, failed = [], []
    if options.finished:
        missing = {
            run.method
            for run in runs
            if not all(is_done(run, split, options.cache) for split in splits)
        }
        runs = [run for run in runs if run.method not in missing]
        for method in (name for name in known if name in missing):
            run = {"collection": splits[0].name, "fold": 0, "method": method}
            failed.append(run | {"reason": "not finished"})
    for number, split in enumerate(splits, start=1):
        say(f"{split.name}: fold {number} of {len(splits)}, {split.stack!r}")
        for outcome in carry_out(runs, split, options.cache):
            if outcome.error is not None:
                reason = in_a_line(outcome.error)
                run = {
                    "collection": split.name,
                    "fold": number,
                    "method": outcome.run.title,
                }
                failed.append(run | {"reason": reason})
                continue
            rows += patient_rows(outcome, study, folder_of, number)
    return rows, failed, splits[0].describe()


def patient_rows(
    outcome: Outcome, study: Study, folder_of: Mapping[str, str], fold: int
) -> Iterable[dict[str, Any]]:
    """Rows of the tested patients of a run, with the disease and the training seconds."""
    seconds = training_seconds(outcome)
    for row in outcome.result.patient_rows:
        folder = folder_of[row["patient"]]
        head = {"collection": folder, "disease": study.test[folder], "fold": fold}
        yield head | row | {"training_seconds": seconds}


def training_seconds(outcome: Outcome) -> float:
    """Seconds of all epochs; of a method without networks, to fit and to score."""
    epochs = [record["seconds"] for record in outcome.result.history]
    return float(sum(epochs)) if epochs else outcome.result.seconds


def summarise(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each disease and method the mean of patients with its 95 % t interval.

    Seeds are averaged first. Patients without a lesion only have a flagged share.
    """
    import pandas as pd

    from benchmarks.lib.summary import mean_with_interval

    by = ["disease", "method", "supervision", "patient"]
    numbers = [*METRICS, "flagged_share", "training_seconds"]
    table = pd.DataFrame(list(rows))
    patients = table.groupby(by, sort=False)[numbers].mean().reset_index()
    summary = []
    for (disease, method, tier), group in patients.groupby(by[:-1], sort=False):
        ill = group[group["auc"].notna()]
        row: dict[str, Any] = {"disease": disease, "method": method, "supervision": tier}
        row["n_patients"] = len(group)
        for metric in METRICS:
            mean, low, high = mean_with_interval(ill[metric].to_numpy(float))
            row |= {metric: mean, f"{metric}_low": low, f"{metric}_high": high}
        for name in ("flagged_share", "training_seconds"):
            row[name] = float(group[name].mean())
        summary.append(row)
    return summary


def shown(summary: Iterable[Mapping[str, Any]], disease: str) -> list[dict[str, Any]]:
    """Rows of a disease, rounded, sorted by supervision and AP."""
    from skadm._supervision import TIERS

    rows = [row for row in summary if row["disease"] == disease]
    rows.sort(key=lambda row: (TIERS.index(row["supervision"]), -np.nan_to_num(row["ap"])))
    if disease == HEALTHY:
        keys = ("method", "supervision", "flagged_share")
        return [{key: row[key] for key in keys} for row in rows]
    return [
        {
            "method": row["method"],
            "supervision": row["supervision"],
            "AP": interval_text(row, "ap"),
            "best Dice": interval_text(row, "dice"),
            "F1": interval_text(row, "f1"),
            "AUC": interval_text(row, "auc"),
            "training seconds": round(row["training_seconds"]),
        }
        for row in rows
    ]


def interval_text(row: Mapping[str, Any], metric: str) -> str:
    """For instance "0.81 (0.70 to 0.92)".

    Without the interval for fewer than three patients: it would be wider than 0 to 1.
    """
    mean, low, high = (row[f"{metric}{end}"] for end in ("", "_low", "_high"))
    if row["n_patients"] < 3:
        return f"{mean:.3f}"
    return f"{mean:.2f} ({low:.2f} to {high:.2f})"


def show(
    options: argparse.Namespace,
    studies: Sequence[Study],
    rows: Sequence[dict[str, Any]],
    failed: Sequence[Mapping[str, Any]],
    data: Mapping[str, Any],
) -> None:
    """Write tables, figure and record of the studies that are done."""
    import pandas as pd

    from benchmarks.lib.page import Page
    from benchmarks.lib.patient_dots import draw

    sizes = "; ".join(
        f"{', '.join(study.test)}: {study.size} pixels of {240 / study.size:.3g} mm, "
        f"slices {study.gap:g} mm apart, 1 in {study.train_every} to train on, scores "
        f"smoothed by {study.sigma:g} mm in slices and {study.through:g} mm through them, "
        f"batches of {study.batch_size or 'the preset'}"
        for study in studies
    )
    epochs = "all epochs" if options.full else "half the epochs"
    page = Page(
        options,
        "Diseases",
        f"Preset {options.preset} with {epochs}, {options.seeds} seed(s). {sizes}.",
    )
    summary = summarise(rows)
    page.rows("per_patient", rows)
    page.rows("summary", summary)
    for disease in dict.fromkeys(row["disease"] for row in rows):
        here = [row for row in rows if row["disease"] == disease]
        n_patients = len({row["patient"] for row in here})
        name = "".join(c if c.isalnum() else "_" for c in disease.lower())
        caption = f"{disease}, {n_patients} patient(s): mean and 95 % t interval"
        page.table(f"of_{name}", shown(summary, disease), caption)
        if disease != HEALTHY:
            table = pd.DataFrame(here).pivot_table("ap", "method", "patient", sort=False)
            caption = f"{disease}: AP of each patient"
            page.table(f"ap_{name}", table.reset_index().to_dict("records"), caption)
    if failed:
        page.table("left_out", failed, "Left out")
    if any(not np.isnan(row["auc"]) for row in rows):
        page.figure("diseases", draw(rows, summary), "Average precision of each patient")
    page.close(data, studies=[dataclasses.asdict(study) for study in studies])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment; 1 if a method failed, else 0."""
    options = read_options(__name__, argv)

    import torch

    torch.set_num_threads(1)
    studies = chosen_studies(options)
    check_methods(options.methods, studies, options.preset)
    rows: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    data: dict[str, Any] = {}
    for number, study in enumerate(studies, start=1):
        of_patients, of_failures, described = run_study(study, options)
        rows += of_patients
        failed += of_failures
        data[described["name"]] = described
        if of_patients:
            show(options, studies[:number], rows, failed, data)
    return 1 if failed and not options.finished else 0
