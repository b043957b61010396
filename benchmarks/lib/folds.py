"""Splits of an experiment over folds of patients, and test scores of all folds together."""

from collections.abc import Iterable, Sequence

import numpy as np
from benchmarks.lib.cache import ResultCache
from benchmarks.lib.runs import Outcome
from benchmarks.lib.split import Split
from added_normals import of_contrasts
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from skadm.data import SliceStack


def dealt(name: str, stack: SliceStack, n_folds: int) -> list[Split]:
    """Splits in which each patient is tested once, dealt at random with seed 0.

    Raises
    ------
    ValueError
        If there are fewer patients than folds, or fewer than two folds.
    """
    patients = check_random_state(0).permutation(np.unique(stack.groups))
    if not 2 <= n_folds <= len(patients):
        raise ValueError(
            f"--folds {n_folds}: expected from 2 to {len(patients)}, the patients"
        )
    tests = [np.isin(stack.groups, patients[fold::n_folds]) for fold in range(n_folds)]
    labels = stack.y
    return [Split(name, stack, labels, ~test, test) for test in tests]


def joined(own: SliceStack, other: SliceStack) -> SliceStack:
    """Both data sets, with the contrasts of the first.

    Raises
    ------
    ValueError
        If the other lacks a contrast, or has a patient of the first.
    """
    if missing := set(own.contrasts) - set(other.contrasts):
        raise ValueError(f"--test has no {sorted(missing)}; it has {other.contrasts}")
    if shared := set(own.groups.tolist()) & set(other.groups.tolist()):
        raise ValueError(f"patients of both data sets: {sorted(shared)[:5]}")
    parts = [*of_contrasts(own, own.contrasts), *of_contrasts(other, own.contrasts)]
    return SliceStack.from_volumes(parts)


def pooled(
    outcomes: Iterable[Outcome], splits: Sequence[Split], cache: ResultCache
) -> NDArray[np.float32]:
    """Test maps of one method and seed, less the threshold of their fold.

    Parameters
    ----------
    outcomes : iterable of Outcome
        One for each split, in their order.
    splits : sequence of Split
        Of the same stack.
    cache : ResultCache

    Returns
    -------
    maps : ndarray of shape (n_slices, H, W)
        NaN where no fold tests. Below 0 is an anomaly.
    """
    maps = np.full(splits[0].labels.shape, np.nan, np.float32)
    for outcome, split in zip(outcomes, splits, strict=True):
        threshold = outcome.result.rows[-1]["threshold"]
        maps[split.test] = cache.load_maps(outcome.key).test - np.float32(threshold)
    return maps
