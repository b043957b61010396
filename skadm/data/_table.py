"""Reading of tables that list files."""

import csv
import os
from pathlib import Path

from skadm.data._file_kinds import contrast_named, names_brain, names_lesions
from skadm.data._studies import Collection, Study

TABLE_DESCRIPTION = (
    "table: a .csv file with a column 'patient', a column of paths per contrast, and "
    "optionally 'mask', 'brain_mask' and 'session'"
)
PATIENT, SESSION, MASK, BRAIN = "patient", "session", "mask", "brain_mask"
_SESSION_HEADERS = ("session", "volume", "visit", "timepoint")


def table_collection(table: Path) -> Collection:
    """Find the volumes that a table lists, in order.

    A comma-separated file with a header and a row per volume. Column names are
    case-insensitive: ``patient``; one per contrast, named after it, with the path of its
    image file, absolute or relative to the table's folder; optionally ``mask`` (or
    ``seg``, ``label``, ``lesion``, ...), ``brain_mask``, and ``session`` (or ``volume``),
    which distinguishes several scans of one patient: the volume is then named
    ``<patient>_<session>``.

    Raises a ValueError if a column or an entry is missing, two columns have one meaning,
    an image is listed twice, or there is no row.
    """
    if not table.is_file():
        raise FileNotFoundError(f"{table}: no such file")
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file, skipinitialspace=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(
            f"{table} is not a readable table ({error}); save it as comma-separated UTF-8"
        ) from error
    columns = _columns(table, [name.strip() for name in rows[0]] if rows else [])
    studies = [
        _study(table, line, columns, [cell.strip() for cell in row])
        for line, row in enumerate(rows[1:], start=2)
        if any(cell.strip() for cell in row)
    ]
    if not studies:
        raise ValueError(f"{table} has no row below the header; expected one per volume")
    _require_different_images(studies)
    contrasts = tuple(
        name for name in columns if name not in (PATIENT, SESSION, MASK, BRAIN)
    )
    return Collection(studies, (), "table", contrasts)


def _require_different_images(studies: list[Study]) -> None:
    """Raise a ValueError if an image is listed twice."""
    seen: dict[str, str] = {}
    for study in studies:
        for contrast, path in study.images.items():
            file, place = os.path.realpath(path), f"{study.place} ({contrast})"
            if file in seen:
                raise ValueError(
                    f"{path} is listed twice, in {seen[file]} and {place}; expected a "
                    "different file for each contrast of each volume"
                )
            seen[file] = place


def _columns(table: Path, header: list[str]) -> list[str]:
    """Return the meaning of each column: a contrast or one of the names above."""
    columns = [_meaning(name) for name in header]
    twice = {name for name in columns if columns.count(name) > 1}
    special = (PATIENT, SESSION, MASK, BRAIN)
    if twice & {MASK, BRAIN}:
        named = [old for old, new in zip(header, columns) if new in twice]
        raise ValueError(
            f"{table}: the columns {named} all name a mask; keep one of lesions ('mask') "
            "and one of the brain ('brain_mask')"
        )
    if PATIENT not in columns or set(columns) <= set(special) or "" in columns or twice:
        raise ValueError(
            f"{table}: the header has the columns {header}; expected, separated by "
            "commas, 'patient', a different name for each contrast, and optionally "
            "'mask', 'brain_mask' and 'session'"
        )
    return columns


def _meaning(name: str) -> str:
    lower = name.lower()
    if lower in (PATIENT, "subject", "participant_id"):
        return PATIENT
    if lower in _SESSION_HEADERS:
        return SESSION
    if names_brain(name):
        return BRAIN
    if names_lesions(name):
        return MASK
    return contrast_named(name) or name


def _study(table: Path, line: int, columns: list[str], row: list[str]) -> Study:
    place = f"{table}, line {line}"
    if len(row) != len(columns):
        raise ValueError(f"{place}: {len(row)} entries, which is not what the header names")
    entries = dict(zip(columns, row))
    patient = entries.pop(PATIENT)
    if not patient:
        raise ValueError(f"{place}: the patient is missing; expected an entry")
    session = entries.pop(SESSION, "")
    files = {name: table.parent / entry for name, entry in entries.items() if entry}
    mask, brain = files.pop(MASK, None), files.pop(BRAIN, None)
    name = "_".join(filter(None, (patient, session)))
    return Study(patient, name, place, files, mask, session=session, brain=brain)
