"""What experiments of a few variants have in common: run them, and show the tables."""

import argparse
from collections.abc import Mapping, Sequence

from benchmarks.lib.budget import with_fewer_epochs
from benchmarks.lib.cache import ResultCache
from benchmarks.lib.page import Page
from benchmarks.lib.runs import Outcome, Run, carry_out, seeded
from benchmarks.lib.split import Split
from benchmarks.lib.summary import all_patient_rows, all_rows, table

from skadm.base import BaseDetector


def run_variants(
    variants: Mapping[str, BaseDetector], split: Split, options: argparse.Namespace
) -> list[Outcome]:
    """Each variant with each seed, or what the cache has of it.

    Parameters
    ----------
    variants : mapping of str to BaseDetector
        Not fitted, with the epochs of their preset.
    split : Split
    options : Namespace
        As `_common.experiment_parser` reads it.

    Raises
    ------
    RuntimeError
        If a run failed: without it the experiment says nothing.
    """
    runs: list[Run] = []
    for name, detector in variants.items():
        if options.budget:
            detector = with_fewer_epochs(detector)
        runs += seeded(name, detector, options.seeds)
    outcomes = list(carry_out(runs, split, ResultCache(options.cache)))
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if failed:
        raise RuntimeError(f"{failed[0].run.title} failed") from failed[0].error
    return outcomes


def show(page: Page, name: str, outcomes: Sequence[Outcome]) -> None:
    """Tables of either side, and CSV files with every number."""
    for side in ("test", "validation"):
        rows = [row for row in all_rows(outcomes) if row["split"] == side]
        page.table(f"{name}_{side}", rows, side.capitalize(), table(side, outcomes))
    page.rows(f"{name}_per_patient", all_patient_rows(outcomes))


def parameters(outcomes: Sequence[Outcome]) -> dict[str, dict]:
    """Of the detector of each run, for run.json."""
    return {outcome.run.title: outcome.run.detector.get_params() for outcome in outcomes}
