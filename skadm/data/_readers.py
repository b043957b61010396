"""Readers of data sets: each turns files into a checked, lazily read SliceStack."""

import re
from collections.abc import Collection as Names
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from skadm.data._bids import BIDS_DESCRIPTION, bids_collection, has_bids_names
from skadm.data._dicom_files import holds_dicom
from skadm.data._file_kinds import stem
from skadm.data._folders import FOLDERS_DESCRIPTION, folder_collection, image_files
from skadm.data._stack import SliceStack
from skadm.data._studies import Collection, Study, stack_of
from skadm.data._table import TABLE_DESCRIPTION, table_collection

_BRATS = ("T1", "T1ce", "T2", "FLAIR")
_ISLES = ("DWI", "T1", "T2", "FLAIR")
# Options that say which files are looked for; others say what is read of them.
_SELECTION = ("patient_pattern", "space", "run", "sessions")


def read_any(
    path: str | PathLike[str],
    *,
    contrasts: Sequence[str] | None = None,
    patients: Names[str] | None = None,
    labels: bool = True,
    lesion_labels: Names[int] | None = None,
    mask_threshold: float | None = None,
    allow_empty_masks: bool = False,
    allow_missing: bool = False,
    patient_pattern: str | None = None,
    space: str | None = None,
    run: str | None = None,
    sessions: Names[str] | None = None,
) -> SliceStack:
    """Read a data set whose layout is recognised from its files.

    Headers and masks are checked now, voxels are decoded when they are needed;
    ``stack.verify()`` decodes everything once. Volumes are brought to axial slices, with
    the face up and the patient's right on the left, whatever the orientation of their
    files; `write_maps` writes maps in that of the files. Where a patient has a mask of the
    brain, what lies outside it is background.

    Parameters
    ----------
    path : path
        A .csv table, a BIDS folder, or a folder of patients in the layout of the public
        collections of this field; the user guide lists them ("Your data").
    contrasts : sequence of str, default=None
        Contrasts to read, in the order wanted. None: all that were found, in the order
        T1, T1ce, T2, PD, FLAIR, DWI, ADC, SWI, or that of the columns of a table. Every
        patient must have them, but for allow_missing.
    patients : collection of str, default=None
        Patients (or names of volumes) to read. None: all.
    labels : bool, default=True
        Whether to read the masks of lesions. Either all patients have a mask or none has.
    lesion_labels : collection of int, default=None
        Labels of a mask that count as an anomaly, such as 1 and 4. None: all but 0.
    mask_threshold : float, default=None
        For masks of probabilities: values above it count. None: such masks are refused.
    allow_empty_masks : bool, default=False
        Whether a mask without any anomaly is accepted: for healthy controls.
    allow_missing : bool, default=False
        Whether a patient may lack contrasts, though not all: to be scored by a detector
        that does without, such as `ADMDetector`. Their channels are NaN.
    patient_pattern : str, default=None
        Regular expression that finds the patient in the path of a study's folder below
        `path`: its group "patient", or else its first group. None: by the names that the
        public collections give to sessions.
    space : str, default=None
        BIDS: the space to read, "native" for images without that entity. None: native
        images where there are any, or else those of the only space.
    run : str, default=None
        BIDS: the run to read where there are several.
    sessions : collection of str, default=None
        Sessions to read. None: all.

    Returns
    -------
    SliceStack
        All slices of all volumes, in the order of the folders' names or of the table.
        Sessions of one patient share their group. ``stack.record`` names the volumes
        that could not be told apart, and the files that were not read.

    Raises
    ------
    FileNotFoundError
        If there is nothing at `path`, or a file of a table is missing.
    ValueError
        If the layout is none of those known, no patient is found, or a file is missing,
        not readable, on another grid than the patient's other files, or an empty mask;
        and if no mask was recognised, but a file that is not read looks like one.
    """
    collection = find_collection(
        path, patient_pattern=patient_pattern, space=space, run=run, sessions=sessions
    )
    return stack_of(
        collection,
        contrasts=contrasts,
        patients=patients,
        labels=labels,
        lesion_labels=lesion_labels,
        mask_threshold=mask_threshold,
        allow_empty_masks=allow_empty_masks,
        allow_missing=allow_missing,
    )


def read_brats(folder: str | PathLike[str], **options: Any) -> SliceStack:
    """Read T1, T1ce, T2 and FLAIR of a folder in the layout of the BraTS challenges.

    Parameters
    ----------
    folder : path
        Folder that holds the patients' folders, directly or in groups (HGG/, LGG/), or the
        folder of one patient.
    **options : dict
        As `read_any` takes them.

    Returns
    -------
    SliceStack
        All slices of all patients, in the order of the folders' names.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        As `read_any` raises.
    """
    return _read_folder(folder, _BRATS, options)


def read_isles(folder: str | PathLike[str], **options: Any) -> SliceStack:
    """Read DWI, T1, T2 and FLAIR of a folder in the layout of ISLES 2015 (SISS).

    One folder per patient with a subfolder per contrast, such as
    ``1/VSD.Brain.XX.O.MR_DWI.70613/VSD.Brain.XX.O.MR_DWI.70613.nii``; the mask is ``OT``.

    Parameters
    ----------
    folder : path
        Folder that holds the patients' folders.
    **options : dict
        As `read_any` takes them.

    Returns
    -------
    SliceStack
        All slices of all patients, in the order of the folders' names.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        As `read_any` raises.
    """
    return _read_folder(folder, _ISLES, options)


