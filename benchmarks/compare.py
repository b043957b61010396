"""All detectors on the same patients, with several seeds, beside intensity alone.

Patients are split once, the same for every seed. Each method is trained on the normal
slices of the training patients; its threshold is the one with the best F1 on their abnormal
slices (validation); it is tested on all slices of the other patients. Prints a table for
either side: mean ± standard deviation over seeds (n - 1), and for the test over patients.
Methods without anything random run once.

    python benchmarks/compare.py --data brats --out out/brats
    python benchmarks/compare.py --budget
    python benchmarks/compare.py --methods ADM DAE --seeds 1

Writes compare.csv (a row for each method, seed and side), per_patient.csv, table.md,
roc.png (mean over seeds), montage.png (seed 0) and run.json. Every run is kept in cache/
as soon as it is done: the same command after an interruption goes on where it stopped. A
run is done again when its parameters, the data, the split, or the code or libraries behind
it change.
"""

import argparse
import csv
import math
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _cache import (
    DamagedFileError,
    Result,
    ResultCache,
    code_fingerprint,
    data_fingerprint,
    remember_sources,
)
from _common import load_stack, parser, say, write_run
from numpy.typing import NDArray
from sklearn.base import clone

from skadm.base import BaseDetector
from skadm.callbacks import ProgressLog
from skadm.data import SliceStack
from skadm.detectors import all_detectors
from skadm.evaluation import (
    baseline_verdict,
    evaluate_split,
    format_markdown,
    format_table,
    intensity_baselines,
    patient_split,
    summarise_patients,
    summarise_seeds,
    verdict,
)
from skadm.metrics import pixel_roc_curve
from skadm.plotting import plot_montage, plot_roc, representative_slices
from skadm.presets import make_detector

remember_sources()

# What --budget means: so much less work, whatever the machine.
BUDGET_EPOCHS = 1 / 2  # of the preset's epochs, in every stage
BUDGET_SLICES = 1000  # of all patients together

# DAE whose score is the signed residual of FLAIR and T2: as the baselines, it is told that
# lesions are bright there.
SIGNED = "DAE-signed"

METRICS = ("auc", "ap", "precision", "recall", "f1", "dice")
COLUMNS = (
    *("method", "split", "seed", *METRICS, "threshold", "n_patients", "n_slices"),
    *("seconds", "error"),
)
PATIENT_COLUMNS = ("method", "split", "seed", "patient", *COLUMNS[3:-2])
FPR = np.linspace(0, 1, 501) ** 2  # densest where curves are steepest


class Run(NamedTuple):
    """One method with one seed.

    Attributes
    ----------
    method : str
    seed : int or None
        None for a method without anything random.
    detector : BaseDetector or Exception
        Not fitted; or why there is none.
    """

    method: str
    seed: int | None
    detector: BaseDetector | Exception

    @property
    def title(self) -> str:
        """For messages."""
        return self.method if self.seed is None else f"{self.method}, seed {self.seed}"


class Outcome(NamedTuple):
    """What became of a run: its result and its key in the cache, or an error."""

    run: Run
    key: dict[str, Any] | None = None
    result: Result | None = None
    error: Exception | None = None


class Split(NamedTuple):
    """Slices of either side, and the data they are of."""

    stack: SliceStack
    labels: NDArray[np.int8]
    train: NDArray[np.bool_]
    test: NDArray[np.bool_]


def method_names() -> dict[str, str]:
    """Class name of each method; those that train nothing are among the baselines."""
    names = (name for name, _ in all_detectors() if name != "IntensityDetector")
    return {name.removesuffix("Detector"): name for name in names} | {SIGNED: "DAEDetector"}


def own_parameters(method: str, contrasts: Sequence[str]) -> dict[str, Any]:
    """Parameters of a method beside its preset's."""
    if method != SIGNED:
        return {}
    bright = [name for name in contrasts if name.upper() in ("FLAIR", "T2")]
    if not bright:
        raise ValueError(f"{SIGNED} needs FLAIR or T2; the contrasts are {contrasts}")
    return {"weights": dict.fromkeys(bright, 1.0)}


