"""Gzip in one call: by isal where it is installed (extra ``fast``), else by zlib."""

import gzip
import zlib
from pathlib import Path
from typing import Any

# Both modules have the same interface and read each other's output.
_stream: Any
_file: Any
try:
    from isal import igzip as _file
    from isal import isal_zlib as _stream
except ImportError:
    _file, _stream = gzip, zlib

# Upper bound on deflate's compression ratio: a larger size in a trailer is wrong.
_LARGEST_RATIO = 1032


def is_gzip(path: Path) -> bool:
    """Whether the first bytes are those of gzip; for an empty file, the name decides."""
    with path.open("rb") as file:
        beginning = file.read(2)
    return beginning == b"\x1f\x8b" if beginning else path.suffix.lower() == ".gz"


def decompress(data: bytes) -> bytes:
    """Decompress a gzip file of one or more members and verify its checksum.

    Raises an OSError for data that are not gzip, truncated or damaged.
    """
    # The last four bytes hold the size: allocate the buffer once.
    size = int.from_bytes(data[-4:], "little")
    room = max(1, min(size, _LARGEST_RATIO * len(data)))
    try:
        first = _stream.decompress(data, 31, room)
        if len(first) == size:
            return first
        return _file.decompress(data)
    except (EOFError, _stream.error) as error:
        raise OSError(f"the gzip data are damaged: {error}") from error


def compress(data: bytes) -> bytes:
    """Compress at nibabel's level 1, without a time stamp: equal data make equal files."""
    return _file.compress(data, 1, mtime=0)
