"""Readers of data sets: each turns files into a checked, lazily read SliceStack."""

from collections.abc import Callable, Collection, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from skadm.data._bids import BIDS_DESCRIPTION, bids_studies, read_bids
from skadm.data._layouts import BRATS, ISLES, Layout
from skadm.data._stack import SliceStack
from skadm.data._studies import Study, stack_of
from skadm.data._table import TABLE_DESCRIPTION, read_table, table_studies


def read_brats(
    folder: str | PathLike[str],
    *,
    contrasts: Sequence[str] | None = None,
    patients: Collection[str] | None = None,
    labels: bool = True,
    allow_empty_masks: bool = False,
    allow_missing: bool = False,
) -> SliceStack:
    """Read a folder in the layout of the BraTS challenges, 2013 to 2023.

    One folder per patient, directly inside ``folder`` or one level deeper (HGG/, LGG/), or
    ``folder`` itself. Headers and masks are checked now, voxels are decoded when they are
    needed; ``stack.verify()`` decodes everything once.

    Parameters
    ----------
    folder : path
        Folder that holds the patients' folders.
    contrasts : sequence of str, default=None
        Contrasts to read, out of T1, T1ce, T2 and FLAIR, in the order wanted. None: all
        that were found, in this order. Every patient must have them.
    patients : collection of str, default=None
        Patients (or names of folders) to read. None: all.
    labels : bool, default=True
        Whether to read the masks. Any label greater than 0 is an anomaly. Either all
        patients have a mask or none has.
    allow_empty_masks : bool, default=False
        Whether a mask without any anomaly is accepted: for healthy controls.
    allow_missing : bool, default=False
        Whether a patient may lack contrasts, though not all: to be scored by a detector
        that does without, such as `ADMDetector`. Their channels are NaN.

    Returns
    -------
    SliceStack
        All slices of all patients, in the order of the folders' names. Since 2023 folder
        names end in a scan number; scans of one patient share their group.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If no patient is found, or a file is missing, not readable, on another grid than
        the patient's other files, or an empty mask.
    """
    return _read(
        BRATS, folder, contrasts, patients, labels, allow_empty_masks, allow_missing
    )


def read_isles(
    folder: str | PathLike[str],
    *,
    contrasts: Sequence[str] | None = None,
    patients: Collection[str] | None = None,
    labels: bool = True,
    allow_empty_masks: bool = False,
    allow_missing: bool = False,
) -> SliceStack:
    """Read a folder in the layout of the ISLES 2015 challenge (SISS).

    One folder per patient with a subfolder per contrast, such as
    ``1/VSD.Brain.XX.O.MR_DWI.70613/VSD.Brain.XX.O.MR_DWI.70613.nii``; the mask is ``OT``.
    Sequences other than DWI, T1, T2 and Flair are left alone. Checks as in `read_brats`.

    Parameters
    ----------
    folder : path
        Folder that holds the patients' folders.
    contrasts : sequence of str, default=None
        Contrasts to read, out of DWI, T1, T2 and FLAIR, in the order wanted. None: all
        that were found, in this order. Every patient must have them.
    patients : collection of str, default=None
        Patients (names of their folders) to read. None: all.
    labels : bool, default=True
        Whether to read the masks. Any label greater than 0 is an anomaly. Either all
        patients have a mask or none has.
    allow_empty_masks : bool, default=False
        Whether a mask without any anomaly is accepted: for healthy controls.
    allow_missing : bool, default=False
        Whether a patient may lack contrasts, though not all: to be scored by a detector
        that does without, such as `ADMDetector`. Their channels are NaN.

    Returns
    -------
    SliceStack
        All slices of all patients, in the order of the folders' names.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If no patient is found, or a file is missing, not readable, on another grid than
        the patient's other files, or an empty mask.
    """
    return _read(
        ISLES, folder, contrasts, patients, labels, allow_empty_masks, allow_missing
    )


def read_any(path: str | PathLike[str], **options: Any) -> SliceStack:
    """Read a data set whose layout is recognised from its files.

    Parameters
    ----------
    path : path
        A .csv file (see `read_table`) or a folder in the layout of BIDS, BraTS or ISLES.
    **options : dict
        Passed to the reader: contrasts, patients, labels, allow_empty_masks,
        allow_missing.

    Returns
    -------
    SliceStack
        All slices.

    Raises
    ------
    FileNotFoundError
        If there is nothing at ``path``.
    ValueError
        If the layout is none of those known, or as the reader raises.
    """
    return _recognise(Path(path).expanduser())[1](path, **options)


def find_studies(path: str | PathLike[str]) -> list[Study]:
    """Find the files of a data set, without any demand on what they hold.

    Parameters
    ----------
    path : path
        A .csv file (see `read_table`) or a folder in the layout of BIDS, BraTS or ISLES.

    Returns
    -------
    list of Study
        The files of each volume, in the order of the readers.

    Raises
    ------
    FileNotFoundError
        If there is nothing at ``path``.
    ValueError
        If the layout is none of those known, or two files are of one kind.
    """
    return _recognise(Path(path).expanduser())[0]


def _recognise(place: Path) -> tuple[list[Study], Callable[..., SliceStack]]:
    """Return the studies at a place, and the reader of its layout."""
    if not place.exists():
        raise FileNotFoundError(f"{place}: no such file or folder")
    if place.is_file() and place.suffix.lower() == ".csv":
        return table_studies(place)[1], read_table
    finders: list[tuple[Callable[[Path], list[Study]], Callable[..., SliceStack]]] = [
        (bids_studies, read_bids),
        (BRATS.studies, read_brats),
        (ISLES.studies, read_isles),
    ]
    if place.is_dir():
        for find, reader in finders:
            if studies := find(place):
                return studies, reader
        if not any(place.iterdir()):
            raise ValueError(f"{place}: an empty folder; expected scans in it")
    known = [BRATS.description, ISLES.description, BIDS_DESCRIPTION, TABLE_DESCRIPTION]
    raise ValueError(f"{place}: not a layout known. These are:\n- " + "\n- ".join(known))


def _read(
    layout: Layout,
    folder: str | PathLike[str],
    contrasts: Sequence[str] | None,
    patients: Collection[str] | None,
    labels: bool,
    allow_empty_masks: bool,
    allow_missing: bool,
) -> SliceStack:
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise FileNotFoundError(f"{place}: no such folder")
    studies = layout.studies(place)
    if not studies:
        raise ValueError(f"{place}: no patient found. Expected {layout.description}")
    if patients is None and (strange := layout.unrecognised(place)):
        raise ValueError(
            f"{strange[0]}: holds NIfTI files, but none with a name of the {layout.name} "
            "layout; rename them, or leave the patient out (patients=[...]). Expected "
            f"{layout.description}"
        )
    return stack_of(
        studies,
        order=layout.order,
        contrasts=contrasts,
        patients=patients,
        labels=labels,
        allow_empty_masks=allow_empty_masks,
        allow_missing=allow_missing,
    )