def plan(
    methods: Iterable[str],
    baselines: dict[str, Any],
    contrasts: Sequence[str],
    options: argparse.Namespace,
) -> list[Run]:
    """All runs, method by method, the baselines last."""
    runs = []
    for method in methods:
        try:
            detector = make_detector(
                method_names()[method], options.preset, **own_parameters(method, contrasts)
            )
        except ValueError as error:  # no such preset, or no such contrast
            runs.append(Run(method, None, error))
            continue
        if options.budget:
            detector = with_fewer_epochs(detector)
        if "random_state" not in detector.get_params():
            runs.append(Run(method, None, detector))
            continue
        for seed in range(options.seeds):
            seeded = clone(detector).set_params(random_state=seed)
            runs.append(Run(method, seed, seeded))
    return runs + [Run(name, None, detector) for name, detector in baselines.items()]


def with_fewer_epochs(detector: BaseDetector) -> BaseDetector:
    """The detector with `BUDGET_EPOCHS` of its epochs in each stage, at least one."""
    epochs = {
        name: max(1, round(value * BUDGET_EPOCHS))
        for name, value in detector.get_params().items()
        if name.endswith("epochs") and value
    }
    return detector.set_params(**epochs)


def with_fewer_slices(stack: SliceStack) -> SliceStack:
    """About `BUDGET_SLICES` slices, of every patient the same share, evenly spread."""
    share = min(1, BUDGET_SLICES / len(stack))
    groups = stack.groups
    chosen = []
    for patient in dict.fromkeys(groups.tolist()):
        own = np.flatnonzero(groups == patient)
        n_kept = max(1, round(share * len(own)))
        places = (np.arange(n_kept) + 0.5) * len(own) / n_kept
        chosen.append(own[places.astype(int)])
    return stack[np.concatenate(chosen)]


def describe(run: Run, split: Split, data: str) -> dict[str, Any]:
    """All that the result of a run depends on, for the cache."""
    groups = split.stack.groups
    return {
        "method": run.method,
        "detector": type(run.detector).__name__,
        "parameters": run.detector.get_params(),
        "seed": run.seed,
        "data": data,
        "train": np.unique(groups[split.train]).tolist(),
        "test": np.unique(groups[split.test]).tolist(),
        "versions": {
            name: version(name)
            for name in ("skadm", "torch", "scikit-learn", "numpy", "scipy")
        },
        "code": code_fingerprint(type(run.detector), evaluate_split),
    }


def train_and_test(run: Run, split: Split) -> tuple[Result, NDArray]:
    """The result, and the normality maps of the test slices."""
    detector = clone(run.detector)
    detector.set_callbacks(ProgressLog(interval=30))
    found = evaluate_split(
        {run.method: detector},
        split.stack,
        split.labels,
        train=split.train,
        test=split.test,
        seed=run.seed,
    )
    maps = found.maps[run.method]
    roc = np.array(pixel_roc_curve(split.labels[split.test], maps)[:2])
    seconds = found.seconds[run.method]
    return Result(found.rows, found.patient_rows, seconds, roc), maps


def carry_out(runs: Sequence[Run], split: Split, cache: ResultCache) -> Iterator[Outcome]:
    """Do each run, or find it in the cache; tell what happens."""
    data = data_fingerprint(split.stack)
    started = time.perf_counter()
    for number, run in enumerate(runs, start=1):
        minutes = (time.perf_counter() - started) / 60
        head = f"[{number}/{len(runs)}, {minutes:.1f} min] {run.title}:"
        if isinstance(run.detector, Exception):
            say(f"{head} {run.detector}")
            yield Outcome(run, error=run.detector)
            continue
        key = describe(run, split, data)
        try:
            result = cache.load(key)
        except DamagedFileError as error:
            say(f"{head} {error}; running again")
            result = None
        if result is not None:
            say(f"{head} found in {cache.path(key)}")
            yield Outcome(run, key, result)
            continue
        say(f"{head} running")
        try:
            result, maps = train_and_test(run, split)
        except Exception as error:  # one broken method must not cost the others
            traceback.print_exc()
            say(f"{head} failed")
            yield Outcome(run, error=error)
            continue
        cache.save(key, result, maps)
        auc = result.rows[-1]["auc"]
        say(f"{head} {result.seconds:.0f} s, test AUC {auc:.3f}")
        yield Outcome(run, key, result)


