"""Peak memory of a call, as the kernel sees it."""

import ctypes
import gc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_mib(function: Callable[[], Any]) -> float | None:
    """Mebibytes by which the process grows at most while the function runs; Linux only.

    The kernel keeps the largest resident set of a process (VmHWM), of all allocators.
    Writing 5 to clear_refs resets it to the present one. Memory that the allocator holds
    free is returned first, since memory taken from it would not count. None if the file
    does not exist.
    """
    if not _CLEAR.exists():
        return None
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
    if trim is not None:
        trim(0)
    _CLEAR.write_text("5")
    before = kib("VmRSS")
    function()
    return (kib("VmHWM") - before) / 1024


def kib(field: str) -> int:
    """A field of the kernel's status of this process."""
    for line in _STATUS.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0])
    raise OSError(f"{_STATUS} has no {field}")


def run_alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a new process, where nothing else has taken memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()
