"""From the files that a reader found to a checked stack."""

import warnings
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from skadm.data._names import require_file_name
from skadm.data._stack import SliceStack
from skadm.data._volumes import NiftiVolume


@dataclass(frozen=True)
class Study:
    """The files of one volume, as a reader found them.

    Parameters
    ----------
    patient : str
        Patient.
    name : str
        Name of the volume.
    place : str
        Where it was found, for error messages: a folder, or a line of a table.
    images : dict of str to Path
        File of each contrast found.
    mask : Path or None
        Anomaly mask.
    """

    patient: str
    name: str
    place: str
    images: dict[str, Path]
    mask: Path | None


def stack_of(
    studies: Iterable[Study],
    *,
    order: Sequence[str],
    contrasts: Sequence[str] | None,
    patients: Collection[str] | None,
    labels: bool,
    allow_empty_masks: bool,
    allow_missing: bool,
) -> SliceStack:
    """Check studies and make a stack of them.

    Parameters
    ----------
    studies : iterable of Study
        What a reader found.
    order : sequence of str
        Contrasts the layout knows, in the order they take by default.
    contrasts : sequence of str or None
        Contrasts to read; None: all that were found.
    patients : collection of str or None
        Patients to read; None: all.
    labels : bool
        Whether to read masks where there are any.
    allow_empty_masks : bool
        Whether a mask without anomaly is accepted.
    allow_missing : bool
        Whether a study may lack contrasts, though not all.

    Returns
    -------
    SliceStack
        All slices of the studies. Headers and masks are checked, images are not yet read.
    """
    chosen = choose_patients(list(studies), patients)
    names = _choose_contrasts(chosen, order, contrasts, allow_missing)
    if labels:
        _require_all_masks_or_none(chosen)
    volumes = [
        NiftiVolume(
            {name: study.images.get(name) for name in names},
            study.mask if labels else None,
            patient=study.patient,
            name=study.name,
        )
        for study in chosen
    ]
    if not allow_empty_masks:
        _require_anomalies(volumes)
    return SliceStack.from_volumes(volumes)


def choose_patients(studies: list[Study], patients: Collection[str] | None) -> list[Study]:
    """Choose studies, whose names must differ and make file names.

    Parameters
    ----------
    studies : list of Study
        What a reader found.
    patients : collection of str or None
        Patients, or names of volumes; None: all.

    Returns
    -------
    list of Study
        Those chosen, in their order.

    Raises
    ------
    ValueError
        If a patient was not found, or a name occurs twice or makes no file name.
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
                f"patients {unknown} were not found; the patients are "
                f"{_some(sorted(known))}"
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
                "remove one, or name the two studies apart"
            )
        places[study.name] = study.place


def _choose_contrasts(
    studies: list[Study],
    order: Sequence[str],
    contrasts: Sequence[str] | None,
    allow_missing: bool,
) -> list[str]:
    if isinstance(contrasts, str):
        raise ValueError(f"contrasts={contrasts!r} is one string; expected a list of names")
    if contrasts is None:
        names = [name for name in order if any(name in study.images for study in studies)]
    else:
        names = list(contrasts)
        unknown = [name for name in names if name not in order]
        if not set(names) & set(order) or len(set(names)) < len(names):
            raise ValueError(
                f"contrasts={contrasts}: expected different names out of {tuple(order)}"
            )
        if unknown and not allow_missing:
            raise ValueError(
                f"no patient has contrast {', '.join(unknown)}; expected different names "
                f"out of {tuple(order)}, or missing contrasts to be allowed "
                "(allow_missing=True; skadm score and report: --allow-missing)"
            )
        if unknown:
            warnings.warn(
                f"no patient has contrast {', '.join(unknown)} (found {tuple(order)}): it "
                "is missing throughout",
                stacklevel=2,
            )
    common = [name for name in names if all(name in study.images for study in studies)]
    for study in studies:
        missing = [name for name in names if name not in study.images]
        if len(missing) > (len(names) - 1 if allow_missing else 0):
            raise ValueError(
                f"{study.place}: no file of contrast {', '.join(missing)} (found "
                f"{', '.join(study.images) or 'none'}); add it, read only what all "
                f"patients have (contrasts={common}), leave the patient out "
                "(patients=[...], --patients), or, to score, let it be missing, if others "
                "are there (allow_missing=True; skadm score and report: --allow-missing)"
            )
    return names


def _require_all_masks_or_none(studies: list[Study]) -> None:
    bare = [study for study in studies if study.mask is None]
    if bare and len(bare) < len(studies):
        raise ValueError(
            f"{bare[0].place}: no mask, but {len(studies) - len(bare)} of {len(studies)} "
            "volumes have one: add it, leave the patient out (patients=[...]), or read "
            "without masks (labels=False)"
        )


def _require_anomalies(volumes: list[NiftiVolume]) -> None:
    for volume in volumes:
        mask = volume.read_mask()
        if mask is not None and not mask.any():
            raise ValueError(
                f"{volume.mask_path}: the mask is empty; if {volume.name!r} is a healthy "
                "control, say so (allow_empty_masks=True, --allow-empty-masks)"
            )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return shown if len(names) <= 8 else f"{shown}, … ({len(names)} in all)"
