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
from sklearn.base import BaseEstimator, clone
from sklearn.callback import CallbackSupportMixin

from skadm._parts import parts_of
from skadm.base import BaseDetector, MapDetector
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
    detector : MapDetector or Exception
        Not fitted; or why there is none.
    """

    method: str
    seed: int | None
    detector: MapDetector | Exception

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
    for name in _named(run.detector, "memory"):  # which does not change the result
        del parameters[name]
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
        "code": code_fingerprint(*map(type, _parts(run.detector)), evaluate_split),
    }


def seeded(method: str, detector: MapDetector, n_seeds: int) -> list[Run]:
    """A run for each seed; one for a method without anything random."""
    names = _named(detector, "random_state")
    if not names:
        return [Run(method, None, detector)]
    return [
        Run(method, seed, clone(detector).set_params(**dict.fromkeys(names, seed)))
        for seed in range(n_seeds)
    ]


def _named(detector: MapDetector, name: str) -> list[str]:
    """Parameters of a name, those of the detectors and filters in it too."""
    parameters = detector.get_params()
    return [each for each in parameters if each.split("__")[-1] == name]


def _parts(detector: MapDetector) -> list[BaseEstimator]:
    """The detector, and the detectors and filters in it."""
    inner = detector.get_params().values()
    return [detector, *(each for each in inner if isinstance(each, BaseEstimator))]


def train_and_test(run: Run, split: Split, cache: ResultCache) -> tuple[Result, Maps]:
    """The result, and the normality maps."""
    detector = clone(run.detector)
    if isinstance(detector, CallbackSupportMixin):
        detector.set_callbacks(ProgressLog(interval=30))
    for part in _parts(detector):
        if "memory" in part.get_params(deep=False):
            # Variants of a method that begin alike share what they have in common.
            code = code_fingerprint(type(part))
            part.set_params(memory=str(cache.folder / f"stages-{code}"))
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
        history=getattr(_trained(found.detectors[run.method]), "history_", []),
        roc=np.array(pixel_roc_curve(split.labels[split.test], maps.test)[:2]),
    )
    return result, maps


def _trained(detector: MapDetector) -> MapDetector:
    """The fitted detector in one that is made of detectors, the first if there are some."""
    return next(part for part in parts_of(detector) if isinstance(part, BaseDetector))


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
