"""Grid searches that cache each finished candidate."""

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import (
    BaseCrossValidator,
    GridSearchCV,
    GroupKFold,
    ParameterGrid,
    PredefinedSplit,
)

from benchmarks.lib.data import Split
from benchmarks.lib.fingerprints import code_fingerprint, data_fingerprint
from benchmarks.lib.options import say
from benchmarks.lib.runs import open_cache, stages_of
from skadm.base import BaseDetector

Scorer = Callable[[Any, Any, Any], float]


def search(
    detector: BaseDetector,
    grid: Mapping[str, Sequence[Any]],
    split: Split,
    slices: NDArray[np.intp],
    folds: BaseCrossValidator,
    scorers: Mapping[str, Scorer],
    options: argparse.Namespace,
) -> list[dict[str, Any]]:
    """Compute the mean scores of each candidate of a grid over folds.

    Each candidate is a separate `GridSearchCV`, so an interrupted search resumes. A row
    holds its parameters, and for each scorer the mean, the standard deviation over folds
    (such as auc_std), and the values of the folds (such as auc_folds).
    """
    code = code_fingerprint(type(detector), *(type(scorer) for scorer in scorers.values()))
    memory = open_cache(options.cache / f"search-{code}")
    if "memory" in detector.get_params():
        detector = clone(detector).set_params(memory=stages_of(detector, options.cache))
    stack, labels = split.stack[slices], split.labels[slices]
    fit = memory.cache(_scores, ignore=["detector", "stack", "labels", "folds", "scorers"])
    rows = []
    candidates = list(ParameterGrid(dict(grid)))
    for number, candidate in enumerate(candidates, start=1):
        started = time.perf_counter()
        changed = clone(detector).set_params(**candidate)
        parameters = {k: v for k, v in changed.get_params().items() if k != "memory"}
        key = json.dumps(
            {
                "detector": type(detector).__name__,
                "parameters": parameters,
                "data": data_fingerprint(stack),
                "folds": repr(folds),
                "fold_of_slices": getattr(folds, "test_fold", np.array([])).tolist(),
                "scorers": {name: repr(scorer) for name, scorer in scorers.items()},
            },
            default=repr,
        )
        scores = fit(key, changed, stack, labels, folds, dict(scorers))
        rows.append(candidate | scores)
        text = ", ".join(f"{name} {scores[name]:.3f}" for name in scorers)
        seconds = time.perf_counter() - started
        say(f"[{number}/{len(candidates)}] {candidate}: {text} ({seconds:.0f} s)")
    return rows


def by_patient(split: Split, slices: NDArray[np.intp], n_folds: int) -> GroupKFold:
    """Return folds by patient, at most one for each patient."""
    return GroupKFold(min(n_folds, len(np.unique(split.stack.groups[slices]))))


def _scores(
    key: str,
    detector: BaseDetector,
    stack: Any,
    labels: NDArray,
    folds: BaseCrossValidator,
    scorers: dict[str, Scorer],
) -> dict[str, Any]:
    """Scores of one candidate, which `key` tells apart from all others."""
    # Folds that are given beforehand warn of groups, which they do not need.
    groups = None if isinstance(folds, PredefinedSplit) else stack.groups
    fitted = GridSearchCV(
        detector, {}, scoring=scorers, cv=folds, refit=False, error_score="raise"
    ).fit(stack, labels, groups=groups)
    results = fitted.cv_results_
    row: dict[str, Any] = {}
    for name in scorers:
        values = [
            float(results[f"split{i}_test_{name}"][0]) for i in range(fitted.n_splits_)
        ]
        row[name] = float(np.mean(values))
        row[f"{name}_std"] = float(np.std(values))
        row[f"{name}_folds"] = values
    return row
