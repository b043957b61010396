"""The eraser beside intensity, ADM and the DAE over folds of patients; what its parts buy.

Patients are dealt into folds. Those of a fold are tested by detectors that were trained on
the normal slices of the others, with the threshold of the best F1 on their abnormal slices.
The test slices of all folds are pooled, each score relative to its threshold. Intensity,
"DAE-signed" and "directed" methods are told that lesions are bright on FLAIR and T2, as far
as there are these contrasts, or on FLAIR alone; those "along" these contrasts, that lesions
change them, brighter or darker; those with something "learned" look at the abnormal slices
of the training patients, without their masks; the others are told nothing. Then:
mean differences of patients with t intervals, and where the false positives are.

    python benchmarks/beyond.py --data brats --out out/beyond
    python benchmarks/beyond.py --data brats --test other.csv --out out/beyond_other
    python benchmarks/beyond.py --quick

With --parts also the eraser with its parts changed one by one, which trains many more.
"3-D" methods are the same, with scores smoothed through the slices of a patient as well.
With --test, the patients of another data set are tested instead, in one fold. Writes
beyond_test.csv and beyond_validation.csv (a row for each method, seed and fold),
pooled.csv, differences.csv, false_positives.csv, per_patient.csv, beyond.png and run.json.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from _cache import ResultCache
from _common import experiment_parser, positive, read_options, say
from _experiment import parameters
from _folds import dealt, joined, pooled
from _methods import SIGNED, own_parameters
from _page import Page
from _runs import Outcome, Run, carry_out, seeded
from _split import Split, crop, load_slices
from _summary import all_patient_rows, all_rows
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from sklearn.base import clone

from skadm import (
    EnsembleDetector,
    FlipAveragedDetector,
    IntensityDetector,
    PostprocessedDetector,
)
from skadm.base import MapDetector
from skadm.evaluation import intensity_baselines, paired_t_tests
from skadm.metrics import (
    best_dice_score,
    pixel_average_precision_score,
    pixel_roc_auc_score,
    pixel_scores_at_threshold,
)
from skadm.postprocessing import GaussianSmoother
from skadm.presets import make_detector

WINNER = "Eraser"
# What is told of lesions. That T2 counts half was chosen on BraTS' validation slices.
WEIGHTS = {"FLAIR": 1.0, "T2": 0.5}
LIKE_ERASER = "FLAIR + T2/2, smoothed"
ABLATIONS: dict[str, dict[str, Any]] = {
    "one network": {"n_networks": 1},
    "one network, no mirror": {"n_networks": 1, "mirror": False},
    "one network, no presence": {"n_networks": 1, "presence_weight": 0.0},
    "no smoothing": {"sigma": 0.0},
    "one Gaussian": {"n_components": 1},
}
STABILITY = ("flips", "ensemble of 3")
OF_DENSITY = ("one Gaussian",)  # at which no directed score looks
QUICK = ("--size", "48", "--patients", "6", "--slices", "8", "--preset", "quick")
RIM = 4  # pixels from the border of the brain


def methods(
    contrasts: Sequence[str], preset: str, sigma_through: float
) -> dict[str, MapDetector]:
    """All that is compared, by name, not fitted."""
    found = slice_methods(contrasts, preset)
    main = [name for name in found if "smoothed" in name]
    main += [WINNER, *(f"{WINNER}, {how}" for how in priors(contrasts))]
    smoother = GaussianSmoother(0.0, sigma_through=sigma_through)
    return found | {
        f"{name}, 3-D": PostprocessedDetector(found[name], smoother) for name in main
    }


def slice_methods(contrasts: Sequence[str], preset: str) -> dict[str, MapDetector]:
    """Those that look at a slice at a time."""
    baselines, _ = intensity_baselines(contrasts)
    found: dict[str, MapDetector] = {
        name: each for name, each in baselines.items() if "smoothed" in name
    }
    weights = stated(contrasts)
    if len(weights) > 1:  # as the eraser is told
        found[LIKE_ERASER] = IntensityDetector(weights=weights, sigma=2.0)
    found["ADM"] = make_detector("ADMDetector", preset)
    found["DAE"] = make_detector("DAEDetector", preset)
    found[SIGNED] = make_detector(
        "DAEDetector", preset, **own_parameters(SIGNED, contrasts)
    )
    for part, changed in {"": {}, **ABLATIONS}.items():
        name = f"{WINNER}, {part}" if part else WINNER
        found[name] = make_detector("EraserDetector", preset, **changed)
        for how, prior in priors(contrasts).items():
            if part not in OF_DENSITY or "along" in prior:
                found[f"{name}, {how}"] = make_detector(
                    "EraserDetector", preset, **prior, **changed
                )
    learned = make_detector("EraserDetector", preset, along="learned")
    flips, ensemble = (f"{WINNER}, learned axis, {how}" for how in STABILITY)
    found[flips] = FlipAveragedDetector(learned)
    one = clone(learned).set_params(n_networks=1)
    found[ensemble] = EnsembleDetector(one, n_detectors=3)
    return found


def priors(contrasts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Parameters that tell the eraser of lesions, by a name for what is told."""
    weights = stated(contrasts)
    flair = {name: weight for name, weight in weights.items() if name.upper() == "FLAIR"}
    found: dict[str, dict[str, Any]] = {
        "learned axis": {"along": "learned"},
        "learned direction": {"direction": "learned"},
    }
    if not weights:
        return found
    found |= {
        f"along {' + '.join(weights)}": {"along": weights},
        "directed": {"direction": weights},
    }
    if 0 < len(flair) < len(weights):
        found |= {
            "along FLAIR": {"along": flair},
            "directed by FLAIR": {"direction": flair},
        }
    return found


