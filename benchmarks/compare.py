"""All detectors on the same patients, with several seeds, beside intensity alone.

Tables 1 and 2 of the paper. Patients are split once, the same for every seed. Each method
is trained on the normal slices of the training patients; its threshold is the one with the
best F1 on their abnormal slices (validation); it is tested on all slices of the other
patients. Prints a table for either side: mean ± standard deviation over seeds (n - 1), and
for the test over patients. Methods without anything random run once. Then: more metrics of
the test, the difference of each method to ADM with paired t-tests and t intervals, over
seeds and over patients, and the published numbers beside ours.

    python benchmarks/compare.py --data brats --out out/brats
    python benchmarks/compare.py --budget
    python benchmarks/compare.py --methods ADM DAE --seeds 1

Writes a CSV file for each table (compare.csv: a row for each method, seed and side),
table.md, roc.png (mean over seeds), froc.png and montage.png (seed 0), and run.json. Every
run is kept in cache/ as soon as it is done: the same command after an interruption goes on
where it stopped. A run is done again when its parameters, the data, the split, or the code
or libraries behind it change.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _cache import ResultCache
from _common import experiment_parser, read_options, say
from _methods import add_methods, plan
from _page import Page, write_csv
from _published import COMPARISON, beside_published
from _runs import Outcome, carry_out
from _split import Split, load_split
from _summary import METRICS, all_patient_rows, all_rows, table, told, with_spread

from skadm.evaluation import (
    baseline_verdict,
    format_markdown,
    intensity_baselines,
    paired_t_tests,
    summarise_seeds,
    verdict,
)
from skadm.metrics import (
    dice_at_fpr_score,
    lesion_froc_curve,
    lesion_sensitivity_score,
    pixel_aupro_score,
    pixel_fpr_at_tpr_score,
)
from skadm.plotting import plot_froc, plot_montage, plot_roc, representative_slices

REFERENCE = "ADM"
COLUMNS = (
    *("method", "split", "seed", *METRICS, "threshold", "n_patients", "n_slices"),
    *("seconds", "error"),
)
PATIENT_COLUMNS = ("method", "split", "seed", "patient", *COLUMNS[3:-2])
FPR = np.linspace(0, 1, 501) ** 2  # densest where curves are steepest


def by_method(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    """Finished runs of each method."""
    methods: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.result is not None:
            methods.setdefault(outcome.run.method, []).append(outcome)
    return methods


def more_metrics(
    methods: dict[str, list[Outcome]], split: Split, cache: ResultCache
) -> list[dict[str, Any]]:
    """A row for each method and seed, of the test slices."""
    labels, groups = split.labels[split.test], split.stack.groups[split.test]
    rows = []
    for method, own in methods.items():
        for outcome in own:
            maps = cache.load_maps(outcome.key).test
            rows.append(
                {
                    "method": method,
                    "seed": outcome.run.seed,
                    "AUPRO (FPR <= 0.3)": pixel_aupro_score(labels, maps),
                    "FPR at 95 % TPR": pixel_fpr_at_tpr_score(labels, maps),
                    "Dice at 5 % FPR": dice_at_fpr_score(labels, maps, fpr=0.05),
                    "lesions found, 1 FP": lesion_sensitivity_score(
                        labels, maps, groups, false_positives_per_volume=1
                    ),
                    "lesions found, 10 FP": lesion_sensitivity_score(
                        labels, maps, groups, false_positives_per_volume=10
                    ),
                }
            )
    return rows


def mean_over_seeds(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each method the mean and spread of each column but the seed, as text."""
    methods: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        methods.setdefault(row["method"], []).append(row)
    shown = []
    for method, own in methods.items():
        values = {key: np.array([row[key] for row in own]) for key in own[0]}
        shown.append({"method": method})
        for key in list(values)[2:]:
            spread = values[key].std(ddof=1) if len(own) > 1 else np.nan
            shown[-1][key] = with_spread(values[key].mean(), spread)
    return shown


def statistics(page: Page, methods: dict[str, list[Outcome]], split: Split) -> None:
    """Tables of the differences to ADM: over seeds, and over patients."""
    if REFERENCE not in methods:
        say(f"no differences: {REFERENCE} is not among the methods")
        return
    rows = [row for own in methods.values() for row in all_rows(own)]
    tests = paired_t_tests(
        [row for row in rows if row["split"] == "test"], REFERENCE, ("auc", "ap", "f1")
    )
    page.table("t_tests", tests, f"Paired t-tests against {REFERENCE}, over seeds")
    rows = [row for own in methods.values() for row in all_patient_rows(own)]
    tests = paired_t_tests(rows, REFERENCE, ("auc", "ap", "f1"))
    page.table(
        "patients",
        tests,
        f"Paired t-tests against {REFERENCE}, over the "
        f"{split.n_test_patients_with_anomaly} test patients with an anomaly: mean of "
        "their differences with its 95 % t interval (how often that covers: "
        "interval_coverage.py)",
    )


