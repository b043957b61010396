"""Reader of tables of files."""

import csv
from collections.abc import Collection, Sequence
from os import PathLike
from pathlib import Path

from skadm.data._stack import SliceStack
from skadm.data._studies import Study, stack_of

TABLE_DESCRIPTION = (
    "table: a .csv file with a column 'patient', a column of paths per contrast, and "
    "optionally 'mask' and 'volume'"
)
_NOT_CONTRASTS = ("patient", "volume", "mask")


def read_table(
    path: str | PathLike[str],
    *,
    contrasts: Sequence[str] | None = None,
    patients: Collection[str] | None = None,
    labels: bool = True,
    allow_empty_masks: bool = False,
    allow_missing: bool = False,
) -> SliceStack:
    """Read the files that a table lists, for data in a layout of its own.

    Parameters
    ----------
    path : path
        A comma-separated file with a header and a row per volume. Columns: ``patient``;
        one per contrast, named after it, with the path of its NIfTI file, absolute or
        relative to the table's folder; optionally ``mask``, and ``volume``, a name that
        tells several studies of one patient apart (the volume is then called
        ``<patient>_<volume>``).
    contrasts : sequence of str, default=None
        Contrasts to read, in the order wanted. None: all columns in their order.
    patients : collection of str, default=None
        Patients (or names of volumes) to read. None: all.
    labels : bool, default=True
        Whether to read the masks. Any label greater than 0 is an anomaly. Either all
        volumes have a mask or none has.
    allow_empty_masks : bool, default=False
        Whether a mask without any anomaly is accepted: for healthy controls.
    allow_missing : bool, default=False
        Whether a patient may lack contrasts, though not all: to be scored by a detector
        that does without, such as `ADMDetector`. Their channels are NaN.

    Returns
    -------
    SliceStack
        All slices of all volumes, in the order of the table.

    Raises
    ------
    FileNotFoundError
        If the table or a file is missing.
    ValueError
        If the table lacks a column or an entry, names a volume twice, or a file is not
        readable, on another grid than the volume's other files, or an empty mask.
    """
    order, studies = table_studies(Path(path).expanduser())
    return stack_of(
        studies,
        order=order,
        contrasts=order if contrasts is None else contrasts,
        patients=patients,
        labels=labels,
        allow_empty_masks=allow_empty_masks,
        allow_missing=allow_missing,
    )


def table_studies(table: Path) -> tuple[list[str], list[Study]]:
    """Find the volumes that a table lists.

    Parameters
    ----------
    table : Path
        The table.

    Returns
    -------
    contrasts : list of str
        Contrasts in the order of the columns.
    studies : list of Study
        The volumes in the order of the rows.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the table lacks a column or an entry, or has no row.
    """
    if not table.is_file():
        raise FileNotFoundError(f"{table}: no such file")
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file, skipinitialspace=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(
            f"{table}: not a readable table ({error}); save it as comma-separated UTF-8"
        ) from error
    header = [name.strip() for name in rows[0]] if rows else []
    order = _contrast_columns(table, header)
    studies = [
        _study(
            table, line, dict(zip(header, (cell.strip() for cell in row))), len(row), order
        )
        for line, row in enumerate(rows[1:], start=2)
        if any(cell.strip() for cell in row)
    ]
    if not studies:
        raise ValueError(f"{table}: no row below the header; expected one per volume")
    return order, studies


def _contrast_columns(table: Path, header: list[str]) -> list[str]:
    order = [name for name in header if name not in _NOT_CONTRASTS]
    if "patient" not in header or not order or "" in header or len({*header}) < len(header):
        raise ValueError(
            f"{table}: its first line names the columns {header}; expected, separated by "
            "commas, 'patient', one different name per contrast, and optionally 'mask' and "
            "'volume'"
        )
    return order


def _study(
    table: Path, line: int, row: dict[str, str], n_cells: int, order: list[str]
) -> Study:
    place = f"{table}, line {line}"
    if n_cells != len(row) or any(name not in row for name in ("patient", *order)):
        raise ValueError(f"{place}: {n_cells} entries, which is not what the header names")
    if not row["patient"]:
        raise ValueError(f"{place}: no patient")
    name = "_".join(filter(None, (row["patient"], row.get("volume"))))
    images = {contrast: table.parent / row[contrast] for contrast in order if row[contrast]}
    mask = row.get("mask")
    return Study(row["patient"], name, place, images, table.parent / mask if mask else None)