def stated(contrasts: Sequence[str]) -> dict[str, float]:
    """Weights of FLAIR and T2, as far as there are these contrasts."""
    names = {name.upper(): name for name in contrasts}
    return {names[each]: weight for each, weight in WEIGHTS.items() if each in names}


def told(method: str) -> str:
    """What a method is told of lesions.

    Nothing; which slices hold one (it looks at them, without masks); which contrasts they
    change; or which way as well.
    """
    if "learned" in method:
        return "slices"
    if "along" in method:
        return "contrasts"
    bright = "directed" in method or "smoothed" in method or method == SIGNED
    return "direction" if bright else "nothing"


def shows_a_part(method: str) -> bool:
    """Whether a method is the eraser with a part changed."""
    return any(part in method for part in (*ABLATIONS, *STABILITY))


def carry_out_folds(
    detectors: Mapping[str, MapDetector],
    splits: Sequence[Split],
    cache: ResultCache,
    n_seeds: int,
) -> dict[str, dict[int | None, list[Outcome]]]:
    """Outcomes by method and seed, one for each fold.

    Raises
    ------
    RuntimeError
        If a run failed.
    """
    runs: list[Run] = []
    for name, detector in detectors.items():
        runs += seeded(name, detector, n_seeds)
    found: dict[str, dict[int | None, list[Outcome]]] = {}
    for number, split in enumerate(splits, start=1):
        say(f"fold {number} of {len(splits)}")
        for outcome in carry_out(runs, split, cache):
            if outcome.error is not None:
                raise RuntimeError(f"{outcome.run.title} failed") from outcome.error
            seeds = found.setdefault(outcome.run.method, {})
            seeds.setdefault(outcome.run.seed, []).append(outcome)
    return found


def measure(labels: NDArray, maps: NDArray) -> dict[str, float]:
    """AUC, AP, F1 at the threshold 0 and best possible Dice."""
    return {
        "auc": pixel_roc_auc_score(labels, maps),
        "ap": pixel_average_precision_score(labels, maps),
        "f1": pixel_scores_at_threshold(labels, maps, 0.0)["f1"],
        "dice": best_dice_score(labels, maps),
    }


