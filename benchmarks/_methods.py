"""The methods that are compared, and the runs that this takes."""

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from _budget import with_fewer_epochs
from _runs import Run, seeded

from skadm.detectors import all_detectors
from skadm.presets import make_detector

# DAE whose score is the signed residual of FLAIR and T2: as the baselines, it is told that
# lesions are bright there.
SIGNED = "DAE-signed"


def method_names() -> dict[str, str]:
    """Class name of each method; those that train nothing are among the baselines."""
    names = (name for name, _ in all_detectors() if name != "IntensityDetector")
    return {name.removesuffix("Detector"): name for name in names} | {SIGNED: "DAEDetector"}


def own_parameters(method: str, contrasts: Sequence[str]) -> dict[str, Any]:
    """Parameters of a method beside its preset's."""
    if method != SIGNED:
        return {}
    bright = [name for name in contrasts if name.upper() in ("FLAIR", "T2")]
    if not bright:
        raise ValueError(f"{SIGNED} needs FLAIR or T2; the contrasts are {contrasts}")
    return {"prior": dict.fromkeys(bright, 1.0)}


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
            detector = make_detector(
                method_names()[method], options.preset, **own_parameters(method, contrasts)
            )
        except ValueError as error:  # no such preset, or no such contrast
            runs.append(Run(method, None, error))
            continue
        if options.budget:
            detector = with_fewer_epochs(detector)
        runs += seeded(method, detector, options.seeds)
    return runs + [Run(name, None, detector) for name, detector in baselines.items()]


def add_methods(arguments: argparse.ArgumentParser) -> None:
    """Add the option --methods."""
    arguments.add_argument(
        "--methods",
        nargs="+",
        metavar="NAME",
        choices=method_names(),
        default=list(method_names()),
        help="class names without 'Detector'",
    )
