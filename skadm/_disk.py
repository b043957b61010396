"""Arrays that may exceed memory."""

import mmap
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import sklearn
from numpy.typing import ArrayLike, DTypeLike, NDArray

# Bytes read at a time from an array on disk.
CHUNK_BYTES = 2**26


def working_memory() -> int:
    """Return the maximum bytes of an array in memory, scikit-learn's `working_memory`."""
    return int(sklearn.get_config()["working_memory"] * 2**20)


def scratch_array(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> NDArray:
    """Make an array of zeros: in memory up to `working_memory`, on disk above.

    On disk it is mapped to an unnamed temporary file that is deleted with the array.
    Raises an OSError if the disk is full.
    """
    n_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if n_bytes <= working_memory():
        return np.zeros(shape, dtype)
    folder = tempfile.gettempdir()
    with tempfile.TemporaryFile(prefix="skadm-") as file:
        try:
            # Allocate now: a disk that fills up later would kill the process without a
            # message.
            os.posix_fallocate(file.fileno(), 0, n_bytes)
        except OSError as error:
            raise OSError(
                error.errno,
                f"{folder} has no room for {n_bytes / 2**30:.1f} GiB of slices "
                f"({os.strerror(error.errno or 0)}). Set TMPDIR to a folder with more "
                "room, or sklearn.set_config(working_memory=...) to the MiB that may "
                "stay in memory",
            ) from error
        # An enlarged file reads as zeros, so nothing has to be written.
        return np.memmap(file, dtype, "r+", shape=shape)


def is_on_disk(array: ArrayLike) -> bool:
    """Whether an array is mapped to a file."""
    return _mapping(array) is not None


def release(array: NDArray) -> None:
    """Release the memory pages of a mapped array or a view of one.

    The data stay in the file. Arrays in memory are not affected.
    """
    mapping = _mapping(array)
    if mapping is not None and hasattr(mapping, "madvise"):
        mapping.madvise(mmap.MADV_DONTNEED)


def row_chunks(
    n_rows: int, row_bytes: int, chunk_bytes: int | None = None
) -> Iterator[slice]:
    """Split rows into chunks of about `chunk_bytes` (default `CHUNK_BYTES`)."""
    step = max(1, (chunk_bytes or CHUNK_BYTES) // max(1, row_bytes))
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def _mapping(array: ArrayLike) -> mmap.mmap | None:
    """Return the shared memory map that an array is a view of, if any."""
    owner: Any = array
    while owner is not None:
        if isinstance(owner, np.memmap) and owner.mode == "c":
            return None
        if isinstance(owner, mmap.mmap):
            return owner
        owner = getattr(owner, "base", None)
    return None
