"""Checkpoints, from which an interrupted training resumes."""

import hashlib
import json
import math
import os
import time
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skadm._disk import release, row_chunks
from skadm._files import replace_atomically


@dataclass(frozen=True)
class Checkpoints:
    """Checkpoints of running trainings.

    If checkpoints of the same training exist (same slices, parameters and version, from
    any estimator object), `fit` resumes from them. On the same machine, the resulting
    weights are identical to those of an uninterrupted training. Ctrl-C and SIGTERM stop a
    training after the current batch and write a checkpoint; after a crash, the last
    checkpoint is used. Each training has separate files, so one folder can be used for a
    grid search, whose finished fits are not repeated. Delete the folder afterwards.

    Parameters
    ----------
    folder : str or path
        Created if it does not exist.
    minutes : float, default=None
        Minimum time between two checkpoints, which are written after a batch. None: after
        every epoch.

    Raises
    ------
    ValueError
        If `minutes` is not a number of at least 0.

    Examples
    --------
    >>> from skadm import ADMDetector
    >>> from skadm.training import Checkpoints
    >>> detector = ADMDetector(checkpoints=Checkpoints("runs", minutes=10), random_state=0)
    """

    folder: str | os.PathLike
    minutes: float | None = None

    def __post_init__(self) -> None:
        if self.minutes is None:
            return
        if not isinstance(self.minutes, Real) or not 0 <= self.minutes < math.inf:
            raise ValueError(
                f"minutes={self.minutes!r}; expected a number of at least 0, or None"
            )

    def file(self, key: str, number: int, stage: str) -> "CheckpointFile":
        """Return the checkpoint file of one stage of a training.

        Parameters
        ----------
        key : str
            Key of the training, from `fingerprint`.
        number : int
            Number of the stage.
        stage : str
            Name of the stage.

        Returns
        -------
        file : CheckpointFile
        """
        folder = Path(self.folder).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        return CheckpointFile(folder / f"{key}-{number}-{stage}.npz", self.minutes)


class CheckpointFile:
    """One checkpoint file, replaced atomically.

    `minutes` is the minimum time between two writes within an epoch. None: only at the
    end of an epoch.
    """

    def __init__(self, path: Path, minutes: float | None = None) -> None:
        self.path = path
        self._minutes = minutes
        self._written = time.monotonic()

    def due(self, epoch_ended: bool) -> bool:
        """Whether a checkpoint should be written now."""
        if self._minutes is None:
            return epoch_ended
        return time.monotonic() - self._written >= 60 * self._minutes

    def write(self, state: Any) -> None:
        """Write a state: nested dicts and lists of arrays and numbers.

        If writing fails, e.g. on a full disk, the previous checkpoint is kept.
        """
        arrays: list[NDArray] = []
        text = json.dumps(_without_arrays(state, arrays))
        named = {f"array{index}": array for index, array in enumerate(arrays)}

        def write(path: Path) -> None:
            with open(path, "wb") as file:
                np.savez(file, state=np.array(text), **named)  # type: ignore[arg-type]

        replace_atomically(self.path, write)
        self._written = time.monotonic()

    def read(self) -> Any:
        """Read the last state, or None without one; check that the file is valid."""
        if not self.path.exists():
            return None
        try:
            with np.load(self.path, allow_pickle=False) as file:
                arrays = [file[f"array{index}"] for index in range(len(file.files) - 1)]
                return _with_arrays(json.loads(str(file["state"])), arrays)
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{self.path} is damaged or not a checkpoint ({error}). Delete it to "
                "restart this stage of the training"
            ) from error


def fingerprint(settings: dict[str, Any], images: Iterable[NDArray]) -> str:
    """Return a hash of the parameters and slices of a training.

    The repr of a parameter must determine its value.
    """
    digest = hashlib.blake2b(repr(sorted(settings.items())).encode(), digest_size=12)
    for array in map(np.atleast_1d, images):
        digest.update(repr((array.shape, array.dtype.str)).encode())
        for rows in row_chunks(len(array), array[:1].nbytes):
            digest.update(np.ascontiguousarray(array[rows]).data)
            release(array)
    return digest.hexdigest()


def _without_arrays(value: Any, arrays: list[NDArray]) -> Any:
    """Return a JSON-serialisable value; arrays are moved to the list."""
    if isinstance(value, dict):
        return {name: _without_arrays(item, arrays) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_arrays(item, arrays) for item in value]
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {"array": len(arrays) - 1}
    return value


def _with_arrays(value: Any, arrays: list[NDArray]) -> Any:
    if isinstance(value, dict):
        if list(value) == ["array"]:
            return arrays[value["array"]]
        return {name: _with_arrays(item, arrays) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_arrays(item, arrays) for item in value]
    return value
