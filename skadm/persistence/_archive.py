"""The container: an uncompressed zip of JSON texts and NumPy arrays, read with distrust."""

import json
import math
import os
import re
import struct
import tokenize
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

# Without zip64, of which no reader has to be afraid then.
MAX_BYTES = 2**31 - 1
MAX_JSON_BYTES = 2**22
_MAX_MEMBERS = 10_000
_MAX_DIRECTORY_BYTES = 2**21
_MAX_NPY_HEADER = 4096

_MEMBER = re.compile(r"card\.json|model\.json|arrays/[0-9]{4}\.npy", re.ASCII)
_NUMBERS_AND_TEXT = "biufU"

# The record at the end of a zip, and what stands before it in one of the zip64 kind.
_END = struct.Struct("<4s4H2LH")
_END_SIGNATURE, _ZIP64_SIGNATURE, _ZIP64_BYTES = b"PK\x05\x06", b"PK\x06\x07", 20
_FIRST_SIGNATURE = b"PK\x03\x04"


def write_archive(
    path: Path, texts: Mapping[str, Any], arrays: Mapping[str, NDArray]
) -> None:
    """Write JSON texts and arrays into one file.

    Parameters
    ----------
    path : Path
        The file, which is replaced.
    texts : mapping of str to JSON
        By name of the member.
    arrays : mapping of str to ndarray
        By name of the member.

    Raises
    ------
    ValueError
        If it would be more than can be read again.
    """
    encoded = {
        name: json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        for name, value in texts.items()
    }
    for name, text in encoded.items():
        if len(text) > MAX_JSON_BYTES:
            raise ValueError(
                f"{name} of the model is {len(text)} bytes; expected at most "
                f"{MAX_JSON_BYTES} beside the arrays."
            )
    n_bytes = sum(array.nbytes for array in arrays.values())
    if n_bytes > MAX_BYTES - 2**24 or len(arrays) > _MAX_MEMBERS - len(texts):
        raise ValueError(
            f"the model has {len(arrays)} arrays of {n_bytes / 2**30:.2f} GiB in all; a "
            f"file holds at most {_MAX_MEMBERS - len(texts)} of just under 2 GiB."
        )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=False) as file:
        for name, text in encoded.items():
            file.writestr(name, text)
        for name, array in arrays.items():
            with file.open(name, "w") as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


@contextmanager
def opened(path: Path, max_bytes: int = MAX_BYTES) -> Iterator["Archive"]:
    """Open a file for reading; whatever is wrong with it is a ValueError.

    Parameters
    ----------
    path : Path
        The file.
    max_bytes : int
        Largest file that is read.

    Yields
    ------
    archive : Archive
        Its members are stored as they are, so that they cannot be more than the file.
    """
    if not path.is_file():
        what = "a folder, and no file" if path.is_dir() else "no such file"
        raise FileNotFoundError(f"{path}: {what}")
    with path.open("rb") as file:
        try:
            yield Archive(file, max_bytes)
        except (
            *(ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError),
            *(RecursionError, RuntimeError, NotImplementedError, SyntaxError),
            *(EOFError, struct.error, tokenize.TokenError, zipfile.BadZipFile),
        ) as error:
            reason = str(error) or type(error).__name__
            raise ValueError(f"{path} cannot be read as a model: {reason}") from error


class Archive:
    """The members of an open file, checked before any of them is read."""

    def __init__(self, file: BinaryIO, max_bytes: int = MAX_BYTES) -> None:
        _check_frame(file, max_bytes)
        self._zip = zipfile.ZipFile(file)
        self._sizes: dict[str, int] = {}
        for member in self._zip.infolist():
            if not _MEMBER.fullmatch(member.filename) or member.filename in self._sizes:
                raise ValueError(
                    f"it has a member {member.filename[:80]!r}, which a model has not, or "
                    "twice."
                )
            # So that nothing grows when it is read: what is stored is as large as it says.
            if (
                member.compress_type != zipfile.ZIP_STORED
                or member.compress_size != member.file_size
                or member.flag_bits
            ):
                raise ValueError(
                    f"its member {member.filename} is compressed or encrypted; expected it "
                    "to be stored as it is."
                )
            self._sizes[member.filename] = member.file_size
        if sum(self._sizes.values()) > os.fstat(file.fileno()).st_size:
            raise ValueError("its members are more than the file.")

    def text(self, name: str) -> Any:
        """Read a JSON text.

        Parameters
        ----------
        name : str
            Name of the member.

        Returns
        -------
        value : dict, list, str, int, float, bool or None
            What the text stands for.
        """
        if self._size(name) > MAX_JSON_BYTES:
            raise ValueError(f"its {name} is more than {MAX_JSON_BYTES} bytes.")
        return json.loads(self._zip.read(name), parse_constant=_refuse_constant)

    def array(self, name: str) -> NDArray:
        """Read an array of numbers or text.

        Parameters
        ----------
        name : str
            Name of the member.

        Returns
        -------
        array : ndarray
            In the memory order it was written in.
        """
        size = self._size(name)
        with self._zip.open(name) as member:
            _check_npy_header(member, name, size)
        with self._zip.open(name) as member:
            return np.lib.format.read_array(
                member, allow_pickle=False, max_header_size=_MAX_NPY_HEADER
            )

    def _size(self, name: str) -> int:
        if name not in self._sizes:
            raise ValueError(f"it has no {name}.")
        return self._sizes[name]


def _check_frame(file: BinaryIO, max_bytes: int) -> None:
    """Look at beginning and end, before `zipfile` believes what they say."""
    size = os.fstat(file.fileno()).st_size
    if size > min(max_bytes, MAX_BYTES):
        raise ValueError(
            f"it has {size} bytes; expected at most {min(max_bytes, MAX_BYTES)}."
        )
    start = file.read(len(_FIRST_SIGNATURE))
    if start != _FIRST_SIGNATURE:
        raise ValueError(
            "it is no file that skadm.save wrote. Pickles (.joblib, .pkl) are not loaded, "
            "since they can run any program: fit the model again and save it with "
            "skadm.save or 'skadm fit'."
        )
    file.seek(max(0, size - _END.size - _ZIP64_BYTES))
    tail = file.read()
    if len(tail) < _END.size or not tail[-_END.size :].startswith(_END_SIGNATURE):
        raise ValueError("it does not end as it should; is it truncated?")
    n_members, directory_bytes = _END.unpack(tail[-_END.size :])[4:6]
    if (
        tail.startswith(_ZIP64_SIGNATURE)
        or n_members > _MAX_MEMBERS
        or directory_bytes > _MAX_DIRECTORY_BYTES
    ):
        raise ValueError(
            f"it lists {n_members} members in {directory_bytes} bytes; expected at most "
            f"{_MAX_MEMBERS} in {_MAX_DIRECTORY_BYTES}."
        )


def _check_npy_header(member: Any, name: str, size: int) -> None:
    """Compare the array that is announced with the bytes that are there."""
    if np.lib.format.read_magic(member) != (1, 0):
        raise ValueError(f"its {name} is not of version 1.0 of the NPY format.")
    shape, _, dtype = np.lib.format.read_array_header_1_0(member, _MAX_NPY_HEADER)
    if dtype.kind not in _NUMBERS_AND_TEXT or not dtype.itemsize:
        raise ValueError(f"its {name} is of type {dtype}; expected numbers or text.")
    announced = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or announced != size - member.tell():
        raise ValueError(
            f"its {name} announces {dtype} of shape {shape}, {announced} bytes; found "
            f"{size - member.tell()}."
        )


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON.")
