"""The eraser beside its rivals over folds of patients; what its parts buy.

Patients are split into folds. Those of a fold are tested with detectors trained on the
normal slices of the others. The threshold is that of the best F1 on the abnormal slices of
the training patients. The test slices of all folds are pooled, each score relative to its
threshold. Intensity, "DAE-signed" and "directed" methods know the direction: lesions are
bright on FLAIR and T2, if the data have these contrasts, or on FLAIR alone. Methods "along"
these contrasts know that lesions change them, brighter or darker. "Learned" methods use the
abnormal slices of the training patients, without masks; so do the rivals "Intensity" (of
all contrasts) and "PCA". The others have no prior. Then: mean differences of patients with
t intervals, and where the false positives are.

    python -m benchmarks beyond --data brats
    python -m benchmarks beyond --data brats --test other.csv --out out/beyond_other
    python -m benchmarks beyond --quick

With --parts also the eraser with its parts changed one by one, which trains many more.
"3-D" methods are the same, with scores smoothed through the slices of a patient as well.
With --test, the patients of another data set are tested instead, in one fold. Writes
beyond_test.csv and beyond_validation.csv (a row for each method, seed and fold),
pooled.csv, differences.csv, false_positives.csv, per_patient.csv, beyond.png and run.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.lib.options import add_experiment_arguments, positive, read_options
from benchmarks.lib.priors import BRIGHT

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from benchmarks.lib.data import Split
    from skadm.base import Detector

WINNER = "Eraser"
LIKE_ERASER = "FLAIR + T2/2, smoothed"
LEARNED: dict[str, dict[str, Any]] = {  # from slice labels
    "learned axis": {"prior": "learned", "prior_sign": "unknown"},
    "learned direction": {"prior": "learned"},
}
REFINED: dict[str, dict[str, Any]] = {  # if the direction is learned or known
    "edge-aware": {"edge_aware": True},
    "self-trained": {  # as in the preset
        "max_epochs": 7,
        "learning_rate": 3e-3,
        "self_training_epochs": 4,
        "edge_aware": True,
    },
}
ABLATIONS: dict[str, dict[str, Any]] = {
    "one network": {"n_networks": 1},
    "one network, no mirror": {"n_networks": 1, "mirror": False},
    "one network, no presence": {"n_networks": 1, "presence_weight": 0.0},
    "no smoothing": {"sigma": 0.0},
    "one Gaussian": {"n_components": 1},
}
STABILITY = ("flips", "ensemble of 3")
OF_DENSITY = ("one Gaussian",)  # at which no directed score looks
QUICK = {"size": 48, "patients": 6, "slices": 8, "preset": "quick"}
RIM = 4  # pixels from the border of the brain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_experiment_arguments(parser)
    parser.add_argument("--folds", type=positive, default=3, help="of patients")
    parser.add_argument("--test", help="as --data: other patients to test on")
    parser.add_argument(
        "--methods",
        nargs="+",
        metavar="NAME",
        help="by default all but the eraser with parts changed",
    )
    parser.add_argument(
        "--parts", action="store_true", help="also what each part of the eraser buys"
    )
    parser.add_argument(
        "--sigma-through",
        type=float,
        default=5.0,
        help="of 3-D methods: standard deviation of the Gaussian through slices, in slices",
    )


def methods(
    contrasts: Sequence[str], preset: str, sigma_through: float
) -> dict[str, Detector]:
    """All that is compared, by name, not fitted."""
    from skadm import PostprocessedDetector
    from skadm.postprocessing import GaussianSmoother

    detectors = slice_methods(contrasts, preset)
    main = [name for name in detectors if "smoothed" in name]
    main += [name for name in detectors if name.startswith(("Intensity", "PCA"))]
    main += ["ADM", "ADM+", WINNER, *(f"{WINNER}, {how}" for how in priors(contrasts))]
    main += [name for name in detectors if name.endswith(tuple(REFINED))]
    smoother = GaussianSmoother(0.0, sigma_through=sigma_through)
    return detectors | {
        f"{name}, 3-D": PostprocessedDetector(detectors[name], smoother) for name in main
    }


def slice_methods(contrasts: Sequence[str], preset: str) -> dict[str, Detector]:
    """Those that look at a slice at a time."""
    from sklearn.base import clone

    from benchmarks.lib.methods import SIGNED, parameters_beside_preset
    from skadm import (
        EnsembleDetector,
        FlipAveragedDetector,
        IntensityDetector,
        PostprocessedDetector,
    )
    from skadm.evaluation import intensity_baselines
    from skadm.postprocessing import GaussianSmoother
    from skadm.presets import ADM_PLUS, make_detector

    baselines, _ = intensity_baselines(contrasts)
    detectors: dict[str, Detector] = {
        name: detector for name, detector in baselines.items() if "smoothed" in name
    }
    weights = stated(contrasts)
    if len(weights) > 1:  # the prior of the eraser
        detectors[LIKE_ERASER] = IntensityDetector(prior=weights, sigma=2.0)
    # Rivals learn from slice labels as the eraser does, and are smoothed like the others.
    for how, prior in LEARNED.items():
        detectors[f"Intensity, {how}"] = IntensityDetector(sigma=2.0, **prior)
        errors = make_detector("PCADetector", preset, **prior)
        detectors[f"PCA, {how}"] = PostprocessedDetector(errors, GaussianSmoother(2.0))
    detectors["ADM"] = make_detector("ADMDetector", preset)
    detectors[ADM_PLUS] = make_detector(ADM_PLUS, preset)
    detectors["DAE"] = make_detector("DAEDetector", preset)
    detectors[SIGNED] = make_detector(
        "DAEDetector", preset, **parameters_beside_preset(SIGNED, contrasts)
    )
    for part, changed in {"": {}, **ABLATIONS}.items():
        name = f"{WINNER}, {part}" if part else WINNER
        detectors[name] = make_detector("EraserDetector", preset, **changed)
        for how, prior in priors(contrasts).items():
            if part not in OF_DENSITY or prior.get("prior_sign") == "unknown":
                detectors[f"{name}, {how}"] = make_detector(
                    "EraserDetector", preset, **prior, **changed
                )
    for how, prior in priors(contrasts).items():
        if how in ("learned direction", "directed"):
            for refinement, changed in REFINED.items():
                detectors[f"{WINNER}, {how}, {refinement}"] = make_detector(
                    "EraserDetector", preset, **prior, **changed
                )
    learned = make_detector("EraserDetector", preset, prior="learned", prior_sign="unknown")
    flips, ensemble = (f"{WINNER}, learned axis, {how}" for how in STABILITY)
    detectors[flips] = FlipAveragedDetector(learned)
    one = clone(learned).set_params(n_networks=1)
    detectors[ensemble] = EnsembleDetector(one, n_detectors=3)
    return detectors


def priors(contrasts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Priors of the eraser, by name."""
    weights = stated(contrasts)
    flair = {name: weight for name, weight in weights.items() if name.upper() == "FLAIR"}
    if not weights:
        return dict(LEARNED)
    parameters = LEARNED | {
        f"along {' + '.join(weights)}": {"prior": weights, "prior_sign": "unknown"},
        "directed": {"prior": weights},
    }
    if 0 < len(flair) < len(weights):
        parameters |= {
            "along FLAIR": {"prior": flair, "prior_sign": "unknown"},
            "directed by FLAIR": {"prior": flair},
        }
    return parameters


