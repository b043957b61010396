"""File checks and atomic writes."""

import os
from collections.abc import Callable
from pathlib import Path


def require_file(path: Path) -> None:
    """Raise an error that names the path unless a file is there.

    Parameters
    ----------
    path : Path
        The place.

    Raises
    ------
    FileNotFoundError
        If there is nothing.
    IsADirectoryError
        If there is a folder.
    """
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

    Whoever looks sees the old file or the new one, also after a crash.

    Parameters
    ----------
    path : Path
        Where the file goes.
    write : callable
        Takes the path to write to, a hidden one with the same suffix: what some formats
        are told by.

    Raises
    ------
    OSError
        If it cannot be written; what was there before is still there.
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
