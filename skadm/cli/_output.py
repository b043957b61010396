"""Output: messages, checks of paths before the work, and writing of files."""

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
    """Print a note to stderr; results go to stdout."""
    print(message, file=sys.stderr, flush=True)


def check_new_file(path: str, force: bool) -> Path:
    """Check the path of an output file."""
    place = _place(path, "--out")
    if place.is_dir():
        raise IsADirectoryError(f"{place} is a folder; --out must name a file")
    if os.path.lexists(place) and not force:
        raise FileExistsError(f"{place} exists; pass --force to overwrite it")
    if place.is_file() and not _is_model(place):
        raise FileExistsError(
            f"{place} is not a model; --force overwrites only models, so choose another "
            "--out"
        )
    _check_parents(place)
    return place


def _is_model(place: Path) -> bool:
    if zipfile.is_zipfile(place):  # written by older versions
        with zipfile.ZipFile(place) as archive:
            return "card.json" in archive.namelist()
    from skadm.io import card

    try:
        card(place)
    except ValueError:
        return False
    return True


def check_new_folder(path: str, data: str | None, force: bool) -> Path:
    """Check the output folder, which must be empty unless `force`."""
    place = check_folder(path, data)
    if place.is_dir() and any(place.iterdir()) and not force:
        raise FileExistsError(
            f"{place} is not empty; pass --force to overwrite results in it, or another "
            "--out"
        )
    return place


def check_folder(path: str, data: str | None, option: str = "--out") -> Path:
    """Check the folder of an option, which must not be the data folder."""
    place = _place(path, option)
    if os.path.lexists(place) and not place.is_dir():
        raise NotADirectoryError(f"{place} is not a folder; {option} must be a folder")
    if data is not None and place.resolve() == Path(data).expanduser().resolve():
        raise ValueError(
            f"{option} and --data are both {place}; expected different folders"
        )
    _check_parents(place)
    return place


def _place(path: str, option: str) -> Path:
    if not path:  # e.g. an unset shell variable: Path("") would be the current folder
        raise ValueError(f"{option} is empty; expected a path")
    return Path(path).expanduser()


def check_inner_folder(out: Path, name: str) -> Path:
    """Check a subfolder of the output folder, which must not link elsewhere."""
    place = out / name
    if place.resolve().parent != out.resolve():
        raise ValueError(
            f"{place} is a link to a place outside {out}; remove it, or choose another "
            "--out"
        )
    return place


def _check_parents(place: Path) -> None:
    existing = next(
        parent for parent in place.absolute().parents if os.path.lexists(parent)
    )
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise PermissionError(
            f"{place} cannot be created, since {existing} is not writable"
        )


def check_figures(wanted: bool) -> None:
    """Check that matplotlib is installed before the work starts."""
    if wanted and importlib.util.find_spec("matplotlib") is None:
        raise ImportError(
            "figures need matplotlib, which is not installed: pip install skadm[plot], or "
            "pass --no-figures"
        )


def write_json(path: Path, value: Any) -> None:
    """Write JSON; NaN becomes null."""
    text = json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def _plain(value: Any) -> Any:
    """Convert Python and NumPy values to JSON types."""
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

    The columns are those of the first row, unless they are given, e.g. for an empty
    table.
    """
    import csv

    def write(place: Path) -> None:
        with place.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns or list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    replace_atomically(path, write)


def print_threshold(detector: Any, source: str) -> None:
    """Print the threshold of the anomaly maps, and what it was set on."""
    print(f"threshold: {-detector.offset_:.6g} (pixels above it are anomalies)")
    print(f"threshold from: {source}")


def print_supplied(name: str, contrasts: Iterable[str]) -> None:
    """Print the contrasts of a volume that the model supplied."""
    print(f"{name}: {', '.join(contrasts)} missing, supplied by translation")


def raise_failures(failures: dict[str, str], stack: Any) -> None:
    """Raise an error that lists the volumes that could not be scored, if any."""
    if failures:
        errors = "; ".join(f"{name}: {error}" for name, error in failures.items())
        n_volumes = len(stack.volumes) + len(stack.record.left_out)
        raise RuntimeError(f"{len(failures)} of {n_volumes} could not be scored: {errors}")


def print_files(folder: Path, files: Iterable[Path]) -> None:
    """Print the written files."""
    print(f"Written to {folder}:")
    for file in files:
        print(f"  {file.relative_to(folder)}")