def stated(contrasts: Sequence[str]) -> dict[str, float]:
    """Weights of FLAIR and T2, as far as there are these contrasts."""
    names = {name.upper(): name for name in contrasts}
    return {names[name]: weight for name, weight in BRIGHT.items() if name in names}


def shows_a_part(method: str) -> bool:
    """Whether a method is the eraser with a part changed."""
    return any(part in method for part in (*ABLATIONS, *STABILITY))


def false_positives(
    images: NDArray, labels: NDArray, maps: NDArray, contrasts: Sequence[str]
) -> dict[str, float]:
    """Pixels called anomalous that are not, for each 100 lesion pixels, by where they are.

    A pixel counts for the first kind that it is of: on the rim of the brain (remains of the
    skull, noise, sulci), like fluid (dark on FLAIR: ventricles and their rims, cysts),
    enhanced (T1ce far above T1: vessels, choroid plexus), near a lesion (its edge, as
    drawn), or elsewhere.
    """
    from scipy.ndimage import distance_transform_edt

    wrong = (labels == 0) & (maps < 0)
    lesion = labels == 1
    by_name = {name.upper(): images[:, k] for k, name in enumerate(contrasts)}
    distance = np.stack([distance_transform_edt(brain) for brain in labels >= 0])
    away = np.stack(
        [
            distance_transform_edt(~mask) if mask.any() else np.full(mask.shape, np.inf)
            for mask in lesion
        ]
    )
    kinds = {"rim": distance <= RIM}
    if "FLAIR" in by_name:
        kinds["fluid"] = by_name["FLAIR"] < -0.5
    if {"T1", "T1CE"} <= set(by_name):
        kinds["enhanced"] = by_name["T1CE"] - by_name["T1"] > 1.5
    kinds["lesion's edge"] = away <= RIM
    scale = 100 / max(1, np.count_nonzero(lesion))
    counts = {"all": np.count_nonzero(wrong) * scale}
    for name, place in kinds.items():
        counts[name] = np.count_nonzero(wrong & place) * scale
        wrong = wrong & ~place
    return counts | {"elsewhere": np.count_nonzero(wrong) * scale}


