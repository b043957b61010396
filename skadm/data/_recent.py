"""What was decoded last is kept, so that a pass over the data decodes no file again."""

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from skadm._disk import working_memory

# Files of these names hold all of an image. The voxels of others may be in a second file,
# which can change while the first one stays as it is.
_WHOLE = (".nii", ".nii.gz", ".mha")


class _Entry:
    """Arrays of one owner; the lock is held while they are decoded."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.version: tuple[Any, ...] | None = None
        self.arrays: tuple[NDArray, ...] = ()

    @property
    def n_bytes(self) -> int:
        return sum(array.nbytes for array in self.arrays)


class RecentArrays:
    """The arrays decoded last: those used least recently go when memory runs short.

    Arrays are kept for an object, and go with it. No pickle holds them. They are decoded
    again when a file has changed (size, times, inode). Threads that ask for the same arrays
    wait for one of them to decode these.

    All arrays together take at most a `share` of scikit-learn's `working_memory`. An array
    that is larger is not kept.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._reset()
        # A lock that another thread holds at a fork would never be released in the child.
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
        """Return the arrays of an object, read-only; they are decoded unless they are kept.

        `files` are those that `decode` reads.
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
                entry.version, entry.arrays = None, ()  # one volume in memory, not two
                arrays = _read_only(decode())
                if sum(array.nbytes for array in arrays) > self._most():
                    return arrays
                entry.version, entry.arrays = version, arrays
            arrays = entry.arrays
        self._make_room()
        return arrays

    def release(self, owner: Any) -> None:
        """Let go of the arrays of an object."""
        with self._lock:
            self._entries.pop(weakref.ref(owner), None)

    def _most(self) -> float:
        return self._share * working_memory()

    def _make_room(self) -> None:
        with self._lock:
            # A list: what is collected as garbage meanwhile leaves the dictionary.
            n_bytes = sum(entry.n_bytes for entry in list(self._entries.values()))
            while n_bytes > self._most() and len(self._entries) > 1:
                n_bytes -= self._entries.popitem(last=False)[1].n_bytes

    def _forget(self, key: weakref.ref[Any]) -> None:
        self._entries.pop(key, None)


def _version(files: Sequence[Path]) -> tuple[Any, ...] | None:
    """What tells that files have changed; None if that cannot be told."""
    if not all(path.name.lower().endswith(_WHOLE) for path in files):
        return None
    try:
        stats = [path.stat() for path in files]
    except OSError:  # whoever reads the file says so
        return None
    return tuple((s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in stats)


def _read_only(arrays: tuple[NDArray, ...]) -> tuple[NDArray, ...]:
    for array in arrays:
        array.flags.writeable = False
    return arrays
