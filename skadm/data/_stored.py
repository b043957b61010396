"""Arrays in .npy files, written atomically and memory-mapped."""

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
        """Header of the file."""
        return _header(self.shape, self.dtype)

    @property
    def n_bytes(self) -> int:
        """Size of the file."""
        return len(self.header) + math.prod(self.shape) * self.dtype.itemsize

    def exists(self) -> bool:
        """Whether the file exists; raise a ValueError if its size is wrong."""
        try:
            self._require(self.path.stat().st_size == self.n_bytes)
        except FileNotFoundError:
            return False
        return True

    def write(self, array: NDArray) -> None:
        """Write the file atomically."""
        if array.shape != self.shape or array.dtype != self.dtype:
            raise ValueError(
                f"{self.path}: got an array of {array.dtype} {array.shape}; expected "
                f"{self.dtype} {self.shape}"
            )

        def save(path: Path) -> None:
            with open(path, "wb") as file:
                np.save(file, np.ascontiguousarray(array))

        replace_atomically(self.path, save)

    def map(self) -> NDArray:
        """Return the read-only memory-mapped array."""
        header = self.header
        try:
            with open(self.path, "rb") as file:
                # An empty file cannot be mapped.
                self._require(os.fstat(file.fileno()).st_size == self.n_bytes)
                pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                errno.ENOENT,
                "missing in the cache; build it with stack.cache",
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
                f"{self.path} is damaged; expected an array of {self.dtype} {self.shape} "
                f"in {self.n_bytes} bytes. Delete it and call stack.cache again, which "
                "builds missing files"
            )


@lru_cache(maxsize=256)
def _header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """Return the header of a .npy file, as `numpy.save` writes it."""
    file = BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": dtype.str, "fortran_order": False, "shape": shape}
    )
    return file.getvalue()
