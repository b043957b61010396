"""Gzip in one call: by isal where it is installed (extra ``fast``), else by zlib."""

import gzip
import zlib
from pathlib import Path
from typing import Any

# Two modules with one interface; what either compresses, the other reads.
_stream: Any
_file: Any
try:
    from isal import igzip as _file
    from isal import isal_zlib as _stream
except ImportError:
    _file, _stream = gzip, zlib

# No deflate stream shrinks by more: a larger size in a trailer is not to be believed.
_LARGEST_RATIO = 1032


def is_gzip(path: Path) -> bool:
    """Whether a file is gzip by its first bytes; an empty file is what its name says."""
    with path.open("rb") as file:
        beginning = file.read(2)
    return beginning == b"\x1f\x8b" if beginning else path.suffix.lower() == ".gz"


def decompress(data: bytes) -> bytes:
    """What a gzip file of one member or several holds; its checksum is compared.

    What is not gzip, truncated or damaged is an OSError.
    """
    # The last four bytes say how much room it takes: no buffer has to grow.
    size = int.from_bytes(data[-4:], "little")
    room = max(1, min(size, _LARGEST_RATIO * len(data)))
    try:
        first = _stream.decompress(data, 31, room)
        if len(first) == size:
            return first
        return _file.decompress(data)
    except (EOFError, _stream.error) as error:
        raise OSError(f"gzip data are damaged: {error}") from error


def compress(data: bytes) -> bytes:
    """Compress at nibabel's level 1, without a time stamp: equal data make equal files."""
    return _file.compress(data, 1, mtime=0)
