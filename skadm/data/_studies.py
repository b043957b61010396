"""Checks of studies, and their conversion to a stack."""

import warnings
from collections.abc import Collection as Names
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from skadm.data._file_kinds import CONTRASTS, looks_like_mask
from skadm.data._image_files import inspect, read_slices
from skadm.data._interfaces import ReadingRecord
from skadm.data._masks import MaskValues
from skadm.data._names import require_file_name
from skadm.data._patients import common_stems
from skadm.data._stack import SliceStack
from skadm.data._volume import NiftiVolume

# Label files compress to a small fraction of their size, images do not.
_MASK_BYTES = 0.03
_MOST_LABELS = 20
# Maximum ratio of the in-plane voxel sides; above it, slices were acquired in another
# plane.
_MOST_ANISOTROPY = 2.0


@dataclass(frozen=True)
class Study:
    """The files of one volume.

    Parameters
    ----------
    patient : str
        Patient.
    name : str
        Name of the volume.
    place : str
        Folder or table line of the study, for error messages.
    images : dict of str to Path
        File of each contrast.
    mask : Path or None
        Mask of lesions.
    session : str, default=""
        Session; "" if unknown.
    brain : Path, default=None
        Mask of the brain.
    unread : tuple of Path, default=()
        Image files of the study with another or unknown content.
    problem : str, default=""
        Reason why it cannot be read, e.g. two files of one contrast.
    origin : dict, default={}
        For files converted from DICOM, what the record of the preparation says about them.
    """

    patient: str
    name: str
    place: str
    images: dict[str, Path]
    mask: Path | None
    session: str = ""
    brain: Path | None = None
    unread: tuple[Path, ...] = ()
    problem: str = ""
    origin: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Collection:
    """The studies of a data set."""

    studies: list[Study]
    unread: tuple[Path, ...]  # image files that belong to none of them
    layout: str  # name for users, e.g. "BIDS"
    # contrasts that every study must have, e.g. table columns; None: those in the data
    contrasts: tuple[str, ...] | None = None
    # contrasts to look for, in their order; None: all, in the usual order
    usual: tuple[str, ...] | None = None

    @property
    def order(self) -> tuple[str, ...]:
        """The contrasts of the studies, in order."""
        if self.contrasts is not None:
            return self.contrasts
        names = {name for study in self.studies for name in study.images}
        if self.usual is not None:
            return tuple(name for name in self.usual if name in names)
        usual = [name for name in CONTRASTS if name in names]
        return (*usual, *sorted(names.difference(usual)))


def stack_of(
    collection: Collection,
    *,
    contrasts: Sequence[str] | None = None,
    patients: Names[str] | None = None,
    labels: bool = True,
    lesion_labels: Names[int] | None = None,
    mask_threshold: float | None = None,
    allow_empty_masks: bool = False,
    allow_missing: bool = False,
) -> SliceStack:
    """Check studies and make a stack; the keywords are those of `read_any`.

    Headers and masks are checked, images are not yet read.
    """
    values = MaskValues(lesion_labels, mask_threshold)
    chosen = choose_patients(collection.studies, patients)
    if contrasts is None:
        contrasts = collection.contrasts
    names = _choose_contrasts(chosen, collection.order, contrasts, allow_missing)
    # After the choice of contrasts: unused ones may be ambiguous.
    chosen, left_out = _without_problems(chosen, names)
    _require_contrasts(chosen, names, allow_missing)
    unread = [path for study in chosen for path in study.unread]
    if patients is None:
        unread += collection.unread
    if labels:
        _require_all_masks_or_none(chosen)
        if all(study.mask is None for study in chosen):
            _require_no_mask_among(unread)
    _warn_of(unread)
    volumes = [
        NiftiVolume(
            {name: study.images.get(name) for name in names},
            study.mask if labels else None,
            patient=study.patient,
            name=study.name,
            session=study.session,
            brain=study.brain,
            values=values,
        )
        for study in chosen
    ]
    _warn_of_geometry(volumes)
    _warn_of_common_stems(chosen)
    lesion_ml = _measured_masks(volumes, values, allow_empty_masks)
    stack = SliceStack.from_volumes(volumes)
    stack.record = ReadingRecord(left_out, lesion_ml, tuple(unread))
    return stack


