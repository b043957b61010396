"""Anomaly maps of many patients, with one joblib task per volume."""

import json
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from skadm._failure import warnings_of_scan
from skadm._files import write_text
from skadm._missing import missing_names
from skadm._pipelines import last_step, scored_unit, unwrap_with_input
from skadm._reference import FlaggedShareWarning
from skadm._version import __version__
from skadm.base import Detector
from skadm.data import SliceStack, write_maps
from skadm.io import load
from skadm.metrics import anomaly_map

__all__ = ["score_cohort"]

KINDS = ("anomaly", "segmentation")
UNCERTAINTY = "uncertainty"
# Names of a map's file after that of its volume, as BIDS has them for derivatives.
_BIDS_ENDINGS = {
    "anomaly": "desc-anomaly_statmap",
    "segmentation": "desc-anomaly_mask",
    UNCERTAINTY: "desc-uncertainty_statmap",
}
_BIDS_VOLUME = re.compile(r"sub-[A-Za-z0-9]+(_ses-[A-Za-z0-9]+)?")
_DESCRIPTIONS = {
    "anomaly": "Anomaly score, higher is more abnormal; the lowest outside the brain",
    "segmentation": "1 where the anomaly score is above the threshold",
    UNCERTAINTY: "Standard deviation of the scores of the members of an ensemble",
}
_EXISTING = ("raise", "skip", "replace")


@dataclass(frozen=True)
class CohortReport:
    """Outcome of scoring a cohort; see `score_cohort`."""

    files: list[Path]
    skipped: list[str]
    failures: dict[str, str]
    supplied: dict[str, tuple[str, ...]]
    warned: dict[str, tuple[str, ...]]


def score_cohort(
    model: Any,
    stack: SliceStack,
    folder: str | PathLike[str],
    *,
    kinds: Sequence[str] = ("anomaly",),
    existing: str = "raise",
    n_jobs: int | None = None,
    on_start: Callable[[str, int, int], Any] | None = None,
) -> CohortReport:
    """Score volumes in parallel and write their maps as NIfTI files.

    Every volume is one joblib task, which gets paths, reads, scores and writes. So images
    and maps are not sent between processes, and no process holds more than one volume.
    Tasks run as configured by `joblib.parallel_config`: in local processes, or on a Dask
    or Ray cluster with a shared file system.

    Maps of volumes with BIDS names have BIDS names too, each with a sidecar:
    ``sub-01_desc-anomaly_statmap.nii.gz``, ``_desc-anomaly_mask`` and
    ``_desc-uncertainty_statmap``.

    For a volume with missing contrasts, ``<volume>_supplied.json`` lists the contrasts
    that the model supplied from the others. For a volume with warnings,
    ``<volume>_warnings.json`` lists them; for a `FlaggedShareWarning` also the flagged
    and the expected fraction of the brain.

    Parameters
    ----------
    model : detector, Pipeline or path
        A fitted pixel detector, a `Pipeline` that ends in one, or a file written by
        `skadm.save`. An object is sent with every task; a file is read once per process.
    stack : SliceStack
        The slices. Slices not in the stack are not scored.
    folder : path
        Output folder; created if it does not exist.
    kinds : sequence of {"anomaly", "segmentation", "uncertainty"}, default=("anomaly",)
        Maps to write, each to ``<volume>_<kind>.nii.gz``: the first two as in
        `write_scores`; the third, for an `EnsembleDetector`, the standard deviation of
        its members (0 outside the brain), which scores each volume once more.
    existing : {"raise", "skip", "replace"}, default="raise"
        Whether existing files raise an error before scoring, are skipped (without
        checking which model wrote them), or are replaced.
    n_jobs : int, default=None
        Number of volumes in parallel; -1 uses all processors. None: as set by
        `joblib.parallel_config`, or 1.
    on_start : callable, default=None
        Called in this process when the task of a volume is dispatched, with the volume's
        name, its number (from 1) and the number of volumes to score.

    Returns
    -------
    CohortReport
        Object with the attributes `files` (written files), `skipped` (volumes whose files
        all existed), `failures` (error of each volume without maps), and for each volume
        with any, `supplied` (contrasts supplied by the model) and `warned` (warnings). A
        failed volume does not stop the others.

    Raises
    ------
    FileExistsError
        If a file exists and `existing` is "raise"; nothing is scored.
    FileNotFoundError
        If the file of the model does not exist.
    ValueError
        If the model is not a fitted pixel detector, was trained on other contrasts or has
        no uncertainty, or `kinds` or `existing` is invalid.

    Warns
    -----
    UserWarning
        Warnings issued while scoring a volume, in any process, with the name of the
        volume.
    """
    _check_kinds(kinds, (*KINDS, UNCERTAINTY))
    if existing not in _EXISTING:
        raise ValueError(f"existing is {existing!r}; expected one of {_EXISTING}")
    if isinstance(model, str | PathLike):
        model = Path(model).expanduser().absolute()
    _check_model(_loaded(model), stack, kinds)
    folder = Path(folder).expanduser()
    wanted = {volume.name: list(kinds) for volume in stack.volumes}
    if existing != "replace":
        for name, kind in product(wanted, kinds):
            if (path := folder / map_file(name, kind)).exists():
                if existing == "raise":
                    raise FileExistsError(f"{path} exists")
                wanted[name].remove(kind)
        if existing == "raise":
            for name in wanted:
                for record in ("supplied", "warnings"):
                    if (path := folder / f"{name}_{record}.json").exists():
                        raise FileExistsError(f"{path} exists")
    todo = {name: missing for name, missing in wanted.items() if missing}
    folder.mkdir(parents=True, exist_ok=True)
    # No batches: a volume takes seconds, and little work is lost if a task fails.
    results = joblib.Parallel(n_jobs=n_jobs, batch_size=1)(
        # Workers may have a different working directory.
        _tasks(model, stack, folder.absolute(), todo, on_start)
    )
    outcomes: dict[str, _Outcome] = dict(zip(todo, results))
    failures = {name: outcome.error for name, outcome in outcomes.items() if outcome.error}
    for name, outcome in outcomes.items():
        for text, category in outcome.warned.items():
            warnings.warn(f"{name}: {text}", category, stacklevel=2)
    return CohortReport(
        files=[
            folder / map_file(name, kind)
            for name, missing in todo.items()
            if name not in failures
            for kind in missing
        ],
        skipped=[name for name in wanted if name not in todo],
        failures=failures,
        supplied={
            name: outcome.supplied
            for name, outcome in outcomes.items()
            if outcome.supplied and not outcome.error
        },
        warned={
            name: tuple(outcome.warned)
            for name, outcome in outcomes.items()
            if outcome.warned
        },
    )


