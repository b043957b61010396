"""From a DICOM series to a NIfTI file, by dcm2niix."""

import subprocess
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skadm._extras import import_extra
from skadm.data._image_files import image_on, read_volumes, write_nifti
from skadm.raw._dicom_headers import Series

# Sidecars without names and dates, although none is kept; no compression, no settings of
# the user's, no comment in the header, nothing cropped.
_OPTIONS = ("-b", "y", "-ba", "y", "-z", "n", "-g", "i", "-c", "", "-x", "n", "-f", "image")


def converter() -> str:
    """Name and version of dcm2niix; an ImportError if it is not installed."""
    _import_dcm2niix()
    return f"dcm2niix {version('dcm2niix')}"


def convert(series: Series, path: Path) -> None:
    """Write a series as a .nii.gz file: voxels and where they lie, and nothing else.

    Of diffusion-weighted images, those with the highest b-value; where there are several
    directions, their geometric mean. What is no single volume then is a ValueError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as folder:
        source, target = Path(folder, "in"), Path(folder, "out")
        source.mkdir()
        target.mkdir()
        # Only these files, by names that say nothing.
        for number, file in enumerate(series.of_highest_b()):
            (source / f"{number:06d}.dcm").symlink_to(file.absolute())
        program = _import_dcm2niix().bin
        done = subprocess.run(
            [program, *_OPTIONS, "-o", str(target), str(source)],
            capture_output=True,
            text=True,
            errors="replace",
        )
        images = sorted(target.glob("*.nii"))
        if not images:
            raise ValueError(f"{series.label}: {_reason(series, done)}")
        if len(images) > 1:
            shapes = [read_volumes(image)[0].shape[::-1] for image in images]
            raise ValueError(
                f"{series.label}: dcm2niix makes {len(images)} images of it, of "
                f"{' and '.join(map(str, shapes))} voxels; expected one"
            )
        volumes, affine = read_volumes(images[0])
        b_values = _b_values(images[0].with_suffix(".bval"))
    if volumes[0].size != series.n_voxels:
        raise ValueError(
            f"{series.label}: dcm2niix gives {volumes.shape[:0:-1]} voxels; expected "
            f"{series.n_voxels} of {series.n_slices} slices: files are damaged or missing"
        )
    write_nifti(path, image_on(affine, _one_volume(series, volumes, b_values)))


def _one_volume(series: Series, volumes: NDArray, b_values: Sequence[float]) -> NDArray:
    if len(b_values) == len(volumes):
        volumes = volumes[np.array(b_values) == max(b_values)]
    elif len(volumes) > 1 and not series.b_value_of_files:
        raise ValueError(
            f"{series.label}: {len(volumes)} images at each place, and dcm2niix does not "
            "find their b-values"
        )
    if len(volumes) == 1:
        return volumes[0]
    # As scanners make trace-weighted images: the mean of the exponents.
    with np.errstate(divide="ignore"):
        logarithms = np.log(np.maximum(volumes, 0, dtype=np.float64))
    return np.exp(logarithms.mean(axis=0)).astype(np.float32)


def _b_values(path: Path) -> list[float]:
    return [float(word) for word in path.read_text().split()] if path.is_file() else []


def _reason(series: Series, done: "subprocess.CompletedProcess[str]") -> str:
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    errors = [line for line in said if "error" in line.lower()] or said[-1:]
    return series.owner.hide(f"dcm2niix makes no image of it ({'; '.join(errors)})")


def _import_dcm2niix() -> Any:
    return import_extra("dcm2niix", "dcm2niix", "raw", "DICOM files need")