def with_spread(mean: float, spread: float) -> str:
    """For instance "0.941 ± 0.012"; without the spread where there is none."""
    if math.isnan(mean):
        return "-"
    return f"{mean:.3f}" if math.isnan(spread) else f"{mean:.3f} ± {spread:.3f}"


def table(
    side: str, outcomes: Sequence[Outcome], left_out: dict[str, str]
) -> list[dict[str, Any]]:
    """Rows of one side of the split for `format_table`."""
    summary = {
        row["method"]: row
        for row in summarise_seeds(all_rows(outcomes))
        if row["split"] == side
    }
    patients = {
        row["method"]: row
        for row in summarise_patients(summarise_seeds(all_patient_rows(outcomes)))
    }
    errors: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.error is not None:
            errors.setdefault(outcome.run.method, []).append(outcome)
    rows: list[dict[str, Any]] = []
    for method, means in summary.items():
        row = {"method": method}
        for metric in METRICS:
            row[metric] = with_spread(means[metric], means[f"{metric}_std"])
        if side == "test":
            own = patients[method]
            row["AUC of patients"] = with_spread(own["auc_mean"], own["auc_std"])
        if method in errors:
            titles = ", ".join(outcome.run.title for outcome in errors[method])
            row["note"] = f"without {titles}, which failed"
        rows.append(row)
    for method, (outcome, *_) in errors.items():
        if method not in summary:
            rows.append({"method": method, "note": f"failed: {told(outcome.error)}"})
    return rows + [{"method": name, "note": reason} for name, reason in left_out.items()]


def all_rows(outcomes: Iterable[Outcome]) -> list[dict[str, Any]]:
    """A row for each method, seed and side, with the seconds of the run."""
    return [
        row | {"seconds": outcome.result.seconds}
        for outcome in outcomes
        if outcome.result is not None
        for row in outcome.result.rows
    ]


def all_patient_rows(outcomes: Iterable[Outcome]) -> list[dict[str, Any]]:
    """A row for each method, seed and test patient."""
    return [
        row
        for outcome in outcomes
        if outcome.result is not None
        for row in outcome.result.patient_rows
    ]


def told(error: Exception | None) -> str:
    """An error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    """Write rows; what a row does not have stays empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def write_tables(out: Path, outcomes: Sequence[Outcome]) -> None:
    """Write compare.csv and per_patient.csv."""
    failures = [
        {
            "method": outcome.run.method,
            "seed": outcome.run.seed,
            "error": told(outcome.error),
        }
        for outcome in outcomes
        if outcome.error is not None
    ]
    write_csv(out / "compare.csv", COLUMNS, all_rows(outcomes) + failures)
    write_csv(out / "per_patient.csv", PATIENT_COLUMNS, all_patient_rows(outcomes))


def write_figures(
    out: Path, split: Split, outcomes: Iterable[Outcome], cache: ResultCache
) -> None:
    """Draw roc.png and montage.png."""
    methods: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.result is not None:
            methods.setdefault(outcome.run.method, []).append(outcome)
    if not methods:
        return
    curves, areas = {}, {}
    for method, own in methods.items():
        rates = [np.interp(FPR, *outcome.result.roc) for outcome in own]
        # A curve begins at (0, 0) and may rise at once.
        curves[method] = np.append(0, FPR), np.append(0, np.mean(rates, axis=0)), None
        areas[method] = np.mean([outcome.result.rows[-1]["auc"] for outcome in own])
    plot_roc(curves, areas).savefig(out / "roc.png")

    stack, labels = split.stack[split.test], split.labels[split.test]
    shown = representative_slices(labels, stack.groups)
    maps = {}
    for method, (first, *_) in methods.items():
        # Beside the scan "FLAIR", the method of that name needs another title.
        title = f"{method} intensity" if method in stack.contrasts else method
        maps[title] = cache.load_maps(first.key)[shown]
    figure = plot_montage(stack[shown], labels[shown], maps, slices=range(len(shown)))
    figure.savefig(out / "montage.png")


