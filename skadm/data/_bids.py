"""BIDS: raw data sets, and derivatives as `skadm prepare` writes them."""

import re
from collections.abc import Collection, Iterator, Sequence
from os import PathLike
from pathlib import Path

from skadm.data._layouts import is_nifti
from skadm.data._stack import SliceStack
from skadm.data._studies import Study, stack_of

BIDS_DESCRIPTION = (
    "BIDS: sub-<label>[/ses-<label>]/anat/ with <entities>_T1w.nii.gz, _T2w, _FLAIR, _PDw "
    "(with ce-<agent>: T1ce, ...) or, prepared, <entities>_desc-preproc_<suffix>.nii.gz "
    "and, with labels, <entities>_label-lesion_mask.nii.gz"
)
CONTRAST_OF_SUFFIX = {"T1w": "T1", "T2w": "T2", "PDw": "PD", "FLAIR": "FLAIR"}
_SUFFIX_OF_CONTRAST = {name: suffix for suffix, name in CONTRAST_OF_SUFFIX.items()}
_ORDER = ("T1", "T1ce", "T2", "PD", "FLAIR")
_NAME = re.compile(
    r"(?P<entities>(?:[a-z]+-[A-Za-z0-9]+_)+)(?P<suffix>[A-Za-z0-9]+)\.nii(\.gz)?"
)


def read_bids(
    folder: str | PathLike[str],
    *,
    contrasts: Sequence[str] | None = None,
    patients: Collection[str] | None = None,
    labels: bool = True,
    allow_empty_masks: bool = False,
    allow_missing: bool = False,
) -> SliceStack:
    """Read a BIDS folder whose images are skull-stripped and on one grid.

    What `skadm prepare` writes, and any other derivative with a session's images named
    ``desc-preproc`` and its lesions ``label-lesion_mask``. Where no image is so named,
    those without a ``desc`` are read. Checks as in `read_brats`.

    Parameters
    ----------
    folder : path
        Folder that holds ``sub-<label>`` folders.
    contrasts : sequence of str, default=None
        Contrasts to read, in the order wanted: T1, T2, PD and FLAIR by their BIDS suffix
        (T1w, ...), others named as their suffix; with ``ce`` at the end if an agent was
        given. None: all that were found. Every session must have them.
    patients : collection of str, default=None
        Patients (``sub-<label>``) or sessions (``sub-<label>_ses-<label>``) to read.
        None: all.
    labels : bool, default=True
        Whether to read the masks. Any label greater than 0 is an anomaly. Either all
        sessions have a mask or none has.
    allow_empty_masks : bool, default=False
        Whether a mask without any anomaly is accepted: for healthy controls.
    allow_missing : bool, default=False
        Whether a session may lack contrasts, though not all: to be scored by a detector
        that does without, such as `ADMDetector`. Their channels are NaN.

    Returns
    -------
    SliceStack
        All slices of all sessions, in the order of the folders' names. Sessions of one
        patient share their group.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If no patient is found, or a session holds two images of one contrast, lacks a
        file, or has one that is not readable, on another grid, or an empty mask.
    """
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise FileNotFoundError(f"{place}: no such folder")
    studies = bids_studies(place)
    if not studies:
        raise ValueError(f"{place}: no patient found. Expected {BIDS_DESCRIPTION}")
    found = {name for study in studies for name in study.images}
    return stack_of(
        studies,
        order=[*(name for name in _ORDER if name in found), *sorted(found - {*_ORDER})],
        contrasts=contrasts,
        patients=patients,
        labels=labels,
        allow_empty_masks=allow_empty_masks,
        allow_missing=allow_missing,
    )


def bids_studies(folder: Path) -> list[Study]:
    """Find the sessions of a BIDS folder.

    Parameters
    ----------
    folder : Path
        Folder that holds ``sub-<label>`` folders.

    Returns
    -------
    list of Study
        One for each ``anat`` folder with images, in the order of the folders' names.

    Raises
    ------
    ValueError
        If two files of a session are of the same contrast.
    """
    places = [*folder.glob("sub-*/anat"), *folder.glob("sub-*/ses-*/anat")]
    studies = (_study(place, folder) for place in sorted(places) if place.is_dir())
    return [study for study in studies if study is not None]


def file_suffix(contrast: str) -> str:
    """Name the end of a contrast's file, with the entity of a contrast agent.

    Parameters
    ----------
    contrast : str
        Contrast, such as T1, T1ce or SWI.

    Returns
    -------
    str
        Such as ``desc-preproc_T1w`` or ``ce-agent_desc-preproc_T1w``.

    Raises
    ------
    ValueError
        If nothing is left of the name.
    """
    agent = contrast.endswith("ce") and len(contrast) > 2
    plain = re.sub(r"[^A-Za-z0-9]", "", contrast.removesuffix("ce") if agent else contrast)
    if not plain:
        raise ValueError(f"{contrast!r}: a contrast's name needs a letter or a digit")
    suffix = _SUFFIX_OF_CONTRAST.get(plain, plain)
    return ("ce-agent_" if agent else "") + f"desc-preproc_{suffix}"


def _study(place: Path, root: Path) -> Study | None:
    files = list(_named_files(place))
    prepared = any(entities.get("desc") == "preproc" for _, entities, _ in files)
    images: dict[str, Path] = {}
    mask = None
    for path, entities, suffix in files:
        if suffix == "mask":
            if entities.get("label") == "lesion":
                kind, there, mask = "the lesions", mask, path
            else:
                continue
        elif entities.get("desc") == ("preproc" if prepared else None) and (
            prepared or suffix in CONTRAST_OF_SUFFIX
        ):
            kind = CONTRAST_OF_SUFFIX.get(suffix, suffix) + (
                "ce" if "ce" in entities else ""
            )
            there = images.get(kind)
            images[kind] = path
        else:
            continue
        if there is not None:
            raise ValueError(
                f"{place}: two files of {kind}, {there.name} and {path.name}; keep one, or "
                "name the ones to take in a table"
            )
    if not images:
        return None
    parts = place.relative_to(root).parts[:-1]  # sub-<label> and, if there is one, ses-
    return Study(parts[0], "_".join(parts), str(place), images, mask)


def _named_files(place: Path) -> Iterator[tuple[Path, dict[str, str], str]]:
    for path in sorted(place.iterdir()):
        match = _NAME.fullmatch(path.name)
        if match and is_nifti(path):
            pairs = (part.split("-", 1) for part in match["entities"].split("_")[:-1])
            yield path, dict(pairs), match["suffix"]
