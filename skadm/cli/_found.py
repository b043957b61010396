"""Inspection of a folder by `skadm run` before any work."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skadm.cli import _options
from skadm.cli._data import abbreviated_list
from skadm.cli._dicom import find_dicom, is_dicom, print_dicom

_LOOKED_AT = 8  # number of volumes checked for the skull


@dataclass(frozen=True)
class Found:
    """Patients of a folder and their properties."""

    data: str
    layout: str
    studies: list[Any]  # readable ones
    problems: dict[str, str]  # reason for each unreadable study, by name
    contrasts: list[str]  # common to all
    left_out: dict[str, str]  # contrast to a patient without it
    masks: bool  # whether masks are read
    raw: list[str]  # reasons why scans must be prepared
    millimetres: float  # through slices, of all studies that must be prepared

    @property
    def marked(self) -> list[Any]:
        """Studies whose masks are read."""
        return [study for study in self.studies if self.masks and study.mask is not None]

    @property
    def mixed(self) -> bool:
        """Whether some studies have a mask and others have none."""
        return 0 < len(self.marked) < len(self.studies)


def find(args: argparse.Namespace, data: str, chosen: dict[str, Any]) -> Found:
    """Find patients; `chosen` are the options of `add_selection`."""
    from skadm.data._readers import find_collection
    from skadm.data._studies import choose_patients

    where = {name: chosen[name] for name in _options.SELECTION if name in chosen}
    dicom = find_dicom(args) if is_dicom(args, data) else None
    if dicom is None:
        collection = find_collection(data, **where)
        studies = choose_patients(collection.studies, chosen.get("patients"))
    else:
        print_dicom(dicom)
        collection = dicom.collection
        studies = collection.studies
    problems = {study.name: study.problem for study in studies if study.problem}
    sound = [study for study in studies if not study.problem]
    if not sound:
        raise ValueError("; ".join(problems.values()))
    without = {
        name: next((s.name for s in sound if name not in s.images), None)
        for name in collection.order
    }
    contrasts = args.contrasts or [name for name in without if without[name] is None]
    if not contrasts:
        raise ValueError(
            f"{data}: the {len(sound)} volumes have no contrast in common (found "
            f"{', '.join(without)}); choose patients with --patients, or contrasts with "
            "--contrasts"
        )
    if unknown := [name for name in contrasts if name not in without]:
        raise ValueError(
            f"--contrasts names {', '.join(unknown)}; expected some of {', '.join(without)}"
        )
    for name in contrasts:
        if without[name] is not None:
            raise ValueError(
                f"--contrasts names {name}, which {without[name]} lacks; omit the "
                "contrast or the patient"
            )
    if dicom is None:
        raw = _reasons_to_prepare(sound, contrasts)
    else:
        raw = ["they are DICOM series"]
    return Found(
        data,
        collection.layout,
        sound,
        problems,
        contrasts,
        {name: who for name, who in without.items() if who and name not in contrasts},
        args.masks,
        raw,
        dicom.millimetres if dicom else _millimetres(sound, contrasts[0]) if raw else 0.0,
    )


def _millimetres(studies: list[Any], contrast: str) -> float:
    """How far the volumes of a contrast reach through slices, all together."""
    import numpy as np

    from skadm.data._image_files import inspect

    headers = (inspect(study.images[contrast]) for study in studies)
    return sum(
        header.shape[2] * float(np.linalg.norm(header.affine[:3, 2])) for header in headers
    )


def _reasons_to_prepare(studies: list[Any], contrasts: list[str]) -> list[str]:
    """Return the reasons why scans must be prepared: different grids, or the skull."""
    apart = [study.name for study in studies if not _on_one_grid(study, contrasts)]
    if apart:
        return [
            f"the contrasts of {len(apart)} of {len(studies)} volumes lie on different "
            f"grids ({abbreviated_list(apart)})"
        ]
    step = -(-len(studies) // _LOOKED_AT)
    looked_at = studies[::step]
    skulls = [study.name for study in looked_at if _has_skull(study, contrasts)]
    if skulls:
        return [
            f"{len(skulls)} of the {len(looked_at)} volumes checked seem to include the "
            f"skull ({abbreviated_list(skulls)})"
        ]
    return []


def _on_one_grid(study: Any, contrasts: list[str]) -> bool:
    return on_one_grid(*(study.images[name] for name in contrasts))


def on_one_grid(*paths: Path) -> bool:
    """Return whether image files lie on one grid."""
    from skadm.data._image_files import inspect

    first, *others = map(inspect, paths)
    for other in others:
        try:
            first.require_same_grid(other)
        except ValueError:
            return False
    return True


def _has_skull(study: Any, contrasts: list[str]) -> bool:
    from skadm.data import NiftiVolume
    from skadm.preprocessing._normalize import MOST_BRAIN

    volume = NiftiVolume(
        {name: study.images[name] for name in contrasts},
        patient=study.patient,
        name=study.name,
        brain=study.brain,
    )
    return float(volume.decode(labels=False).brain.mean()) > MOST_BRAIN


def print_found(found: Found) -> None:
    """Print the properties of the data, a line each."""
    names = [study.name for study in found.studies]
    patients = sorted({study.patient for study in found.studies})
    sessions = [study.name for study in found.studies if study.session]
    contrasts = ", ".join(found.contrasts)
    for name, who in found.left_out.items():
        contrasts += f"; {name} is left out, which {who} lacks"
    if not found.masks:
        masks = "left unread (--no-masks)"
    else:
        masks = f"{len(found.marked)} of {len(names)} volumes have one"
    lines = {
        "data": f"{found.data} ({found.layout})",
        "patients": f"{len(patients)} ({abbreviated_list(patients)})",
        "sessions": f"{len(sessions)} ({abbreviated_list(sessions)})" if sessions else "",
        "contrasts": contrasts,
        "masks": masks,
        "left out": f"{len(found.problems)} ({'; '.join(found.problems.values())})"
        if found.problems
        else "",
        "state": "; ".join(found.raw) + ": they must be prepared"
        if found.raw
        else "one grid for each patient, no skull: nothing has to be prepared",
    }
    for name, text in lines.items():
        if text:
            print(f"{name + ':':<10} {text}")
    print(end="", flush=True)