def read_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    arguments = parser(__doc__.splitlines()[0], "out/compare")
    arguments.add_argument("--seeds", type=int, default=3, help="runs of each method")
    arguments.add_argument(
        "--methods",
        nargs="+",
        metavar="NAME",
        choices=method_names(),
        default=list(method_names()),
        help="class names without 'Detector'",
    )
    arguments.add_argument("--preset", default="cpu", help="parameters of the methods")
    arguments.add_argument("--patients", type=int, default=12, help="of the phantom")
    arguments.add_argument("--slices", type=int, default=24, help="of a phantom patient")
    arguments.add_argument(
        "--budget",
        action="store_true",
        help=f"less work: {BUDGET_EPOCHS:.0%} of the preset's epochs, and at most about "
        f"{BUDGET_SLICES} slices; under 40 minutes on two cores",
    )
    options = arguments.parse_args(argv)
    if options.seeds < 1:
        arguments.error(f"--seeds {options.seeds}: expected 1 or more")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 if a method failed, else 0."""
    options = read_options(argv)
    stack = load_stack(options.data, options.size, options.patients, options.slices)
    if options.budget:
        stack = with_fewer_slices(stack)
    train, test = patient_split(stack.groups, random_state=0)
    split = Split(stack, stack.y, train, test)
    baselines, left_out = intensity_baselines(stack.contrasts)
    methods = list(dict.fromkeys(options.methods))
    runs = plan(methods, baselines, stack.contrasts, options)
    options.out.mkdir(parents=True, exist_ok=True)
    cache = ResultCache(options.out / "cache")

    patients = {
        name: np.unique(stack.groups[side]).tolist()
        for name, side in (("training", train), ("test", test))
    }
    abnormal = test & (split.labels == 1).any(axis=(1, 2))
    with_lesion = len(np.unique(stack.groups[abnormal]))
    seeds = "seed 0" if options.seeds == 1 else f"seeds 0 to {options.seeds - 1}"
    heading = [
        f"{options.data}: {stack!r}",
        *(f"{name}: {', '.join(names)}" for name, names in patients.items()),
        f"preset {options.preset}{', budget' if options.budget else ''}; {seeds}",
        "± is the standard deviation over seeds; in the last column over the "
        f"{with_lesion} test patients with an anomaly",
    ]
    print("\n".join(heading), flush=True)
    try:
        outcomes = list(carry_out(runs, split, cache))
    except KeyboardInterrupt:
        say(f"interrupted; what is done is in {cache.folder}: the same command goes on")
        return 130

    write_tables(options.out, outcomes)
    write_figures(options.out, split, outcomes, cache)
    tables = {side: table(side, outcomes, left_out) for side in ("test", "validation")}
    summary = summarise_seeds(all_rows(outcomes))
    verdicts = [verdict(summary), baseline_verdict(summary, baselines)]
    for side, rows in tables.items():
        print(f"\n{side.capitalize()}:\n{format_table(rows)}")
    print("\n" + "\n".join(verdicts))
    markdown = [
        f"{side.capitalize()}:\n\n{format_markdown(rows)}" for side, rows in tables.items()
    ]
    (options.out / "table.md").write_text(
        "\n\n".join([*heading, *markdown, *verdicts]) + "\n", encoding="utf-8"
    )
    failures = [outcome for outcome in outcomes if outcome.error is not None]
    write_run(
        options.out,
        **vars(options),
        split=patients,
        n_slices=len(stack),
        parameters={
            run.method: run.detector.get_params()
            for run in runs
            if not isinstance(run.detector, Exception)
        },
        failed={outcome.run.title: told(outcome.error) for outcome in failures},
    )
    say(f"written to {options.out}")
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ValueError, OSError) as error:
        sys.exit(f"compare.py: error: {error}")
