"""Runs of detectors on a split: done once, then found in the cache."""

import time
import traceback
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
from _cache import (
    DamagedFileError,
    Maps,
    Result,
    ResultCache,
    code_fingerprint,
    data_fingerprint,
    remember_sources,
)
from _common import say
from _split import Split
from sklearn.base import clone

from skadm.base import BaseDetector
from skadm.callbacks import ProgressLog
from skadm.evaluation import evaluate_split
from skadm.metrics import pixel_roc_curve

remember_sources()


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


def describe(run: Run, split: Split, data: str) -> dict[str, Any]:
    """All that the result of a run depends on, for the cache."""
    groups = split.stack.groups
    parameters = run.detector.get_params()
    parameters.pop("memory", None)  # what it remembers does not change the result
    return {
        "method": run.method,
        "detector": type(run.detector).__name__,
        "parameters": parameters,
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


def seeded(method: str, detector: BaseDetector, n_seeds: int) -> list[Run]:
    """A run for each seed; one for a method without anything random."""
    if "random_state" not in detector.get_params():
        return [Run(method, None, detector)]
    return [
        Run(method, seed, clone(detector).set_params(random_state=seed))
        for seed in range(n_seeds)
    ]


def train_and_test(run: Run, split: Split, cache: ResultCache) -> tuple[Result, Maps]:
    """The result, and the normality maps."""
    detector = clone(run.detector)
    detector.set_callbacks(ProgressLog(interval=30))
    if "memory" in detector.get_params():
        # Variants of a method that begin alike share what they have in common.
        code = code_fingerprint(type(detector))
        detector.set_params(memory=str(cache.folder / f"stages-{code}"))
    found = evaluate_split(
        {run.method: detector},
        split.stack,
        split.labels,
        train=split.train,
        test=split.test,
        seed=run.seed,
    )
    maps = Maps(
        *(
            sides[run.method].astype(np.float32)
            for sides in (found.validation_maps, found.maps)
        )
    )
    result = Result(
        rows=found.rows,
        patient_rows=found.patient_rows,
        seconds=found.seconds[run.method],
        history=getattr(found.detectors[run.method], "history_", []),
        roc=np.array(pixel_roc_curve(split.labels[split.test], maps.test)[:2]),
    )
    return result, maps


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
            result, maps = train_and_test(run, split, cache)
        except Exception as error:  # one broken method must not cost the others
            traceback.print_exc()
            say(f"{head} failed")
            yield Outcome(run, error=error)
            continue
        cache.save(key, result, maps)
        auc = result.rows[-1]["auc"]
        say(f"{head} {result.seconds:.0f} s, test AUC {auc:.3f}")
        yield Outcome(run, key, result)