def choose_patients(studies: list[Study], patients: Names[str] | None) -> list[Study]:
    """Select studies by patient or volume name, in their order; None selects all.

    Raises a ValueError for an unknown patient, a duplicate name, or a name that cannot be
    a file name.
    """
    if patients is None:
        chosen = studies
    elif isinstance(patients, str):
        raise ValueError(
            f"patients={patients!r} is one string; expected a list of patients"
        )
    else:
        wanted = {str(patient) for patient in patients}
        known = {study.patient for study in studies} | {study.name for study in studies}
        unknown = sorted(wanted - known)
        if unknown or not wanted:
            raise ValueError(
                f"patients {unknown} do not exist; expected some of {_some(sorted(known))}"
            )
        chosen = [study for study in studies if {study.patient, study.name} & wanted]
    for study in chosen:
        require_file_name(study.name, study.place)
    _require_unique_names(chosen)
    return chosen


def _require_unique_names(studies: list[Study]) -> None:
    places: dict[str, str] = {}
    for study in studies:
        if study.name in places:
            raise ValueError(
                f"{study.name!r} occurs twice, in {places[study.name]} and {study.place}: "
                "rename one; or, if the folders above them are the patients or the "
                "sessions, list the files in a table with the columns 'patient' and "
                "'session'"
            )
        places[study.name] = study.place


def _without_problems(
    studies: list[Study], names: Sequence[str]
) -> tuple[list[Study], dict[str, str]]:
    """Leave out studies that cannot be read, with a warning."""
    left_out = {study.name: study.problem for study in studies if study.problem}
    sound = [study for study in studies if not study.problem]
    if left_out and not sound:
        raise ValueError("; ".join(left_out.values()))
    for name, problem in left_out.items():
        warnings.warn(f"{name} is left out. {problem}", stacklevel=4)
    return sound, left_out


def _choose_contrasts(
    studies: list[Study],
    order: Sequence[str],
    contrasts: Sequence[str] | None,
    allow_missing: bool,
) -> list[str]:
    if isinstance(contrasts, str):
        raise ValueError(f"contrasts={contrasts!r} is one string; expected a list of names")
    if contrasts is None:
        return [name for name in order if any(name in study.images for study in studies)]
    names = list(contrasts)
    unknown = [name for name in names if name not in order]
    if not set(names) & set(order) or len(set(names)) < len(names):
        raise ValueError(
            f"contrasts={contrasts}; expected distinct names out of {tuple(order)}"
        )
    if unknown and not allow_missing:
        raise ValueError(
            f"no patient has contrast {', '.join(unknown)}; expected distinct names out "
            f"of {tuple(order)}. To score without it, pass allow_missing=True (skadm "
            "score and report: --allow-missing)"
        )
    if unknown:
        warnings.warn(
            f"no patient has contrast {', '.join(unknown)} (found {tuple(order)}): it "
            "counts as missing",
            stacklevel=2,
        )
    return names


def _require_contrasts(
    studies: list[Study], names: Sequence[str], allow_missing: bool
) -> None:
    common = [name for name in names if all(name in study.images for study in studies)]
    for study in studies:
        missing = [name for name in names if name not in study.images]
        if len(missing) > (len(names) - 1 if allow_missing else 0):
            raise ValueError(
                f"{study.place}: no file of contrast {', '.join(missing)} (found "
                f"{', '.join(study.images) or 'none'}); add it, read only what all "
                f"patients have (contrasts={common}), leave the patient out "
                "(patients=[...], --patients), or pass allow_missing=True when scoring "
                "(skadm score and report: --allow-missing)"
            )


def _require_all_masks_or_none(studies: list[Study]) -> None:
    bare = [study for study in studies if study.mask is None]
    if bare and len(bare) < len(studies):
        raise ValueError(
            f"{bare[0].place}: no mask, but {len(studies) - len(bare)} of {len(studies)} "
            "volumes have one: add it, leave the patient out (patients=[...]), or read "
            "without masks (labels=False, --no-masks)"
        )