class _Outcome(NamedTuple):
    """Outcome of scoring a volume."""

    error: str
    supplied: tuple[str, ...]
    warned: dict[str, type[Warning]]


def write_scores(
    scores: NDArray,
    stack: SliceStack,
    folder: str | PathLike[str],
    detector: Any,
    *,
    kinds: Sequence[str] = ("anomaly",),
) -> list[Path]:
    """Write scores and segmentations of slices on the grid of the original images.

    Scores are normality maps (n_slices, H, W). The files of each volume are those of
    `map_file`: "anomaly", higher = more abnormal, with the lowest value of the training
    outside the brain; "segmentation", 1 for pixels predicted as anomaly. Existing files are
    replaced.
    """
    _check_kinds(kinds, KINDS)
    files = []
    threshold = float(anomaly_map(detector.offset_))
    for kind in kinds:
        if kind == "anomaly":
            maps, fill = anomaly_map(scores), float(anomaly_map(detector.background_score_))
        else:
            maps, fill = scores < np.float32(detector.offset_), 0.0
        files += _write_kind(maps, stack, folder, kind, fill, threshold)
    return files


def map_file(name: str, kind: str) -> str:
    """File of a map: ``<volume>_<kind>.nii.gz``, or as BIDS has it for a volume of BIDS."""
    ending = _BIDS_ENDINGS[kind] if _BIDS_VOLUME.fullmatch(name) else kind
    return f"{name}_{ending}.nii.gz"


def _write_kind(
    maps: NDArray,
    stack: SliceStack,
    folder: str | PathLike[str],
    kind: str,
    fill: float,
    threshold: float | None = None,
) -> list[Path]:
    """Write maps of one kind; beside those with names of BIDS what they are."""
    files = []
    for volume, places in stack.volume_places():
        file = map_file(volume.name, kind)
        suffix = file.removeprefix(volume.name).removesuffix(".nii.gz")
        files += write_maps(
            maps[places], stack[places], folder, suffix=suffix, fill=fill, force=True
        )
        if _BIDS_VOLUME.fullmatch(volume.name):
            record: dict[str, Any] = {"Description": _DESCRIPTIONS[kind]}
            if threshold is not None:
                record["Threshold"] = threshold
            record["GeneratedBy"] = [{"Name": "skadm", "Version": __version__}]
            text = json.dumps(record, indent=2) + "\n"
            write_text(Path(folder) / file.replace(".nii.gz", ".json"), text)
    return files


