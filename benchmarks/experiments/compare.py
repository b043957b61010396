"""All detectors on the same patients, with several seeds, beside intensity alone.

Tables 1 and 2 of the paper. Patients are split once, the same for every seed. Each method
is trained on the normal slices of the training patients; its threshold is the one with the
best F1 on their abnormal slices (validation); it is tested on all slices of the other
patients. Prints a table for either side: mean ± standard deviation over seeds (n - 1), and
for the test over patients. Methods without anything random run once. Then: more metrics of
the test, the difference of each method to ADM with paired t-tests and t intervals, over
seeds and over patients, and the published numbers beside ours.

    python -m benchmarks compare --data brats --out out/brats
    python -m benchmarks compare --budget
    python -m benchmarks compare --methods ADM DAE --seeds 1

Writes a CSV file for each table (compare.csv: a row for each method, seed and side),
table.md, roc.png (mean over seeds), froc.png and montage.png (seed 0), and run.json. Every
finished run is kept in cache/, so the same command resumes after an interruption. A run is
repeated when its parameters, the data, the split, or the code or libraries behind it
change.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.lib.options import add_experiment_arguments, add_methods, read_options, say

if TYPE_CHECKING:
    from benchmarks.lib.data import Split
    from benchmarks.lib.page import Page
    from benchmarks.lib.runs import Outcome

REFERENCE = "ADM"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_experiment_arguments(parser)
    add_methods(parser)


def by_method(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    """Finished runs of each method."""
    methods: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.result is not None:
            methods.setdefault(outcome.run.method, []).append(outcome)
    return methods


def more_metrics(outcomes: Iterable[Outcome], split: Split) -> list[dict[str, Any]]:
    """A row for each method and seed, of the test slices."""
    from benchmarks.lib.measures import dice_at_fpr, lesion_sensitivities
    from skadm.metrics import pixel_aupro_score, pixel_fpr_at_tpr_score

    labels, groups = split.labels[split.test], split.stack.groups[split.test]
    rows = []
    for outcome in outcomes:
        if outcome.result is None:
            continue
        maps = outcome.load_maps().test
        row = {
            "method": outcome.run.method,
            "seed": outcome.run.seed,
            "AUPRO (FPR <= 0.3)": pixel_aupro_score(labels, maps),
            "FPR at 95 % TPR": pixel_fpr_at_tpr_score(labels, maps),
            "Dice at 5 % FPR": dice_at_fpr(labels, maps, 0.05),
        }
        sensitivities = lesion_sensitivities(labels, maps, groups, (1, 10))
        row |= {
            "lesions found, 1 FP": sensitivities[0],
            "lesions found, 10 FP": sensitivities[1],
        }
        rows.append(row)
    return rows


def show_statistics(page: Page, outcomes: Sequence[Outcome], split: Split) -> None:
    """Tables of the differences to ADM: over seeds, and over patients."""
    from benchmarks.lib.summary import all_patient_rows, all_rows
    from skadm.evaluation import paired_t_tests

    methods = by_method(outcomes)
    if REFERENCE not in methods:
        say(f"no differences: {REFERENCE} is not among the methods")
        return
    tests = paired_t_tests(all_rows(outcomes, "test"), REFERENCE, ("auc", "ap", "f1"))
    page.table("t_tests", tests, f"Paired t-tests against {REFERENCE}, over seeds")
    rows = all_patient_rows(outcomes)
    tests = paired_t_tests(rows, REFERENCE, ("auc", "ap", "f1"))
    page.table(
        "patients",
        tests,
        f"Paired t-tests against {REFERENCE}, over the "
        f"{split.n_test_patients_with_anomaly} test patients with an anomaly: mean of "
        "their differences with its 95 % t interval (how often that covers: "
        "interval_coverage)",
    )


def draw_figures(page: Page, split: Split, outcomes: Iterable[Outcome]) -> None:
    """Draw roc.png, froc.png and montage.png."""
    import numpy as np

    from benchmarks.lib.summary import draw_montage
    from skadm.metrics import lesion_froc_curve
    from skadm.plotting import plot_froc, plot_roc

    fpr = np.linspace(0, 1, 501) ** 2  # densest where curves are steepest
    methods = by_method(outcomes)
    curves, areas = {}, {}
    for method, runs in methods.items():
        rates = [np.interp(fpr, *run.result.roc) for run in runs]
        # A curve begins at (0, 0) and may rise at once.
        curves[method] = np.append(0, fpr), np.append(0, np.mean(rates, axis=0)), None
        areas[method] = np.mean([run.result.rows[-1]["auc"] for run in runs])
    page.figure("roc", plot_roc(curves, areas), "ROC curves of the test, mean over seeds")

    labels, groups = split.labels[split.test], split.stack.groups[split.test]
    first = {name: runs[0].load_maps().test for name, runs in methods.items()}
    page.figure(
        "froc",
        plot_froc(
            {name: lesion_froc_curve(labels, m, groups)[:2] for name, m in first.items()}
        ),
        "Lesions found against false positives for each volume, first seed",
    )
    caption = "Scans, lesion outlines and score maps, first seed"
    page.figure("montage", draw_montage(split, first), caption)


def baseline_verdict(rows: Iterable[dict[str, Any]], baselines: Iterable[str]) -> str:
    """Name the methods that are below the best of the baselines on the test patients.

    One line: for AUC and for AP, the best baseline and the methods below it, pixels pooled.
    Whether other patients would give the same order, `paired_t_tests` tells.
    """
    from skadm.evaluation._tables import title
    from skadm.evaluation._verdict import tested_rows

    tested = tested_rows(rows)
    names = set(baselines)
    simple = [row for row in tested if row["method"] in names]
    others = [row for row in tested if row["method"] not in names]
    if not simple or not others:
        return "Nothing to compare: there is no baseline, or no method beside them."
    parts = []
    for metric in ("auc", "ap"):
        best = max(simple, key=lambda row: row[metric])
        below = [row["method"] for row in others if row[metric] < best[metric]]
        names_below = ", ".join(below) or "none"
        if len(below) == len(others) > 1:
            names_below = f"all ({names_below})"
        parts.append(
            f"Best baseline by {title(metric)}: {best['method']} ({best[metric]:.3f}), "
            f"above {names_below}."
        )
    return " ".join(parts)


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
    options = read_options(__name__, argv)

    from benchmarks.lib.data import load_split
    from benchmarks.lib.methods import choose, method_names, plan
    from benchmarks.lib.page import Page
    from benchmarks.lib.published import beside_published
    from benchmarks.lib.runs import carry_out
    from benchmarks.lib.summary import (
        all_patient_rows,
        all_rows,
        in_a_line,
        mean_over_seeds,
        table,
    )
    from skadm.evaluation import format_table, intensity_baselines, summarise_seeds, verdict

    methods = choose(options.methods, method_names())
    split = load_split(options)
    contrasts = split.stack.contrasts
    baselines, left_out = intensity_baselines(contrasts)
    runs = plan(methods, baselines, contrasts, options)
    heading = heading_of(options, split)
    page = Page(options, "Comparison (Tables 1 and 2)", "\n".join(heading))
    print("\n".join(heading), flush=True)
    try:
        outcomes = list(carry_out(runs, split, options.cache))
    except KeyboardInterrupt:
        say(f"interrupted; what is done is in {options.cache}: the same command resumes")
        return 130

    failures = {o.run: in_a_line(o.error) for o in outcomes if o.error is not None}
    rows = all_rows(outcomes)
    errors = [
        {"method": run.method, "seed": run.seed, "error": error}
        for run, error in failures.items()
    ]
    page.rows("compare", rows + errors)
    page.rows("per_patient", all_patient_rows(outcomes))
    tables = {side: table(side, outcomes, left_out) for side in ("test", "validation")}
    for side, shown in tables.items():
        page.table(side, shown, side.capitalize())
    summary = summarise_seeds(rows)
    if rows:
        more = more_metrics(outcomes, split)
        means = mean_over_seeds(more, ["method"], list(more[0])[2:])
        page.table("more_metrics", more, "More metrics (test)", means)
        show_statistics(page, outcomes, split)
        page.table(
            "published",
            beside_published(summary, "comparison"),
            "Beside the published numbers, which are of other patients "
            "and of test sets enlarged by augmentation",
        )
        draw_figures(page, split, outcomes)
    verdicts = [
        verdict(summary, all_patient_rows(outcomes)),
        baseline_verdict(summary, baselines),
    ]
    print("\n" + "\n".join(verdicts))
    markdown = [
        f"{side.capitalize()}:\n\n{format_table(shown, markdown=True)}"
        for side, shown in tables.items()
    ]
    (options.out / "table.md").write_text(
        "\n\n".join([*heading, *markdown, *verdicts]) + "\n", encoding="utf-8"
    )
    page.close(
        split.describe(),
        parameters={
            run.method: run.detector.get_params() for run in runs if run not in failures
        },
        failed={run.title: error for run, error in failures.items()},
    )
    return 1 if failures else 0
