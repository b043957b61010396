"""Readers of data sets: they return a checked SliceStack that reads lazily."""

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
# Options that select files; the others select what to read from them.
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
    """Read a data set and detect its layout.

    Headers and masks are checked immediately; voxels are decoded on demand, and
    ``stack.verify()`` decodes everything once. Volumes are reoriented to axial slices in
    radiological convention (face up, the patient's right on the left); `write_maps`
    restores the orientation of the files. If a patient has a brain mask, voxels outside
    it are background.

    Parameters
    ----------
    path : path
        A .csv table, a BIDS folder, or a folder of patients in the layout of a public
        collection; the user guide lists them ("Your data").
    contrasts : sequence of str, default=None
        Contrasts to read, in this order. None: all contrasts in the data, in the order
        T1, T1ce, T2, PD, FLAIR, DWI, ADC, SWI, or in the column order of a table. Every
        patient must have them unless allow_missing is True.
    patients : collection of str, default=None
        Patients (or volume names) to read. None: all.
    labels : bool, default=True
        Whether to read the lesion masks. Either all patients have a mask or none has.
    lesion_labels : collection of int, default=None
        Labels of a mask that count as an anomaly, such as 1 and 4. None: all but 0.
    mask_threshold : float, default=None
        Probability above which a voxel counts as lesion. None: probability masks are
        refused.
    allow_empty_masks : bool, default=False
        Whether masks without any anomaly are accepted, for healthy controls.
    allow_missing : bool, default=False
        Whether patients may lack some of the contrasts, for scoring with a detector that
        supports this, such as `ADMDetector`. Missing channels are NaN.
    patient_pattern : str, default=None
        Regular expression that matches the patient in the path of a study's folder below
        `path`: group "patient", or else the first group. None: use the session names of
        the public collections.
    space : str, default=None
        BIDS: the space to read, "native" for images without a space entity. None: native
        images if there are any, else those of the only space.
    run : str, default=None
        BIDS: the run to read if there are several.
    sessions : collection of str, default=None
        Sessions to read. None: all.

    Returns
    -------
    SliceStack
        All slices of all volumes, in the order of the folder names or the table. Sessions
        of one patient share a group. ``stack.record`` lists ambiguous volumes and files
        that were not read.

    Raises
    ------
    FileNotFoundError
        If `path` or a file of a table does not exist.
    ValueError
        If the layout is unknown, there is no patient, a file is missing or not readable,
        the grids of a patient's files differ, a mask is empty, or an unread file looks
        like a mask while no mask was recognised.
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
        Passed to `read_any`.

    Returns
    -------
    SliceStack
        All slices of all patients, in the order of the folder names.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        See `read_any`.
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
        Passed to `read_any`.

    Returns
    -------
    SliceStack
        All slices of all patients, in the order of the folder names.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        See `read_any`.
    """
    return _read_folder(folder, _ISLES, options)


def read_table(path: str | PathLike[str], **options: Any) -> SliceStack:
    """Read the files listed in a table, for data in any layout.

    Parameters
    ----------
    path : path
        A comma-separated file with a header and a row per volume. Columns, in any case:
        ``patient``; one per contrast, named after it, with the path of its image file,
        absolute or relative to the table's folder; optionally ``mask``, ``brain_mask``,
        and ``session``, which distinguishes several scans of one patient: the volume is
        then named ``<patient>_<session>``.
    **options : dict
        Passed to `read_any`.

    Returns
    -------
    SliceStack
        All slices of all volumes, in the order of the table.

    Raises
    ------
    FileNotFoundError
        If the table or a file is missing.
    ValueError
        If the table lacks a column or an entry, or lists a volume twice; see also
        `read_any`.
    """
    place = Path(path).expanduser()
    if not place.is_file():
        raise FileNotFoundError(f"{place}: no such file")
    if place.suffix.lower() != ".csv":
        table_collection(place)  # raises an error that describes the table format
    return read_any(place, **options)


def find_studies(path: str | PathLike[str], **options: Any) -> list[Study]:
    """Find the files of a data set without checking their content.

    Parameters
    ----------
    path : path
        A data set as `read_any` takes it.
    **options : dict
        The options patient_pattern, space, run and sessions of `read_any`.

    Returns
    -------
    list of Study
        The files of each volume, in the order of the readers.

    Raises
    ------
    FileNotFoundError
        If `path` does not exist.
    ValueError
        If the layout is unknown.
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
    """Find the studies of a data set and the image files that belong to none.

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
        collection = table_collection(place)
    else:
        files = image_files(place)
        if not files and not any(place.iterdir()):
            raise ValueError(f"{place} is an empty folder; expected scans in it")
        if not files and holds_dicom(place):
            raise ValueError(
                f"{place} holds DICOM files. Prepare them with 'skadm prepare --data "
                f"{place} --out FOLDER' and read that folder; 'skadm run' does both"
            )
        if has_bids_names(files) and patient_pattern is None:
            collection = bids_collection(files, root=place, space=space, run=run)
        else:
            collection = folder_collection(place, files, patient_pattern)
    if not collection.studies:
        raise ValueError(_unknown(place) + _channels(collection.unread))
    return collection if sessions is None else of_sessions(collection, sessions)


def of_sessions(collection: Collection, sessions: Names[str]) -> Collection:
    """Select the studies of some sessions, named with or without ``ses-``."""
    wanted = {name.removeprefix("ses-"): name for name in sessions}
    known = {study.session.removeprefix("ses-") for study in collection.studies}
    unknown = sorted(name for key, name in wanted.items() if key not in known)
    if unknown or not wanted:
        raise ValueError(
            f"sessions {unknown} do not exist; expected some of {sorted(known)}"
        )
    chosen = [
        study
        for study in collection.studies
        if study.session.removeprefix("ses-") in wanted
    ]
    return replace(collection, studies=chosen)


def _read_folder(
    folder: str | PathLike[str], usual: Sequence[str], options: dict[str, Any]
) -> SliceStack:
    """Read a folder, by default with the contrasts of the challenge."""
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise FileNotFoundError(f"{place}: no such folder")
    where = {key: options.pop(key) for key in _SELECTION if key in options}
    collection = replace(find_collection(place, **where), usual=tuple(usual))
    return stack_of(collection, **options)


def _unknown(place: Path) -> str:
    known = [FOLDERS_DESCRIPTION, BIDS_DESCRIPTION, TABLE_DESCRIPTION]
    return f"{place}: no patient found; expected one of these layouts:\n- " + "\n- ".join(
        known
    )


def _channels(paths: Names[Path]) -> str:
    """Return advice for nnU-Net file names, which number the contrasts."""
    numbered = [path for path in paths if re.search(r"_\d{4}$", stem(path.name))]
    if not numbered:
        return ""
    return (
        f"\n{next(iter(numbered)).name} numbers its contrast, as nnU-Net does; expected "
        "the name of the contrast. List the files in a table, or rename them, e.g. "
        "_0000 to _t1"
    )
