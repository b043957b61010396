"""Arrays that may be larger than memory."""

import mmap
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import sklearn
from numpy.typing import ArrayLike, DTypeLike, NDArray

# Of what is read at a time from an array on disk.
CHUNK_BYTES = 2**26


def working_memory() -> int:
    """Bytes that an array may take in memory; scikit-learn's `working_memory`."""
    return int(sklearn.get_config()["working_memory"] * 2**20)


def scratch_array(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> NDArray:
    """An array of zeros: in memory up to scikit-learn's `working_memory`, on disk above.

    On disk it is mapped to a file without a name in the folder of temporary files, which is
    gone with the array. A disk without room for it is an OSError.
    """
    n_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if n_bytes <= working_memory():
        return np.zeros(shape, dtype)
    folder = tempfile.gettempdir()
    with tempfile.TemporaryFile(prefix="skadm-") as file:
        try:
            # Taken now: a disk that fills up later would end the process without a word.
            os.posix_fallocate(file.fileno(), 0, n_bytes)
        except OSError as error:
            raise OSError(
                error.errno,
                f"{n_bytes / 2**30:.1f} GiB for slices are not to be had in {folder} "
                f"({os.strerror(error.errno or 0)}): set TMPDIR to a folder with more "
                "room, or sklearn.set_config(working_memory=...) to the MiB that may stay "
                "in memory",
            ) from error
        # A file that was only enlarged reads as zeros, and nothing has to be written.
        return np.memmap(file, dtype, "r+", shape=shape)


def is_on_disk(array: ArrayLike) -> bool:
    """Whether an array is mapped to a file."""
    return _mapping(array) is not None


def release(array: NDArray) -> None:
    """Let go of the memory in which pages of a mapped array, or a view of one, are held.

    They stay in the file. For an array in memory nothing happens.
    """
    mapping = _mapping(array)
    if mapping is not None and hasattr(mapping, "madvise"):
        mapping.madvise(mmap.MADV_DONTNEED)


def row_chunks(
    n_rows: int, row_bytes: int, chunk_bytes: int | None = None
) -> Iterator[slice]:
    """Cut rows into runs of about `chunk_bytes`, or of `CHUNK_BYTES`."""
    step = max(1, (chunk_bytes or CHUNK_BYTES) // max(1, row_bytes))
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def _mapping(array: ArrayLike) -> mmap.mmap | None:
    """The map of a file that an array is a view of, unless changes to it are private."""
    owner: Any = array
    while owner is not None:
        if isinstance(owner, np.memmap) and owner.mode == "c":
            return None
        if isinstance(owner, mmap.mmap):
            return owner
        owner = getattr(owner, "base", None)
    return None
