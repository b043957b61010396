"""DICOM files in folders of any nesting, known by their first bytes."""

import os
from collections.abc import Iterator
from pathlib import Path

from skadm.data._file_kinds import is_image

_PREAMBLE = 128  # bytes before the mark


def files_below(folder: Path) -> Iterator[Path]:
    """All files below a folder but for hidden ones, in the order of their paths."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(names) if name[0] != ".")


def is_dicom_file(path: Path) -> bool:
    """Whether a file begins as DICOM files do; their names say nothing."""
    try:
        with path.open("rb") as file:
            return file.read(_PREAMBLE + 4)[_PREAMBLE:] == b"DICM"
    except OSError:
        return False


def holds_dicom(folder: Path) -> bool:
    """Whether there is a DICOM file below a folder."""
    # Image files of other kinds, of which there may be many, are not looked into.
    files = (path for path in files_below(folder) if not is_image(path))
    return folder.is_dir() and any(map(is_dicom_file, files))