def false_positives(
    images: NDArray, labels: NDArray, maps: NDArray, contrasts: Sequence[str]
) -> dict[str, float]:
    """Pixels called anomalous that are not, for each 100 lesion pixels, by where they are.

    A pixel counts for the first kind that it is of: on the rim of the brain (remains of the
    skull, noise, sulci), like fluid (dark on FLAIR: ventricles and their rims, cysts),
    enhanced (T1ce far above T1: vessels, choroid plexus), near a lesion (its edge, as
    drawn), or elsewhere.
    """
    wrong = (labels == 0) & (maps < 0)
    lesion = labels == 1
    by_name = {name.upper(): images[:, k] for k, name in enumerate(contrasts)}
    distance = np.stack([distance_transform_edt(brain) for brain in labels >= 0])
    away = np.stack(
        [
            distance_transform_edt(~own) if own.any() else np.full(own.shape, np.inf)
            for own in lesion
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
    for name, own in kinds.items():
        counts[name] = np.count_nonzero(wrong & own) * scale
        wrong = wrong & ~own
    return counts | {"elsewhere": np.count_nonzero(wrong) * scale}


def differences(patient_rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Differences of the eraser, whatever it is told, to its rivals, over patients."""
    names = dict.fromkeys(row["method"] for row in patient_rows)
    rivals = [name for name in names if not name.startswith(WINNER)]
    whole = [name for name in names if name not in rivals and not shows_a_part(name)]
    rows = []
    for method in whole:
        for rival in rivals:
            own = [dict(row) for row in patient_rows if row["method"] in (method, rival)]
            rows += [
                {"method": method, "rival": rival}
                | {key: row[key] for key in ("metric", "n", "difference", "low", "high")}
                for row in paired_t_tests(own, rival, ("auc", "ap", "f1", "dice"))
            ]
    return rows


def figure_of(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Average precision of each method as bars, the best at the top."""
    ordered = sorted(rows, key=lambda row: row["ap"])
    figure = Figure(figsize=(7, 0.35 * len(ordered) + 1), layout="constrained")
    axes = figure.subplots()
    colours = {"nothing": "C0", "slices": "C4", "contrasts": "C2", "direction": "C1"}
    for height, row in enumerate(ordered):
        axes.barh(height, row["ap"], color=colours[row["told"]])
    axes.set_yticks(range(len(ordered)), [row["method"] for row in ordered])
    present = [each for each in colours if any(row["told"] == each for row in ordered)]
    bars = [axes.barh(0, 0, color=colours[each]) for each in present]
    figure.legend(
        bars,
        present,
        title="told of lesions",
        loc="outside lower center",
        ncols=len(present),
    )
    axes.margins(y=0.01)
    axes.set_xlabel("average precision")
    axes.set_xlim(0, 1)
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if "--quick" in argv:
        argv = [*QUICK, *argv]
    arguments = experiment_parser(__doc__.splitlines()[0], "beyond")
    arguments.add_argument("--folds", type=positive, default=3, help="of patients")
    arguments.add_argument("--test", help="as --data: other patients to test on")
    arguments.add_argument(
        "--methods", nargs="+", help="default: all but the eraser with parts changed"
    )
    arguments.add_argument(
        "--parts", action="store_true", help="also what each part of the eraser buys"
    )
    arguments.add_argument(
        "--sigma-through",
        type=float,
        default=5.0,
        help="of 3-D methods: standard deviation of the Gaussian through slices, in slices",
    )
    arguments.add_argument("--quick", action="store_true", help="tiny, to see that it runs")
    options = read_options(arguments, argv)
    splits = load_splits(options)
    stack, labels = splits[0].stack, splits[0].labels
    detectors = methods(stack.contrasts, options.preset, options.sigma_through)
    if unknown := set(options.methods or ()) - set(detectors):
        raise ValueError(f"no methods {sorted(unknown)}; there are {list(detectors)}")
    default = [name for name in detectors if options.parts or not shows_a_part(name)]
    chosen = {name: detectors[name] for name in options.methods or default}
    cache = ResultCache(options.cache)
    outcomes = carry_out_folds(chosen, splits, cache, options.seeds)

    tested = np.any([split.test for split in splits], axis=0)
    scores = {
        name: [pooled(own, splits, cache)[tested] for own in seeds.values()]
        for name, seeds in outcomes.items()
    }
    images, labels, groups = stack[tested].X, labels[tested], stack.groups[tested]
    page = Page(
        options.out,
        "Beyond the threshold",
        f"{options.test or options.data}: {len(np.unique(groups))} test patients in "
        f"{len(splits)} folds; F1 at the threshold of the validation slices, Dice at the "
        "best of the test.",
    )
    flat = [each for seeds in outcomes.values() for own in seeds.values() for each in own]
    rows = all_rows(flat)
    for side in ("test", "validation"):
        page.rows(f"beyond_{side}", [row for row in rows if row["split"] == side])
    of_patients = all_patient_rows(flat)
    page.rows("per_patient", of_patients)
    means = []
    for name, maps in scores.items():
        found = [measure(labels, each) for each in maps]
        seconds = [o.result.seconds for own in outcomes[name].values() for o in own]
        mean = {key: float(np.mean([each[key] for each in found])) for key in found[0]}
        means.append(
            {
                "method": name,
                "told": told(name),
                **mean,
                "seconds": float(np.mean(seconds)),
            }
        )
    page.table("pooled", means, "Test slices of all folds, mean over seeds")
    validation = [row for row in rows if row["split"] == "validation"]
    page.table("validation", mean_validation(validation), "Validation, mean over folds")
    if found := differences(of_patients):
        caption = (
            "Mean of the differences of patients with an anomaly, with its 95 % t interval "
            "(how often that covers: interval_coverage.py)"
        )
        page.table("differences", found, caption)
    counts = [
        {"method": name, **false_positives(images, labels, maps[0], stack.contrasts)}
        for name, maps in scores.items()
    ]
    caption = "False positives for each 100 lesion pixels, by where they are, first seed"
    page.table("false_positives", counts, caption)
    page.figure("beyond", figure_of(means), "Average precision, pooled test slices")
    page.close(splits[0].describe(), options, parameters=parameters(flat))


def load_splits(options: argparse.Namespace) -> list[Split]:
    """The folds; with --test the one split of own and other patients."""
    own = load_slices(options.data, options)
    if options.test is None:
        return dealt(options.data, crop(own), options.folds)
    stack = crop(joined(own, load_slices(options.test, options)))
    test = ~np.isin(stack.groups, own.groups)
    return [Split(options.test, stack, stack.y, ~test, test)]


def mean_validation(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each method: what everything was chosen by."""
    names = dict.fromkeys(row["method"] for row in rows)
    keys = ("auc", "ap", "f1")
    return [
        {"method": name}
        | {k: float(np.mean([r[k] for r in rows if r["method"] == name])) for k in keys}
        for name in names
    ]


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"beyond.py: error: {error}")
