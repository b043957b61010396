"""File checks and atomic writes."""

import os
from collections.abc import Callable
from pathlib import Path


def require_file(path: Path) -> None:
    """Raise a FileNotFoundError, or IsADirectoryError, unless there is a file."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; expected a file")
    if path.is_symlink() and not path.exists():
        raise FileNotFoundError(
            f"{path}: no such file; the link points to {path.readlink()}, which does not "
            "exist. With git-annex or DataLad, get the file first"
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")


def replace_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a temporary file and rename it when it is complete.

    Other processes see the old or the new file, also after a crash; after an OSError the
    old file is kept. `write` gets the temporary path, which is hidden and has the same
    suffix, since some formats depend on it.
    """
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        kept = "; the existing file is kept" if path.exists() else ""
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(error.errno, f"{path} cannot be written: {reason}{kept}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file as UTF-8; see `replace_atomically`."""
    replace_atomically(path, lambda place: place.write_text(text, encoding="utf-8"))
