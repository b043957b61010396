"""Results of finished runs as files, so that an interrupted benchmark can go on."""

import functools
import hashlib
import inspect
import json
import os
import re
import sys
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skadm.data import SliceStack


class DamagedFileError(Exception):
    """A file of the cache is not what was written."""


@dataclass(frozen=True)
class Result:
    """What one method with one seed gave.

    Attributes
    ----------
    rows, patient_rows : list of dict
        As those of `skadm.evaluation.Evaluation`.
    seconds : float
        To train, set the threshold, score and measure.
    history : list of dict
        `history_` of the detector; empty if it trains no network.
    roc : ndarray of shape (2, n_points)
        False and true positive rates on the test slices.
    """

    rows: list[dict[str, Any]]
    patient_rows: list[dict[str, Any]]
    seconds: float
    history: list[dict[str, Any]]
    roc: NDArray


class Maps(NamedTuple):
    """Normality maps (n_slices, H, W) of either side of a split."""

    validation: NDArray[np.float32]
    test: NDArray[np.float32]


class ResultCache:
    """A folder with a file for each run.

    A run is told by a dict of all that its result depends on. The name of its file holds
    a fingerprint of that dict: whatever changes, the run is not found and is done again.

    Parameters
    ----------
    folder : Path
        Made when it is needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, run: dict[str, Any]) -> Path:
        """Where the result of a run is, or would be."""
        text = json.dumps(run, sort_keys=True, default=repr)
        fingerprint = hashlib.blake2b(text.encode(), digest_size=10).hexdigest()
        method = re.sub(r"\W+", "_", str(run["method"]))
        seed = "" if run["seed"] is None else f"-{run['seed']}"
        return self.folder / f"{method}{seed}-{fingerprint}.npz"

    def load(self, run: dict[str, Any]) -> Result | None:
        """The result of a run, or None if there is none yet.

        Raises
        ------
        DamagedFileError
            If its file cannot be read, all of it.
        """
        path = self.path(run)
        if not path.exists():
            return None
        stored = _read(path, ("result", "roc", *Maps._fields))
        try:
            return Result(**json.loads(str(stored["result"])), roc=stored["roc"])
        except (ValueError, TypeError) as error:
            raise DamagedFileError(f"{path} is damaged: {error}") from error

    def load_maps(self, run: dict[str, Any]) -> Maps:
        """Maps of a run that `load` finds."""
        return Maps(**_read(self.path(run), Maps._fields))

    def save(self, run: dict[str, Any], result: Result, maps: Maps) -> None:
        """Write a result beside, then rename: no half-written file is ever seen."""
        record = asdict(result)
        roc = record.pop("roc")
        path = self.path(run)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with temporary.open("wb") as file:
                np.savez_compressed(
                    file,
                    run=json.dumps(run, sort_keys=True, default=repr),  # for the curious
                    result=json.dumps(record),
                    roc=roc,
                    **maps._asdict(),
                )
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _read(path: Path, names: Iterable[str]) -> dict[str, NDArray]:
    damages = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error)
    try:
        with np.load(path) as archive:
            return {name: archive[name] for name in names}
    except damages as error:
        raise DamagedFileError(f"{path} is damaged: {error}") from error


def data_fingerprint(stack: SliceStack) -> str:
    """Digest of images, labels, contrasts and patients."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr((stack.shape, stack.contrasts, stack.groups.tolist())).encode())
    for image in stack:
        digest.update(np.ascontiguousarray(image))
    digest.update(np.ascontiguousarray(stack.y))
    return digest.hexdigest()


def code_fingerprint(*objects: Any) -> str:
    """Digest of the code of skadm behind classes and functions.

    The version of the package stays the same while its code is worked on; results of the
    code before must not pass for results of the code after.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(modules_behind(*objects)):
        digest.update(_source(str(sys.modules[name].__file__)))
    return digest.hexdigest()


@functools.cache
def _source(path: str) -> bytes:
    """A source file as it was when it was asked for first: it may change during a run."""
    return Path(path).read_bytes()


def remember_sources() -> None:
    """Read the source of all modules of skadm, as soon as they are imported."""
    for name, module in list(sys.modules.items()):
        if name.startswith("skadm.") and module.__file__ is not None:
            _source(str(module.__file__))


def modules_behind(*objects: Any) -> set[str]:
    """Names of the modules of skadm that define objects, or that those modules import."""
    waiting = set()
    for found in objects:
        bases = inspect.getmro(found) if inspect.isclass(found) else (found,)
        waiting |= {base.__module__ for base in bases}
    modules: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in modules or not name.startswith("skadm."):
            continue
        modules.add(name)
        for value in vars(sys.modules[name]).values():
            home = value.__name__ if inspect.ismodule(value) else _home(value)
            waiting.add(home)
    return modules


def _home(value: Any) -> str:
    """Name of the module that defines a value, if the value tells."""
    home = getattr(value, "__module__", None)
    return home if isinstance(home, str) else ""