def differences(patient_rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Differences of the eraser, with any prior, to its rivals, over patients."""
    from skadm.evaluation import paired_t_tests

    names = dict.fromkeys(row["method"] for row in patient_rows)
    rivals = [name for name in names if not name.startswith(WINNER)]
    whole = [name for name in names if name not in rivals and not shows_a_part(name)]
    rows = []
    for method in whole:
        for rival in rivals:
            pair = [dict(row) for row in patient_rows if row["method"] in (method, rival)]
            rows += [
                {"method": method, "rival": rival}
                | {key: row[key] for key in ("metric", "n", "difference", "low", "high")}
                for row in paired_t_tests(pair, rival, ("auc", "ap", "f1", "dice"))
            ]
    return rows


def draw(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Average precision of each method as bars, the best at the top."""
    from matplotlib.figure import Figure

    from benchmarks.lib.summary import TIER_COLOURS

    ordered = sorted(rows, key=lambda row: row["ap"])
    figure = Figure(figsize=(7, 0.35 * len(ordered) + 1), layout="constrained")
    axes = figure.subplots()
    for tier, colour in TIER_COLOURS.items():
        bars = {i: row["ap"] for i, row in enumerate(ordered) if row["supervision"] == tier}
        if bars:
            axes.barh(list(bars), list(bars.values()), color=colour, label=tier)
    axes.set_yticks(range(len(ordered)), [row["method"] for row in ordered])
    figure.legend(title="supervision", loc="outside lower center", ncols=len(TIER_COLOURS))
    axes.margins(y=0.01)
    axes.set_xlabel("average precision")
    axes.set_xlim(0, 1)
    return figure


def load_splits(options: argparse.Namespace) -> list[Split]:
    """The folds; with --test the one split, into patients of --data and of --test."""
    from benchmarks.lib.data import Split, crop, deal, join, load_slices

    first = load_slices(options.data, options)
    if options.test is None:
        return deal(options.data, crop(first), options.folds)
    stack = crop(join(first, load_slices(options.test, options), first.contrasts))
    test = ~np.isin(stack.groups, first.groups)
    return [Split(options.test, stack, stack.y, ~test, test)]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    options = read_options(__name__, argv)

    import pandas as pd

    from benchmarks.lib.folds import carry_out_folds, pool
    from benchmarks.lib.measures import measure
    from benchmarks.lib.methods import choose
    from benchmarks.lib.page import Page
    from benchmarks.lib.summary import all_patient_rows, all_rows, parameters
    from skadm.detectors import supervision
    from skadm.metrics import best_dice_score

    splits = load_splits(options)
    stack, labels = splits[0].stack, splits[0].labels
    detectors = methods(stack.contrasts, options.preset, options.sigma_through)
    chosen = choose(options.methods, detectors)
    if not (options.methods or options.parts):
        chosen = [name for name in chosen if not shows_a_part(name)]
    outcomes = carry_out_folds({name: detectors[name] for name in chosen}, splits, options)

    tested = np.any([split.test for split in splits], axis=0)
    scores = {
        name: [pool(folds, splits)[tested] for folds in seeds.values()]
        for name, seeds in outcomes.items()
    }
    images, labels, groups = stack[tested].X, labels[tested], stack.groups[tested]
    page = Page(
        options,
        "Beyond the threshold",
        f"{options.test or options.data}: {len(np.unique(groups))} test patients in "
        f"{len(splits)} folds; F1 at the threshold of the validation slices, Dice at the "
        "best of the test.",
    )
    flat = [o for seeds in outcomes.values() for folds in seeds.values() for o in folds]
    for side in ("test", "validation"):
        page.rows(f"beyond_{side}", all_rows(flat, side))
    of_patients = all_patient_rows(flat)
    page.rows("per_patient", of_patients)
    seconds = pd.DataFrame(all_rows(flat)).groupby("method")["seconds"].mean()

    def of_seed(maps: NDArray) -> dict[str, float]:
        return measure(labels, maps, 0.0) | {"dice": best_dice_score(labels, maps)}

    means = [
        {
            "method": name,
            "supervision": supervision(detectors[name]),
            **pd.DataFrame([of_seed(maps) for maps in seeds]).mean(skipna=False),
            "seconds": seconds[name],
        }
        for name, seeds in scores.items()
    ]
    page.table("pooled", means, "Test slices of all folds, mean over seeds")
    validation = pd.DataFrame(all_rows(flat, "validation")).groupby("method", sort=False)
    page.table(
        "validation",
        validation[["auc", "ap", "f1"]].mean(skipna=False).reset_index().to_dict("records"),
        "Validation, mean over folds",
    )
    if rows := differences(of_patients):
        caption = (
            "Mean of the differences of patients with an anomaly, with its 95 % t interval "
            "(how often that covers: interval_coverage)"
        )
        page.table("differences", rows, caption)
    counts = [
        {"method": name, **false_positives(images, labels, maps[0], stack.contrasts)}
        for name, maps in scores.items()
    ]
    caption = "False positives for each 100 lesion pixels, by where they are, first seed"
    page.table("false_positives", counts, caption)
    page.figure("beyond", draw(means), "Average precision, pooled test slices")
    page.close(splits[0].describe(), parameters=parameters(flat))
