"""Files from which a training that was interrupted goes on."""

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
    """Where trainings are kept while they run, so that an interruption costs little.

    A `fit` that finds the checkpoints of the same training (same slices, parameters and
    version, whichever estimator object they were made by) goes on from them, and ends, on
    the same machine, with the same weights to the bit as one that was never interrupted.
    Ctrl-C and SIGTERM end a training after the batch under way, with a checkpoint; after a
    crash, the last one is there. Trainings do not meet: each has files of its own, so that
    one folder serves a grid search, whose finished fits are then not repeated either.
    Delete the folder when all is done.

    Parameters
    ----------
    folder : str or path
        Made if it does not exist.
    minutes : float, default=None
        Least time between two checkpoints, which are then written after a batch. None:
        after every epoch.

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
            raise ValueError(f"minutes={self.minutes!r}; expected a number, or None")

    def file(self, key: str, number: int, stage: str) -> "CheckpointFile":
        """The file of one stage of a training.

        Parameters
        ----------
        key : str
            Of the training, as `fingerprint` makes it.
        number : int
            Of the stage.
        stage : str
            Its name.

        Returns
        -------
        file : CheckpointFile
        """
        folder = Path(self.folder).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        return CheckpointFile(folder / f"{key}-{number}-{stage}.npz", self.minutes)


class CheckpointFile:
    """One file, written again and again; always a whole one.

    `minutes` is the least time between two writes while an epoch runs. None: never while
    one runs.
    """

    def __init__(self, path: Path, minutes: float | None = None) -> None:
        self.path = path
        self._minutes = minutes
        self._written = time.monotonic()

    def due(self, epoch_ended: bool) -> bool:
        """Whether it is time to write."""
        if self._minutes is None:
            return epoch_ended
        return time.monotonic() - self._written >= 60 * self._minutes

    def write(self, state: Any) -> None:
        """Put a state, nested dicts and lists of arrays and numbers, in place of the last.

        If it cannot be written, as on a full disk, the one before it is kept.
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
        """The last state, or None; a ValueError if the file is not a checkpoint."""
        if not self.path.exists():
            return None
        try:
            with np.load(self.path, allow_pickle=False) as file:
                arrays = [file[f"array{index}"] for index in range(len(file.files) - 1)]
                return _with_arrays(json.loads(str(file["state"])), arrays)
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{self.path} is damaged, or not a checkpoint ({error}): delete it, and "
                "this stage of the training starts anew"
            ) from error


def fingerprint(settings: dict[str, Any], images: Iterable[NDArray]) -> str:
    """Tell trainings apart: a hash of parameters and slices, in memory or on disk.

    The text of a parameter's value must say all of it.
    """
    digest = hashlib.blake2b(repr(sorted(settings.items())).encode(), digest_size=12)
    for array in map(np.atleast_1d, images):
        digest.update(repr((array.shape, array.dtype.str)).encode())
        for rows in row_chunks(len(array), array[:1].nbytes):
            digest.update(np.ascontiguousarray(array[rows]).data)
            release(array)
    return digest.hexdigest()


def _without_arrays(value: Any, arrays: list[NDArray]) -> Any:
    """What JSON can hold; arrays are moved to the list, their places marked."""
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
