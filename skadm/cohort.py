"""Anomaly maps of many patients: one task for each volume, on one machine or on many."""

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
from skadm._pipelines import as_seen, last_step, scored_unit
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
    """What became of the volumes of a cohort; see `score_cohort`."""

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
    """Score volumes and write their maps as NIfTI files, each volume on its own.

    Every volume is one task of joblib, which is given paths, reads, scores and writes. So
    neither the images nor the maps travel, and no process holds more than one volume,
    whatever their number. Tasks run where `joblib.parallel_config` says: in processes of
    this machine, or on a cluster of Dask or Ray whose workers see the same files.

    Volumes that are named as BIDS names them have maps that are, too, each with a sidecar:
    ``sub-01_desc-anomaly_statmap.nii.gz``, ``_desc-anomaly_mask`` and
    ``_desc-uncertainty_statmap``.

    Of a volume that lacks a contrast, ``<volume>_supplied.json`` says which contrasts the
    model supplied from the others, beside the maps. Of a volume that was scored with
    warnings, ``<volume>_warnings.json`` tells these; of a `FlaggedShareWarning`, the
    flagged share of the brain and the one to be expected from the training as well.

    Parameters
    ----------
    model : detector, Pipeline or path
        A fitted detector of pixels, a `Pipeline` that ends in one, or the file that
        `skadm.save` wrote one to. An object travels with every task; a file is read once
        by every process.
    stack : SliceStack
        The slices. Slices of a volume that it does not hold are not scored.
    folder : path
        Where to write; made if it does not exist.
    kinds : sequence of {"anomaly", "segmentation", "uncertainty"}, default=("anomaly",)
        Maps to write, each to ``<volume>_<kind>.nii.gz``: the first two as `write_scores`
        does; the third, of an `EnsembleDetector`, how far its members disagree (0 outside
        the brain), which scores each volume once more.
    existing : {"raise", "skip", "replace"}, default="raise"
        What to do about files that exist: refuse to begin, write only those that are
        missing (whatever model the others are from), or write all anew.
    n_jobs : int, default=None
        Number of volumes at a time; -1 for as many as there are processors. None: what
        `joblib.parallel_config` says, or else 1.
    on_start : callable, default=None
        Called in this process when the task of a volume is handed out, with the volume's
        name, its number (from 1) and the number of volumes to score.

    Returns
    -------
    CohortReport
        An object with these attributes: `files` that were written; volumes `skipped`, since
        all their files existed; `failures`, the error of each volume without maps;
        `supplied`, the contrasts that the model supplied, and `warned`, the warnings, of
        each volume with any. A volume that fails does not stop others.

    Raises
    ------
    FileExistsError
        If a file exists and `existing` is "raise"; nothing is scored then.
    FileNotFoundError
        If the file of the model does not exist.
    ValueError
        If the model is not a fitted detector of pixels or learned other contrasts, cannot
        tell its uncertainty, or `kinds` or `existing` is not as above.

    Warns
    -----
    UserWarning
        Of what was warned of while a volume was scored, in whatever process, with the name
        of the volume.
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
    # No batches: a volume takes seconds, and what fails or is killed should be small.
    results = joblib.Parallel(n_jobs=n_jobs, batch_size=1)(
        # Workers may have another working directory.
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
    """What became of a volume."""

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
    """Write what a detector says of some slices, on the grid of the original images.

    Scores are normality, (n_slices, H, W). Of each volume the files are
    those of `map_file`: "anomaly", higher = more abnormal, outside the brain the
    lowest of the training; "segmentation", 1 where the detector calls a pixel an anomaly.
    Files that exist are replaced.
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
        raise ValueError(f"kinds are {kinds!r}; expected a sequence of some of {known}")


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
        except Exception as raised:  # of whatever kind: the other patients are to be scored
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
    detector, files = as_seen(model, stack)
    stack = files.in_memory()
    for volume in files.volumes:  # each is read once: the next one has its memory
        volume.source.release()
    of_scores = [kind for kind in kinds if kind in KINDS]
    scores = detector.score_samples(stack) if of_scores else None
    spread = detector.uncertainty(stack) if UNCERTAINTY in kinds else None
    # It scored them: what they lack it has supplied.
    supplied = missing_names(stack.X, stack.contrasts)
    # First, so that no map is ever without them.
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
    """Tell beside the maps of a volume what was warned of; nothing if nothing was."""
    warned = [warning for warning in caught if isinstance(warning, UserWarning)]
    record: dict[str, Any] = {"warnings": list(dict.fromkeys(map(str, warned)))}
    for warning in warned:
        if isinstance(warning, FlaggedShareWarning):
            record |= {"flagged_share": warning.share, "expected_share": warning.expected}
    _write_record(record if warned else None, "warnings", stack, folder)


def _write_supplied(supplied: Sequence[str], stack: SliceStack, folder: Path) -> None:
    """Say beside the maps of a volume what was supplied; nothing if nothing was."""
    record = {"contrasts": list(stack.contrasts), "supplied": list(supplied)}
    _write_record(record if supplied else None, "supplied", stack, folder)


def _write_record(
    record: dict[str, Any] | None, name: str, stack: SliceStack, folder: Path
) -> None:
    path = folder / f"{stack.volumes[0].name}_{name}.json"
    if record is None:
        path.unlink(missing_ok=True)  # of an earlier run, when there was one
        return
    write_text(path, json.dumps(record, indent=2) + "\n")


def _check_model(model: Any, stack: SliceStack, kinds: Sequence[str]) -> None:
    detector = last_step(model)
    if not isinstance(detector, Detector) or scored_unit(detector) != "pixel":
        raise ValueError(
            f"the model is a {type(detector).__name__}; expected a detector of pixels, or "
            "a Pipeline that ends in one"
        )
    check_is_fitted(detector, ["offset_", "background_score_"])
    if UNCERTAINTY in kinds and not hasattr(detector, "uncertainty"):
        raise ValueError(
            f"the model is a {type(detector).__name__}, which does not tell how uncertain "
            "its scores are; an EnsembleDetector does"
        )
    learned = getattr(detector, "contrasts_", None)
    if learned is not None and learned != stack.contrasts:
        raise ValueError(
            f"the stack has contrasts {stack.contrasts}; the model learned {learned}"
        )


def _loaded(model: Any) -> Any:
    return _load(model, model.stat().st_mtime_ns) if isinstance(model, Path) else model


# Workers of a cluster outlive a cohort: a file that has changed since is another model.
@lru_cache(maxsize=1)
def _load(path: Path, modified: int) -> Any:
    return load(path)