def _require_no_mask_among(unread: list[Path]) -> None:
    """Refuse to take patients for unlabelled beside files that look like their masks."""
    for path in unread:
        by_name = looks_like_mask(path.name)
        if by_name or _holds_labels(path):
            why = "is named as a mask" if by_name else "holds a few whole numbers only"
            raise ValueError(
                f"{path}: looks like a mask, since it {why}, but is not known to be one of "
                "lesions. If it marks lesions, name it <any>_seg or list it in the column "
                "'mask' of a table; if it does not, read without masks (labels=False, "
                "--no-masks)"
            )


def _holds_labels(path: Path) -> bool:
    """Whether a file holds labels by its content; only small files are looked into."""
    try:
        header = inspect(path)
        if path.stat().st_size > _MASK_BYTES * np.prod(header.shape):
            return False
        values = np.unique(read_slices(path))
    except (ValueError, OSError, ImportError):
        return False
    return 2 <= len(values) <= _MOST_LABELS and bool((values == np.rint(values)).all())


def _warn_of(unread: list[Path]) -> None:
    if unread:
        warnings.warn(
            f"{len(unread)} image file{'s are' if len(unread) > 1 else ' is'} not read "
            "(the name does not say that it is needed, or another file comes before it): "
            f"{_some([*map(str, unread)])}",
            stacklevel=4,
        )


def _warn_of_geometry(volumes: list[NiftiVolume]) -> None:
    blind = [volume.name for volume in volumes if not volume.source.header.oriented]
    if blind:
        warnings.warn(
            f"the headers of {_some(blind)} do not say how the head lies: the axes are "
            "taken as running to the left, to the front and to the top, slices as axial",
            stacklevel=4,
        )
    tilted = [
        volume.name
        for volume in volumes
        if np.ptp(np.log(volume.voxel_size[:2])) > np.log(_MOST_ANISOTROPY)
    ]
    if tilted:
        warnings.warn(
            f"the slices of {_some(tilted)} were not acquired as axial ones: within an "
            "axial slice their voxels are more than twice as long as wide. skadm prepare "
            "makes cubic voxels",
            stacklevel=4,
        )


def _warn_of_common_stems(studies: list[Study]) -> None:
    stems = common_stems(study.patient for study in studies)
    stems.update(_numbered_folders(studies))
    if stems:
        groups = [f"{stem} ({', '.join(names)})" for stem, names in stems.items()]
        warnings.warn(
            f"{_some(groups)}: these names count as different patients. If they are scans "
            "of one, say which part of the path is the patient's name "
            "(patient_pattern=r'...', --patient-pattern), or list the files in a table "
            "with the columns 'patient' and 'session'",
            stacklevel=4,
        )


def _numbered_folders(studies: list[Study]) -> dict[str, list[str]]:
    """Find folders with a number in the name whose folders, of a number only, are patients.

    P1/2019 and P1/2021 may be sessions of P1, or patients of a group.
    """
    folders: dict[Path, list[str]] = {}
    for study in studies:
        place = Path(study.place)
        if place.name == study.patient and study.patient.isdigit():
            folders.setdefault(place.parent, []).append(study.patient)
    numbered = {
        place: names
        for place, names in folders.items()
        if any(map(str.isdigit, place.name)) and len(names) > 1
    }
    return (
        {place.name: names for place, names in numbered.items()} if len(folders) > 1 else {}
    )


def _measured_masks(
    volumes: list[NiftiVolume], values: MaskValues, allow_empty: bool
) -> dict[str, float]:
    """Millilitres that each mask marks; a mask that cannot be one is refused."""
    measured = {}
    for volume in volumes:
        mask = volume.source.mask()
        if mask is None:
            continue
        voxel_ml = float(np.prod(volume.voxel_size)) / 1000
        measured[volume.name] = int(np.count_nonzero(mask)) * voxel_ml
        if mask.any() or allow_empty:
            continue
        if values.labels is not None:
            present = np.unique(np.rint(read_slices(volume.source.mask_path)))  # type: ignore[arg-type]
            said = (
                f"no voxel has one of the lesion labels {list(values.labels)}; there are "
            )
            said += ", ".join(f"{value:g}" for value in present[:10])
        else:
            said = "the mask is empty"
        raise ValueError(
            f"{volume.source.mask_path}: {said}; if {volume.name!r} is a healthy "
            "control, say so (allow_empty_masks=True, --allow-empty-masks)"
        )
    return measured


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return shown if len(names) <= 8 else f"{shown}, … ({len(names)} in all)"
