"""Runs of detectors on a split: done once, then read from the cache."""

import argparse
import json
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from joblib import Memory
from joblib.memory import MemorizedFunc
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.callback import CallbackSupportMixin

from benchmarks.lib.budget import with_fewer_epochs
from benchmarks.lib.data import Split
from benchmarks.lib.fingerprints import (
    code_fingerprint,
    data_fingerprint,
    remember_sources,
)
from benchmarks.lib.options import say
from skadm._pipelines import parts_of
from skadm.base import BaseDetector, Detector
from skadm.callbacks import ProgressLog
from skadm.evaluation import evaluate_split
from skadm.metrics import pixel_roc_curve

remember_sources()


class Run(NamedTuple):
    """One method with one seed."""

    method: str
    seed: int | None  # None for a method without anything random
    detector: Detector | Exception  # not fitted; or why there is none

    @property
    def title(self) -> str:
        """For messages."""
        return self.method if self.seed is None else f"{self.method}, seed {self.seed}"


class Result(NamedTuple):
    """What a run gave; rows are as those of `skadm.evaluation.Evaluation`."""

    rows: list[dict[str, Any]]
    patient_rows: list[dict[str, Any]]
    seconds: float  # to train, set the threshold, score and measure
    # `history_` of the detector; empty if it trains no network
    history: list[dict[str, Any]]
    roc: NDArray  # (2, n_points): false and true positive rates on the test slices


class Maps(NamedTuple):
    """Normality maps (n_slices, H, W) of either side of a split."""

    validation: NDArray[np.float32]
    test: NDArray[np.float32]


@dataclass(frozen=True)
class Outcome:
    """What became of a run: a result or an error."""

    run: Run
    result: Result | None = None
    error: Exception | None = None
    # from the cache: those of all runs together can be large
    load_maps: Callable[[], Maps] | None = None


def seeded(method: str, detector: Detector, n_seeds: int) -> list[Run]:
    """A run for each seed; one for a method without anything random."""
    names = _named(detector, "random_state")
    if not names:
        return [Run(method, None, detector)]
    return [
        Run(method, seed, clone(detector).set_params(**dict.fromkeys(names, seed)))
        for seed in range(n_seeds)
    ]


def run_variants(
    variants: Mapping[str, Detector], split: Split, options: argparse.Namespace
) -> list[Outcome]:
    """Each variant with each seed, from the cache where it is there.

    Variants are not fitted, and have the epochs of their preset. A run that fails is a
    RuntimeError, since the experiment is not meaningful without it.
    """
    runs: list[Run] = []
    for name, detector in variants.items():
        if options.budget:
            detector = with_fewer_epochs(detector)
        runs += seeded(name, detector, options.seeds)
    outcomes = list(carry_out(runs, split, options.cache))
    for outcome in outcomes:
        if outcome.error is not None:
            raise RuntimeError(f"{outcome.run.title} failed") from outcome.error
    return outcomes


def carry_out(runs: Sequence[Run], split: Split, cache: Path) -> Iterator[Outcome]:
    """Do each run, or read it from the cache; say what happens."""
    data = data_fingerprint(split.stack)
    remembered = _remembered(cache)
    started = time.perf_counter()
    for number, run in enumerate(runs, start=1):
        minutes = (time.perf_counter() - started) / 60
        head = f"[{number}/{len(runs)}, {minutes:.1f} min] {run.title}:"
        if isinstance(run.detector, Exception):
            say(f"{head} {run.detector}")
            yield Outcome(run, error=run.detector)
            continue
        work = (describe(run, split, data), run.detector, split, cache)
        known = remembered.check_call_in_cache(*work)
        say(f"{head} {f'found in {cache}' if known else 'running'}")
        try:
            result = remembered(*work)[0]
        except Exception as error:  # one broken method must not cost the others
            traceback.print_exc()
            say(f"{head} failed")
            yield Outcome(run, error=error)
            continue
        if not known:
            auc = result.rows[-1]["auc"]
            say(f"{head} {result.seconds:.0f} s, test AUC {auc:.3f}")
        yield Outcome(run, result, load_maps=lambda work=work: remembered(*work)[1])


def is_done(run: Run, split: Split, cache: Path) -> bool:
    """Whether a run is in the cache."""
    if isinstance(run.detector, Exception):
        return False
    data = data_fingerprint(split.stack)
    work = (describe(run, split, data), run.detector, split, cache)
    return _remembered(cache).check_call_in_cache(*work)


def _remembered(cache: Path) -> MemorizedFunc:
    """`train_and_test` with the cache of a folder."""
    return open_cache(cache).cache(train_and_test, ignore=["detector", "split", "cache"])


def open_cache(folder: Path) -> Memory:
    """Results of functions on disk, whose damage shows when they are read."""
    return Memory(folder, verbose=0, compress=3)  # zlib keeps a checksum


def train_and_test(
    run: str, detector: Detector, split: Split, cache: Path
) -> tuple[Result, Maps]:
    """The result, and the normality maps.

    `run` is all that the result depends on, as `describe` tells it. In `cache` are the
    stages of trainings that variants share.
    """
    method, seed = (json.loads(run)[key] for key in ("method", "seed"))
    detector = clone(detector)
    if isinstance(detector, CallbackSupportMixin):
        detector.set_callbacks(ProgressLog(interval=30))
    for part in _parts(detector):
        if "memory" in part.get_params(deep=False):
            part.set_params(memory=stages_of(part, cache))
    done = evaluate_split(
        {method: detector},
        split.stack,
        split.labels,
        train=split.train,
        test=split.test,
        seed=seed,
    )
    maps = Maps(
        *(sides[method].astype(np.float32) for sides in (done.validation_maps, done.maps))
    )
    result = Result(
        rows=done.rows,
        patient_rows=done.patient_rows,
        seconds=done.seconds[method],
        history=getattr(_trained(done.detectors[method]), "history_", []),
        roc=np.array(pixel_roc_curve(split.labels[split.test], maps.test)[:2]),
    )
    return result, maps


def describe(run: Run, split: Split, data: str) -> str:
    """All that the result of a run depends on, for the cache."""
    groups = split.stack.groups
    parameters = run.detector.get_params()
    for name in _named(run.detector, "memory"):  # which does not change the result
        del parameters[name]
    known = {
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
    return json.dumps(known, sort_keys=True, default=repr)


def stages_of(detector: BaseEstimator, cache: Path) -> str:
    """Folder of the trained stages of a detector's class, for its parameter `memory`.

    Variants of a method that begin alike share what they have in common.
    """
    return str(cache / f"stages-{code_fingerprint(type(detector))}")


def _named(detector: Detector, name: str) -> list[str]:
    """Parameters of a name, those of the detectors and filters in it too."""
    parameters = detector.get_params()
    return [key for key in parameters if key.split("__")[-1] == name]


def _parts(detector: Detector) -> list[BaseEstimator]:
    """The detector, and the detectors and filters in it."""
    inner = detector.get_params().values()
    return [detector, *(value for value in inner if isinstance(value, BaseEstimator))]


def _trained(detector: Detector) -> Detector:
    """The fitted detector in one that is made of detectors, the first if there are some."""
    return next(part for part in parts_of(detector) if isinstance(part, BaseDetector))
