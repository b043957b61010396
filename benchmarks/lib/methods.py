"""The methods that are compared, and the runs that this takes."""

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.lib.budget import with_fewer_epochs
from benchmarks.lib.data import Split
from benchmarks.lib.runs import Run, seeded
from skadm.base import Detector
from skadm.detectors import all_detectors
from skadm.evaluation import intensity_baselines
from skadm.presets import ADM_PLUS, make_detector

# DAE whose score is the signed residual of FLAIR and T2: as the baselines, it is told that
# lesions are bright there.
SIGNED = "DAE-signed"


def method_names() -> dict[str, str]:
    """Detector of each method, by name; those that train nothing are the baselines."""
    names = (name for name, _ in all_detectors() if name != "IntensityDetector")
    return {name.removesuffix("Detector"): name for name in names} | {
        ADM_PLUS: ADM_PLUS,
        SIGNED: "DAEDetector",
    }


def choose(names: Iterable[str] | None, known: Iterable[str]) -> list[str]:
    """The methods named, each once; all that are known for None."""
    known = list(known)
    if unknown := [name for name in names or () if name not in known]:
        raise ValueError(f"no methods {unknown}; expected some of {known}")
    return known if names is None else list(dict.fromkeys(names))


def parameters_beside_preset(method: str, contrasts: Sequence[str]) -> dict[str, Any]:
    """Parameters of a method that its preset does not hold."""
    if method != SIGNED:
        return {}
    bright = [name for name in contrasts if name.upper() in ("FLAIR", "T2")]
    if not bright:
        raise ValueError(f"{SIGNED} needs FLAIR or T2; the contrasts are {contrasts}")
    return {"prior": dict.fromkeys(bright, 1.0)}


def make_method(method: str, preset: str, contrasts: Sequence[str]) -> Detector:
    """The detector of a method, not fitted."""
    more = parameters_beside_preset(method, contrasts)
    return make_detector(method_names()[method], preset, **more)


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
            detector = make_method(method, options.preset, contrasts)
        except ValueError as error:  # no such preset, or no such contrast
            runs.append(Run(method, None, error))
            continue
        if options.budget:
            detector = with_fewer_epochs(detector)
        runs += seeded(method, detector, options.seeds)
    return runs + [Run(name, None, detector) for name, detector in baselines.items()]


def variants_of(
    options: argparse.Namespace, split: Split, *, smoothed: bool
) -> dict[str, Detector]:
    """Detectors of --methods, by name, and the baseline of most contrasts."""
    contrasts = split.stack.contrasts
    variants: dict[str, Detector] = {
        name: make_method(name, options.preset, contrasts)
        for name in choose(options.methods, method_names())
    }
    baselines, _ = intensity_baselines(contrasts)
    alike = [name for name in baselines if ("smoothed" in name) == smoothed]
    return variants | {name: baselines[name] for name in alike[-1:]}


def make_seeded(name: str, options: argparse.Namespace) -> Detector:
    """The detector of a class, without "Detector", with seed 0 and the options' budget."""
    detector = make_detector(f"{name}Detector", options.preset)
    if "random_state" in detector.get_params():
        detector.set_params(random_state=0)
    return with_fewer_epochs(detector) if options.budget else detector
