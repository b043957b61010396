"""Where results go: messages, checks before the work, files after it."""

import importlib.util
import json
import math
import os
import sys
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from skadm._files import replace_atomically, write_text


def say(message: str) -> None:
    """Print a note, which is not a result, to stderr."""
    print(message, file=sys.stderr, flush=True)


def check_new_file(path: str, force: bool) -> Path:
    """Return where a file will go, if it may go there."""
    place = _place(path, "--out")
    if place.is_dir():
        raise IsADirectoryError(f"{place} is a folder; --out must name a file")
    if os.path.lexists(place) and not force:
        raise FileExistsError(f"{place} exists; pass --force to replace it")
    if place.is_file() and not _is_model(place):
        raise FileExistsError(
            f"{place} is no model, and --force replaces only models; take another --out"
        )
    _check_parents(place)
    return place


def _is_model(place: Path) -> bool:
    if zipfile.is_zipfile(place):  # as older versions wrote
        with zipfile.ZipFile(place) as archive:
            return "card.json" in archive.namelist()
    from skadm.io import card

    try:
        card(place)
    except ValueError:
        return False
    return True


def check_new_folder(path: str, data: str | None, force: bool) -> Path:
    """Return the folder for results, if there is nothing in it or `force`."""
    place = check_folder(path, data)
    if place.is_dir() and any(place.iterdir()) and not force:
        raise FileExistsError(
            f"{place} is not empty; pass --force to replace results in it, or another --out"
        )
    return place


def check_folder(path: str, data: str | None, option: str = "--out") -> Path:
    """Return the folder that an option names, if it can be and is not that of the scans."""
    place = _place(path, option)
    if os.path.lexists(place) and not place.is_dir():
        raise NotADirectoryError(f"{place} is no folder; {option} must name a folder")
    if data is not None and place.resolve() == Path(data).expanduser().resolve():
        raise ValueError(
            f"{option} and --data are both {place}; results need another folder"
        )
    _check_parents(place)
    return place


def _place(path: str, option: str) -> Path:
    if not path:  # as by a variable that is not set: Path("") would be the current folder
        raise ValueError(f"{option} is empty; expected a path")
    return Path(path).expanduser()


def check_inner_folder(out: Path, name: str) -> Path:
    """Return a folder in the one for results, if it is no link to somewhere else."""
    place = out / name
    if place.resolve().parent != out.resolve():
        raise ValueError(f"{place} is a link that leads out of {out}")
    return place


def _check_parents(place: Path) -> None:
    existing = next(
        parent for parent in place.absolute().parents if os.path.lexists(parent)
    )
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise PermissionError(f"{place} cannot be made: {existing} cannot be written to")


def check_figures(wanted: bool) -> None:
    """Refuse figures without matplotlib before the work, not after it."""
    if wanted and importlib.util.find_spec("matplotlib") is None:
        raise ImportError(
            "figures need matplotlib, which is not installed: pip install skadm[plot], or "
            "pass --no-figures"
        )


def write_json(path: Path, value: Any) -> None:
    """Write JSON; NaN, which JSON does not have, becomes null."""
    text = json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def _plain(value: Any) -> Any:
    """Return what JSON knows for what Python and NumPy have."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | None) else repr(value)


def write_csv(
    path: Path, rows: Sequence[dict[str, Any]], columns: Sequence[str] = ()
) -> None:
    """Write rows; an undefined number is 'nan', None an empty cell.

    The columns are those of the first row, unless they are named, as for a table that may
    have no rows.
    """
    import csv

    def write(place: Path) -> None:
        with place.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns or list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    replace_atomically(path, write)


def print_supplied(name: str, contrasts: Iterable[str]) -> None:
    """Print which contrasts of a volume the model has supplied."""
    print(f"{name}: {', '.join(contrasts)} missing, supplied by translation")


def raise_failures(failures: dict[str, str], stack: Any) -> None:
    """Raise an error that names the volumes that could not be scored, if there are any."""
    if failures:
        errors = "; ".join(f"{name}: {error}" for name, error in failures.items())
        n_volumes = len(stack.volumes) + len(stack.record.left_out)
        raise RuntimeError(f"{len(failures)} of {n_volumes} could not be scored: {errors}")


def print_files(folder: Path, files: Iterable[Path]) -> None:
    """Print what was written."""
    print(f"Written to {folder}:")
    for file in files:
        print(f"  {file.relative_to(folder)}")