def _check_kinds(kinds: Sequence[str], known: Sequence[str]) -> None:
    if isinstance(kinds, str) or not kinds or not set(kinds) <= set(known):
        raise ValueError(
            f"kinds are {kinds!r}; expected a sequence of names out of {known}"
        )


def _tasks(
    model: Any,
    stack: SliceStack,
    folder: Path,
    todo: dict[str, list[str]],
    on_start: Callable[[str, int, int], Any] | None,
) -> Iterator[Any]:
    ids = stack.volume_ids
    for number, (name, kinds) in enumerate(todo.items(), start=1):
        if on_start is not None:
            on_start(name, number, len(todo))
        slices = stack[np.flatnonzero(ids == name)]
        yield joblib.delayed(_score_volume)(model, slices, folder, kinds)


def _score_volume(
    model: Any, stack: SliceStack, folder: Path, kinds: Sequence[str]
) -> _Outcome:
    """Score one volume."""
    error = ""
    supplied: tuple[str, ...] = ()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            supplied = _write_volume(_loaded(model), stack, folder, kinds, caught)
        except Exception as raised:  # any error: score the other patients
            error = f"{type(raised).__name__}: {raised}"
    return _Outcome(error, supplied, warnings_of_scan(caught))


def _write_volume(
    model: Any,
    stack: SliceStack,
    folder: Path,
    kinds: Sequence[str],
    caught: Sequence[warnings.WarningMessage],
) -> tuple[str, ...]:
    """Score one volume and write its maps; return the contrasts supplied."""
    detector, files = unwrap_with_input(model, stack)
    stack = files.in_memory()
    for volume in files.volumes:  # each is read once: free its memory
        volume.source.release()
    of_scores = [kind for kind in kinds if kind in KINDS]
    scores = detector.score_samples(stack) if of_scores else None
    spread = detector.uncertainty(stack) if UNCERTAINTY in kinds else None
    # Scoring succeeded, so the model supplied the missing contrasts.
    supplied = missing_names(stack.X, stack.contrasts)
    # Before the maps, so that no map exists without this record.
    _write_supplied(supplied, stack, folder)
    _write_warnings([warned.message for warned in caught], stack, folder)
    if scores is not None:
        write_scores(scores, stack, folder, detector, kinds=of_scores)
    if spread is not None:
        _write_kind(spread, stack, folder, UNCERTAINTY, 0.0)
    return supplied


def _write_warnings(
    caught: Sequence[Warning | str], stack: SliceStack, folder: Path
) -> None:
    """Write the warnings of a volume, if any, beside its maps."""
    warned = [warning for warning in caught if isinstance(warning, UserWarning)]
    record: dict[str, Any] = {"warnings": list(dict.fromkeys(map(str, warned)))}
    for warning in warned:
        if isinstance(warning, FlaggedShareWarning):
            record |= {"flagged_share": warning.share, "expected_share": warning.expected}
    _write_record(record if warned else None, "warnings", stack, folder)


def _write_supplied(supplied: Sequence[str], stack: SliceStack, folder: Path) -> None:
    """Write the supplied contrasts of a volume, if any, beside its maps."""
    record = {"contrasts": list(stack.contrasts), "supplied": list(supplied)}
    _write_record(record if supplied else None, "supplied", stack, folder)


def _write_record(
    record: dict[str, Any] | None, name: str, stack: SliceStack, folder: Path
) -> None:
    path = folder / f"{stack.volumes[0].name}_{name}.json"
    if record is None:
        path.unlink(missing_ok=True)  # from an earlier run
        return
    write_text(path, json.dumps(record, indent=2) + "\n")


def _check_model(model: Any, stack: SliceStack, kinds: Sequence[str]) -> None:
    detector = last_step(model)
    if not isinstance(detector, Detector) or scored_unit(detector) != "pixel":
        raise ValueError(
            f"the model is a {type(detector).__name__}; expected a pixel detector, or a "
            "Pipeline that ends in one"
        )
    check_is_fitted(detector, ["offset_", "background_score_"])
    if UNCERTAINTY in kinds and not hasattr(detector, "uncertainty"):
        raise ValueError(
            f"the model is a {type(detector).__name__}, which has no uncertainty; "
            "expected an EnsembleDetector"
        )
    learned = getattr(detector, "contrasts_", None)
    if learned is not None and learned != stack.contrasts:
        raise ValueError(
            f"the stack has contrasts {stack.contrasts}; expected {learned}, on which "
            "the model was trained"
        )


def _loaded(model: Any) -> Any:
    return _load(model, model.stat().st_mtime_ns) if isinstance(model, Path) else model


# Cluster workers are long-lived: a changed file is another model.
@lru_cache(maxsize=1)
def _load(path: Path, modified: int) -> Any:
    return load(path)