def read_table(path: str | PathLike[str], **options: Any) -> SliceStack:
    """Read the files that a table lists, for data in a layout of its own.

    Parameters
    ----------
    path : path
        A comma-separated file with a header and a row per volume. Columns, in any case:
        ``patient``; one per contrast, named after it, with the path of its image file,
        absolute or relative to the table's folder; optionally ``mask``, ``brain_mask``,
        and ``session``, which tells several scans of one patient apart: the volume is then
        called ``<patient>_<session>``.
    **options : dict
        As `read_any` takes them.

    Returns
    -------
    SliceStack
        All slices of all volumes, in the order of the table.

    Raises
    ------
    FileNotFoundError
        If the table or a file is missing.
    ValueError
        If the table lacks a column or an entry, or names a volume twice; and as
        `read_any` raises.
    """
    place = Path(path).expanduser()
    if not place.is_file():
        raise FileNotFoundError(f"{place}: no such file")
    if place.suffix.lower() != ".csv":
        table_collection(place)  # says what a table is
    return read_any(place, **options)


def find_studies(path: str | PathLike[str], **options: Any) -> list[Study]:
    """Find the files of a data set, without any demand on what they hold.

    Parameters
    ----------
    path : path
        A data set as `read_any` takes it.
    **options : dict
        Its options patient_pattern, space, run and sessions.

    Returns
    -------
    list of Study
        The files of each volume, in the order of the readers.

    Raises
    ------
    FileNotFoundError
        If there is nothing at `path`.
    ValueError
        If the layout is none of those known.
    """
    return find_collection(path, **options).studies


def find_collection(
    path: str | PathLike[str],
    *,
    patient_pattern: str | None = None,
    space: str | None = None,
    run: str | None = None,
    sessions: Names[str] | None = None,
) -> Collection:
    """Find the studies of a data set, and the image files that are of none.

    Parameters
    ----------
    path : path
        A data set as `read_any` takes it.
    patient_pattern, space, run, sessions : optional
        As in `read_any`.

    Returns
    -------
    Collection
        Its studies.
    """
    place = Path(path).expanduser()
    if isinstance(sessions, str):
        raise ValueError(f"sessions={sessions!r} is one string; expected a list of names")
    if not place.exists():
        raise FileNotFoundError(f"{place}: no such file or folder")
    if place.is_file():
        if place.suffix.lower() != ".csv":
            raise ValueError(_unknown(place))
        found = table_collection(place)
    else:
        files = image_files(place)
        if not files and not any(place.iterdir()):
            raise ValueError(f"{place}: an empty folder; expected scans in it")
        if not files and holds_dicom(place):
            raise ValueError(
                f"{place} holds DICOM files: make them ready by 'skadm prepare --data "
                f"{place} --out FOLDER', and read that folder; 'skadm run' does both"
            )
        if has_bids_names(files) and patient_pattern is None:
            found = bids_collection(files, root=place, space=space, run=run)
        else:
            found = folder_collection(place, files, patient_pattern)
    if not found.studies:
        raise ValueError(_unknown(place) + _channels(found.unread))
    return found if sessions is None else of_sessions(found, sessions)


def of_sessions(collection: Collection, sessions: Names[str]) -> Collection:
    """Choose the studies of sessions, which are named with ``ses-`` or without."""
    wanted = {name.removeprefix("ses-"): name for name in sessions}
    known = {study.session.removeprefix("ses-") for study in collection.studies}
    unknown = sorted(name for key, name in wanted.items() if key not in known)
    if unknown or not wanted:
        raise ValueError(f"sessions {unknown} were not found; there are {sorted(known)}")
    chosen = [
        study
        for study in collection.studies
        if study.session.removeprefix("ses-") in wanted
    ]
    return replace(collection, studies=chosen)


def _read_folder(
    folder: str | PathLike[str], usual: Sequence[str], options: dict[str, Any]
) -> SliceStack:
    """Read a folder, by default the contrasts of a challenge, in its order."""
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise FileNotFoundError(f"{place}: no such folder")
    where = {key: options.pop(key) for key in _SELECTION if key in options}
    collection = replace(find_collection(place, **where), usual=tuple(usual))
    return stack_of(collection, **options)


def _unknown(place: Path) -> str:
    known = [FOLDERS_DESCRIPTION, BIDS_DESCRIPTION, TABLE_DESCRIPTION]
    return f"{place}: no patient found. The layouts known are:\n- " + "\n- ".join(known)


def _channels(paths: Names[Path]) -> str:
    """Say what to do about the names of nnU-Net, which number the contrasts."""
    numbered = [path for path in paths if re.search(r"_\d{4}$", stem(path.name))]
    if not numbered:
        return ""
    return (
        f"\n{next(iter(numbered)).name} seems to number its contrast, as nnU-Net does: a "
        "number does not say which contrast it is. List the files in a table, or rename "
        "them, such as _0000 to _t1"
    )
