"""File checks and atomic writes."""

import os
from collections.abc import Callable
from pathlib import Path


def require_file(path: Path) -> None:
    """Raise a FileNotFoundError, or IsADirectoryError, unless there is a file."""
    if path.is_dir():
        raise IsADirectoryError(f"{path}: a folder; expected a file")
    if path.is_symlink() and not path.exists():
        raise FileNotFoundError(
            f"{path}: no such file; it is a link to {path.readlink()}, which does not "
            "exist (with git-annex or DataLad, get the file first)"
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")


def replace_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside, and put it in its place when it is complete.

    Whoever looks sees the old file or the new one, also after a crash; after an OSError the
    old one. `write` takes the path to write to, a hidden one with the same suffix: what
    some formats are told by.
    """
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        kept = "; the one before it is kept" if path.exists() else ""
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(error.errno, f"{path} cannot be written: {reason}{kept}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file as UTF-8; see `replace_atomically`."""
    replace_atomically(path, lambda place: place.write_text(text, encoding="utf-8"))
