"""All steps for one patient."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from skadm._files import require_file
from skadm._version import __version__
from skadm.data import Study
from skadm.data._masks import ALL_LABELS, MaskValues
from skadm.raw._bias_field import correct_bias_field
from skadm.raw._brain_extraction import HDBET, BrainExtractor, read_mask
from skadm.raw._itk import import_sitk, read_image, write_image
from skadm.raw._output_names import Names
from skadm.raw._quality import draw_quality
from skadm.raw._registration import RigidTransform, register_rigidly
from skadm.raw._resampling import field_of_view, isotropic_grid, resample, resample_mask


@dataclass(frozen=True)
class Preparation:
    """How a patient's scans are prepared.

    N4 on each contrast, the brain on the reference contrast, a rigid registration of each
    other contrast to it inside the brain, and one interpolation onto cubic voxels. What
    lies outside the brain, or was not scanned on every contrast, is 0 on all.

    Parameters
    ----------
    reference : str, default="FLAIR"
        Contrast that stays where it is; masks lie on its grid.
    spacing : float, default=1.0
        Side of a voxel in mm.
    brain : HDBET or GivenMasks, default=HDBET()
        What finds the brain of patients who come without a mask of it.
    mask_values : MaskValues, default=MaskValues()
        Which values of the patients' masks count: all but 0, unless others are named.
    """

    reference: str = "FLAIR"
    spacing: float = 1.0
    brain: BrainExtractor = field(default_factory=HDBET)
    mask_values: MaskValues = ALL_LABELS

    def __post_init__(self) -> None:
        """Check the spacing."""
        if not 0.1 <= self.spacing <= 20:
            raise ValueError(f"spacing={self.spacing}: expected 0.1 to 20 mm")

    def describe(self) -> dict[str, Any]:
        """Say what it is, for the record.

        Returns
        -------
        dict
            The parameters.
        """
        return {
            "reference": self.reference,
            "spacing_mm": self.spacing,
            "brain": self.brain.describe(),
            "lesion_labels": self.mask_values.labels and list(self.mask_values.labels),
            "mask_threshold": self.mask_values.threshold,
        }

    def fingerprint(self, study: Study) -> dict[str, Any]:
        """Say which files a patient is prepared from, by path and content.

        Parameters
        ----------
        study : Study
            The files.

        Returns
        -------
        dict
            Path and SHA-256 of each contrast, of the lesion mask if there is one, and of
            what finds the brain.

        Raises
        ------
        OSError
            If a file is missing, a folder, or cannot be read.
        """
        files = dict(study.images)
        if study.mask:
            files["lesions"] = study.mask
        files |= (
            {"brain mask": study.brain} if study.brain else self.brain.files(study.name)
        )
        prints = {}
        for name, path in files.items():
            require_file(path)
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            # What was converted lies where it is for a moment only.
            place = {} if study.origin else {"path": str(path)}
            prints[name] = {**place, "sha256": digest}
        return prints

    def run(self, study: Study, names: Names, folder: Path) -> dict[str, Any]:
        """Prepare a patient.

        Parameters
        ----------
        study : Study
            The files.
        names : Names
            Names of what is written.
        folder : Path
            Where it is written.

        Returns
        -------
        dict
            The record: inputs, parameters, what was found, versions, durations.

        Raises
        ------
        ValueError
            If the reference is missing or an image cannot be used.
        OSError
            If a file cannot be read or written.
        """
        if study.problem:
            raise ValueError(study.problem)
        if self.reference not in study.images:
            raise ValueError(
                f"{study.place}: no {self.reference}, which the other contrasts are "
                f"registered to (found {', '.join(study.images) or 'none'}); choose "
                "another reference, or leave the patient out"
            )
        inputs = self.fingerprint(study)
        sitk, clock = import_sitk(), _Clock()
        for part in ("anat", "xfm", "figures"):
            (folder / part).mkdir(parents=True)
        with clock("read"):
            raw = {name: read_image(path) for name, path in study.images.items()}
            lesion = (
                read_mask(study.mask, raw[self.reference], self.mask_values)
                if study.mask
                else None
            )
        with clock("bias field"):
            scans = {name: _named(name, correct_bias_field, raw[name]) for name in raw}
        with clock("brain"):
            if study.brain is None:
                brain = self.brain(scans[self.reference], study.name)
            else:
                values = self.mask_values.of_brain()
                brain = read_mask(study.brain, scans[self.reference], values)
            _require_brain(brain, study.name)
        with clock("registration"):
            registrations = {
                name: _named(name, register_rigidly, scans[self.reference], scan, brain)
                for name, scan in scans.items()
                if name != self.reference
            }
        with clock("resampling"):
            grid = isotropic_grid(scans[self.reference], self.spacing)
            transforms = {
                name: sitk.Transform(registration.transform)
                for name, registration in registrations.items()
            }
            transforms[self.reference] = sitk.Transform()
            heads = {name: resample(scans[name], grid, transforms[name]) for name in scans}
            whole = resample_mask(brain, grid)
            inside = whole
            for name, scan in scans.items():
                inside = sitk.And(inside, field_of_view(scan, grid, transforms[name]))
            _require_brain(inside, study.name)
        with clock("writing"):
            for name, head in heads.items():
                path = folder / names.image(name)
                write_image(path, sitk.Mask(head, inside), np.float32)
            write_image(folder / names.mask("desc-brain"), inside, np.uint8)
            if lesion is not None:
                lesion = resample_mask(lesion, grid)
                write_image(folder / names.mask("label-lesion"), lesion, np.uint8)
            for name, registration in registrations.items():
                path = folder / names.transform(name, self.reference)
                sitk.WriteTransform(registration.transform, str(path))
            draw_quality(folder / names.picture, heads, inside, self.reference, study.name)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        lesions = {}
        if lesion is not None:
            lesions["lesion_ml"] = _millilitres(lesion)
            outside = sitk.And(lesion, sitk.Not(inside))
            lesions["lesion_outside_brain_ml"] = _millilitres(outside)
        return {
            "patient": study.patient,
            "name": study.name,
            "parameters": self.describe(),
            "inputs": inputs,
            **({"dicom": study.origin} if study.origin else {}),
            "outputs": [path.relative_to(folder).as_posix() for path in files],
            "transforms": {
                name: _describe(registration, names.transform(name, self.reference))
                for name, registration in registrations.items()
            },
            "brain_ml": _millilitres(inside),
            **lesions,
            # Of the brain on the reference; set to 0, since a contrast lacks it.
            "brain_not_scanned_ml": round(_millilitres(whole) - _millilitres(inside), 2),
            "seconds": clock.seconds,
            "versions": {"skadm": __version__, "SimpleITK": version("SimpleITK")},
        }


class _Clock:
    """Seconds that each step takes."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[step] = round(time.perf_counter() - start, 2)


def _named(name: str, step: Any, *arguments: Any) -> Any:
    try:
        return step(*arguments)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _require_brain(mask: Any, name: str) -> None:
    if not import_sitk().GetArrayViewFromImage(mask).any():
        raise ValueError(
            f"{name}: the brain mask is empty where all contrasts were scanned"
        )


def _millilitres(mask: Any) -> float:
    voxels = int(import_sitk().GetArrayViewFromImage(mask).sum())
    return round(voxels * float(np.prod(mask.GetSpacing())) / 1000, 2)


def _describe(registration: RigidTransform, file: str) -> dict[str, Any]:
    matrix = registration.matrix
    return {
        "file": file,
        "matrix_lps": matrix.tolist(),
        "rotation_degrees": registration.degrees,
        "mutual_information": registration.metric,
        "start": registration.start,
    }
