"""In-memory cache of recently decoded arrays."""

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from skadm._disk import working_memory

# Formats with the whole image in one file. Other formats may keep voxels in a second
# file, whose changes would go unnoticed.
_WHOLE = (".nii", ".nii.gz", ".mha")


class _Entry:
    """Arrays of one owner, with a lock that is held during decoding."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.version: tuple[Any, ...] | None = None
        self.arrays: tuple[NDArray, ...] = ()

    @property
    def n_bytes(self) -> int:
        return sum(array.nbytes for array in self.arrays)


class RecentArrays:
    """Least-recently-used cache of decoded arrays.

    Arrays belong to an object and are freed with it. They are not pickled. They are
    decoded again when a file has changed (size, times, inode). If several threads request
    the same arrays, one decodes them and the others wait.

    All arrays together take at most `share` times scikit-learn's `working_memory`. Larger
    arrays are not kept.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._reset()
        # A lock held by another thread during a fork would never be released in the
        # child.
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[weakref.ref[Any], _Entry] = OrderedDict()

    def get(
        self,
        owner: Any,
        files: Sequence[Path],
        decode: Callable[[], tuple[NDArray, ...]],
    ) -> tuple[NDArray, ...]:
        """Return the read-only arrays of an object, decoded unless they are cached.

        `files` are the files that `decode` reads.
        """
        version = _version(files)
        if version is None:
            return _read_only(decode())
        key = weakref.ref(owner, self._forget)
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
        with entry.lock:
            if entry.version != version:
                entry.version, entry.arrays = None, ()  # free the old volume first
                arrays = _read_only(decode())
                if sum(array.nbytes for array in arrays) > self._most():
                    return arrays
                entry.version, entry.arrays = version, arrays
            arrays = entry.arrays
        self._make_room()
        return arrays

    def release(self, owner: Any) -> None:
        """Free the arrays of an object."""
        with self._lock:
            self._entries.pop(weakref.ref(owner), None)

    def _most(self) -> float:
        return self._share * working_memory()

    def _make_room(self) -> None:
        with self._lock:
            # A copy: garbage collection may remove entries during the loop.
            n_bytes = sum(entry.n_bytes for entry in list(self._entries.values()))
            while n_bytes > self._most() and len(self._entries) > 1:
                n_bytes -= self._entries.popitem(last=False)[1].n_bytes

    def _forget(self, key: weakref.ref[Any]) -> None:
        self._entries.pop(key, None)


def _version(files: Sequence[Path]) -> tuple[Any, ...] | None:
    """Return a value that changes when the files change, or None if unavailable."""
    if not all(path.name.lower().endswith(_WHOLE) for path in files):
        return None
    try:
        stats = [path.stat() for path in files]
    except OSError:  # the reader of the file raises the error
        return None
    return tuple((s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in stats)


def _read_only(arrays: tuple[NDArray, ...]) -> tuple[NDArray, ...]:
    for array in arrays:
        array.flags.writeable = False
    return arrays
