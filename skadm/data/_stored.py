"""Arrays in .npy files, written as a whole and mapped into memory."""

import errno
import math
import mmap
import os
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skadm._files import replace_atomically


class StoredArray(NamedTuple):
    """A .npy file of known shape and type."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def header(self) -> bytes:
        """What the file begins with."""
        return _header(self.shape, self.dtype)

    @property
    def n_bytes(self) -> int:
        """Size of the file."""
        return len(self.header) + math.prod(self.shape) * self.dtype.itemsize

    def exists(self) -> bool:
        """Whether the file is there; a ValueError if its size is not what it must be."""
        try:
            self._require(self.path.stat().st_size == self.n_bytes)
        except FileNotFoundError:
            return False
        return True

    def write(self, array: NDArray) -> None:
        """Write the file; nobody sees it before it is complete."""
        if array.shape != self.shape or array.dtype != self.dtype:
            raise ValueError(
                f"{self.path}: got an array {array.dtype} {array.shape}; expected "
                f"{self.dtype} {self.shape}, as the volume says"
            )

        def save(path: Path) -> None:
            with open(path, "wb") as file:
                np.save(file, np.ascontiguousarray(array))

        replace_atomically(self.path, save)

    def map(self) -> NDArray:
        """Return the array, read-only; its pages are read when they are looked at."""
        header = self.header
        try:
            with open(self.path, "rb") as file:
                # An empty file cannot be mapped.
                self._require(os.fstat(file.fileno()).st_size == self.n_bytes)
                pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                errno.ENOENT,
                "missing in the cache: build it with stack.cache",
                str(self.path),
            ) from error
        self._require(pages[: len(header)] == header)
        return np.ndarray(self.shape, self.dtype, buffer=pages, offset=len(header))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        """Let NumPy read the file."""
        return np.array(self.map(), dtype=dtype, copy=copy)

    def _require(self, intact: bool) -> None:
        if not intact:
            raise ValueError(
                f"{self.path}: damaged, it is not the array {self.dtype} {self.shape} in "
                f"{self.n_bytes} bytes that was written; delete it and call stack.cache "
                "again, which builds what is missing"
            )


@lru_cache(maxsize=256)
def _header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """Return the beginning of a .npy file, as `numpy.save` writes it."""
    file = BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": dtype.str, "fortran_order": False, "shape": shape}
    )
    return file.getvalue()
