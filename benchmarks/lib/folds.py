"""Runs over folds of patients."""

import argparse
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.lib.data import Split
from benchmarks.lib.options import say
from benchmarks.lib.runs import Outcome, run_variants
from skadm.base import Detector


def carry_out_folds(
    detectors: Mapping[str, Detector],
    splits: Sequence[Split],
    options: argparse.Namespace,
) -> dict[str, dict[int | None, list[Outcome]]]:
    """Outcomes by method and seed, one for each fold."""
    outcomes: dict[str, dict[int | None, list[Outcome]]] = {}
    for number, split in enumerate(splits, start=1):
        say(f"fold {number} of {len(splits)}")
        for outcome in run_variants(detectors, split, options):
            seeds = outcomes.setdefault(outcome.run.method, {})
            seeds.setdefault(outcome.run.seed, []).append(outcome)
    return outcomes


def pool(outcomes: Iterable[Outcome], splits: Sequence[Split]) -> NDArray[np.float32]:
    """Test maps of one method and seed, (n_slices, H, W), less the threshold of their fold.

    There is an outcome for each split, in their order. Below 0 is an anomaly; NaN where no
    fold tests.
    """
    maps = np.full(splits[0].labels.shape, np.nan, np.float32)
    for outcome, split in zip(outcomes, splits, strict=True):
        threshold = outcome.result.rows[-1]["threshold"]
        maps[split.test] = outcome.load_maps().test - np.float32(threshold)
    return maps