def write_figures(
    page: Page, split: Split, outcomes: Iterable[Outcome], cache: ResultCache
) -> None:
    """Draw roc.png, froc.png and montage.png."""
    methods = by_method(outcomes)
    if not methods:
        return
    curves, areas = {}, {}
    for method, own in methods.items():
        rates = [np.interp(FPR, *outcome.result.roc) for outcome in own]
        # A curve begins at (0, 0) and may rise at once.
        curves[method] = np.append(0, FPR), np.append(0, np.mean(rates, axis=0)), None
        areas[method] = np.mean([outcome.result.rows[-1]["auc"] for outcome in own])
    page.figure("roc", plot_roc(curves, areas), "ROC curves of the test, mean over seeds")

    labels, groups = split.labels[split.test], split.stack.groups[split.test]
    first = {name: cache.load_maps(own[0].key).test for name, own in methods.items()}
    found = {name: lesion_froc_curve(labels, maps, groups) for name, maps in first.items()}
    page.figure(
        "froc",
        plot_froc({name: curve[:2] for name, curve in found.items()}),
        "Lesions found against false positives for each volume, first seed",
    )

    stack = split.stack[split.test]
    shown = representative_slices(labels, stack.groups)
    maps = {}
    for method, own in first.items():
        # Beside the scan "FLAIR", the method of that name needs another title.
        title = f"{method} intensity" if method in stack.contrasts else method
        maps[title] = own[shown]
    figure = plot_montage(stack[shown], labels[shown], maps, slices=range(len(shown)))
    page.figure("montage", figure, "Scans, lesion outlines and score maps, first seed")


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


def heading_of(options: argparse.Namespace, split: Split) -> list[str]:
    """What was compared, in a few lines."""
    seeds = "seed 0" if options.seeds == 1 else f"seeds 0 to {options.seeds - 1}"
    return [
        f"{options.data}: {split.stack!r}",
        *(f"{name}: {', '.join(names)}" for name, names in split.patients.items()),
        f"preset {options.preset}{', budget' if options.budget else ''}; {seeds}",
        "± is the standard deviation over seeds; in the last column over the "
        f"{split.n_test_patients_with_anomaly} test patients with an anomaly",
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 if a method failed, else 0."""
    arguments = experiment_parser(__doc__.splitlines()[0], "compare")
    add_methods(arguments)
    options = read_options(arguments, argv)
    split = load_split(options)
    contrasts = split.stack.contrasts
    baselines, left_out = intensity_baselines(contrasts)
    runs = plan(dict.fromkeys(options.methods), baselines, contrasts, options)
    cache = ResultCache(options.cache)
    heading = heading_of(options, split)
    page = Page(options.out, "Comparison (Tables 1 and 2)", "\n".join(heading))
    print("\n".join(heading), flush=True)
    try:
        outcomes = list(carry_out(runs, split, cache))
    except KeyboardInterrupt:
        say(f"interrupted; what is done is in {cache.folder}: the same command goes on")
        return 130

    write_tables(options.out, outcomes)
    tables = {side: table(side, outcomes, left_out) for side in ("test", "validation")}
    for side, rows in tables.items():
        page.table(side, rows, side.capitalize())
    summary = summarise_seeds(all_rows(outcomes))
    methods = by_method(outcomes)
    if methods:
        found = more_metrics(methods, split, cache)
        page.table("more_metrics", found, "More metrics (test)", mean_over_seeds(found))
        statistics(page, methods, split)
        page.table(
            "published",
            beside_published(summary, COMPARISON),
            "Beside the published numbers, which are of other patients "
            "and of test sets enlarged by augmentation",
        )
    write_figures(page, split, outcomes, cache)
    verdicts = [
        verdict(summary, all_patient_rows(outcomes)),
        baseline_verdict(summary, baselines),
    ]
    print("\n" + "\n".join(verdicts))
    markdown = [
        f"{side.capitalize()}:\n\n{format_markdown(rows)}" for side, rows in tables.items()
    ]
    (options.out / "table.md").write_text(
        "\n\n".join([*heading, *markdown, *verdicts]) + "\n", encoding="utf-8"
    )
    failures = [outcome for outcome in outcomes if outcome.error is not None]
    page.close(
        split.describe(),
        options,
        parameters={
            run.method: run.detector.get_params()
            for run in runs
            if not isinstance(run.detector, Exception)
        },
        failed={outcome.run.title: told(outcome.error) for outcome in failures},
    )
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ValueError, OSError) as error:
        sys.exit(f"compare.py: error: {error}")
