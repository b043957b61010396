"""Preparation of raw scans, compared with reference masks and transforms.

Two data sets are used if the folder contains them:

- open_ms/raw (Lesjak et al. 2018): multiple sclerosis, each contrast on a separate grid,
  with the authors' transforms between contrasts and a brain mask. The target registration
  error is the mean distance in mm between the places to which our transform and theirs move
  a point of the brain. Their transforms may scale and shear, ours may not. "Best rigid" is
  the error of the rigid transform nearest to theirs, "headers" that of the positions in the
  headers. Their transforms are not ground truth, but the result of another program.
- lgg_raw (TCGA): contrasts on one grid, which is taken as ground truth; slices are 5 to 8
  mm thick. "Displaced": every contrast but the reference is rotated by 6° and shifted by 10
  mm before it is registered, and loses 16 columns, so that neither headers nor centres
  reveal its position. The error is the distance to the original position. "In plane" is the
  part of the error within slices. "Between" is the distance between the results of the two
  registrations. If it is smaller than the errors, the grid itself is partly wrong. The
  reference mask also comes from HD-BET, run on the FLAIR as it is: the overlap measures the
  effect of N4 and of the new grid, not HD-BET. The mask of open_ms measures HD-BET.

    python -m benchmarks preparation --data ../shared/data

Prints a table of each, and the seconds of each step. A second run prepares nothing again
and shows the seconds of the first. Writes a CSV file for each table, and run.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.lib.options import positive, read_options, say

if TYPE_CHECKING:
    import SimpleITK as sitk
    from numpy.typing import NDArray

    from skadm.data import Study

_EVERY = 101  # brain voxels between two target points
_REFERENCE = "FLAIR"
_LOST = 16  # columns
_DEGREES, _SHIFT = 6.0, (6.0, -6.0, 5.29)  # the shift is 10 mm long


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--data", type=Path, required=True, help="folder of both data sets")
    parser.add_argument(
        "--jobs", type=positive, default=1, help="patients to prepare in parallel"
    )
    parser.add_argument("--patients", type=positive, help="most patients of each data set")


def ms_studies(folder: Path) -> list[Study]:
    """Studies of open_ms/raw: <patient>/study<n>_<contrast>.nii.gz."""
    from skadm.data import Study

    studies = []
    for flair in sorted(folder.glob("*/study*_FLAIR.nii.gz")):
        stem = flair.name.removesuffix("_FLAIR.nii.gz")
        images = {
            name: flair.with_name(f"{stem}_{ending}.nii.gz")
            for name, ending in (("T1", "T1W"), ("T2", "T2W"), ("FLAIR", "FLAIR"))
        }
        patient = flair.parent.name
        place = str(flair.parent)
        studies.append(Study(patient, f"{patient}_{stem}", place, images, None))
    return studies


def points_in(mask: sitk.Image) -> NDArray[np.float64]:
    """Return points of a mask, in mm."""
    import SimpleITK as sitk

    indices = np.argwhere(sitk.GetArrayViewFromImage(mask) > 0)[::_EVERY, ::-1]
    return np.array([mask.TransformIndexToPhysicalPoint(i) for i in indices.tolist()])


def moved(transform: Any, points: NDArray) -> NDArray:
    """Apply a transform to points."""
    return np.array([transform.TransformPoint(point) for point in points.tolist()])


def distance(first: NDArray, second: NDArray) -> NDArray:
    """Return the distance of each point from its counterpart."""
    return np.linalg.norm(first - second, axis=1)


def across(points: NDArray, image: sitk.Image) -> NDArray:
    """Return coordinates of points within the slices of an image, in mm."""
    return points @ np.array(image.GetDirection()).reshape(3, 3)[:, :2]


def nearest_rigid(points: NDArray, targets: NDArray) -> NDArray:
    """Move points rigidly as near to the targets as possible."""
    a, b = points - points.mean(0), targets - targets.mean(0)
    left, _, right = np.linalg.svd(a.T @ b)
    sign = np.diag([1, 1, np.linalg.det(left @ right)])
    return a @ left @ sign @ right + targets.mean(0)


def dice(first: NDArray, second: NDArray) -> float:
    """Compute the Dice coefficient of two masks."""
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def on_grid(mask: sitk.Image, grid: sitk.Image, transform: Any = None) -> NDArray[np.bool_]:
    """Resample a mask to another grid."""
    import SimpleITK as sitk

    nearest = sitk.sitkNearestNeighbor
    moved_mask = sitk.Resample(mask, grid, transform or sitk.Transform(), nearest)
    return sitk.GetArrayFromImage(moved_mask) > 0


def prepared(outcome: Any, ending: str) -> sitk.Image:
    """Read an image that was written."""
    from skadm.raw._itk import read_image

    file = next(file for file in outcome.record["outputs"] if file.endswith(ending))
    return read_image(outcome.folder / file)


def ms_rows(study: Study, outcome: Any) -> Iterator[dict[str, Any]]:
    """Compare a study of open_ms with the transforms and the mask of its authors."""
    import SimpleITK as sitk

    from skadm.raw._itk import read_image

    flair = study.images[_REFERENCE]
    stem = flair.name.removesuffix("_FLAIR.nii.gz")
    brain = prepared(outcome, "desc-brain_mask.nii.gz")
    given = read_image(flair.parent / "reference" / "brainmask.nii.gz") > 0
    common = flair.parent / "reference" / f"{stem}_FLAIR_to_common_space.txt"
    # From points of the common space to points of FLAIR: the mask goes the other way.
    back = sitk.ReadTransform(str(common)).GetInverse()
    given_mask = on_grid(given, brain, back)
    points = points_in(brain)
    for name in ("T1", "T2"):
        theirs = sitk.ReadTransform(
            str(flair.with_name(f"{stem}_{name}W_intrastudy_to_FLAIR.txt"))
        )
        ours = sitk.ReadTransform(
            str(outcome.folder / outcome.record["transforms"][name]["file"])
        )
        targets = moved(theirs, points)
        error = distance(moved(ours, points), targets)
        yield {
            "study": study.name,
            "brain_dice": dice(sitk.GetArrayFromImage(brain) > 0, given_mask),
            "contrast": name,
            "tre_mm": error.mean(),
            "tre_max_mm": error.max(),
            "headers_mm": distance(points, targets).mean(),
            "best_rigid_mm": distance(nearest_rigid(points, targets), targets).mean(),
        }


def lgg_rows(study: Study, outcome: Any, stripped: Path) -> Iterator[dict[str, Any]]:
    """Compare a patient of lgg_raw with the skull-stripped scan and the original grid."""
    import SimpleITK as sitk

    from skadm.raw._itk import read_image
    from skadm.raw._registration import register_rigidly

    flair = read_image(study.images[_REFERENCE])
    given = read_image(stripped / study.name / study.images[_REFERENCE].name) != 0
    brain = prepared(outcome, "desc-brain_mask.nii.gz")
    overlap = dice(on_grid(brain, flair), sitk.GetArrayFromImage(given) > 0)
    native = sitk.Resample(brain, flair, sitk.Transform(), sitk.sitkNearestNeighbor) > 0
    points = points_in(brain)
    motion = sitk.Euler3DTransform()
    motion.SetCenter(points.mean(0).tolist())
    motion.SetRotation(*(np.radians(_DEGREES) * np.array([1, -1, 1]) / np.sqrt(3)))
    motion.SetTranslation(_SHIFT)
    for name in outcome.record["transforms"]:
        ours = sitk.ReadTransform(
            str(outcome.folder / outcome.record["transforms"][name]["file"])
        )
        scan = read_image(study.images[name])
        registered = register_rigidly(flair, displaced(scan, motion), native).transform
        placed, brought_back = (
            moved(ours, points),
            moved(motion.GetInverse(), moved(registered, points)),
        )
        yield {
            "study": study.name,
            "slice_mm": flair.GetSpacing()[2],
            "brain_dice": overlap,
            "contrast": name,
            "tre_mm": distance(placed, points).mean(),
            "in_plane_mm": distance(across(placed, flair), across(points, flair)).mean(),
            "displaced_mm": distance(moved(motion, points), points).mean(),
            "displaced_tre_mm": distance(brought_back, points).mean(),
            "between_mm": distance(brought_back, placed).mean(),
        }


def displaced(image: sitk.Image, motion: sitk.Euler3DTransform) -> sitk.Image:
    """Move an image in the scanner and remove some columns."""
    out = image[_LOST:, :, :]
    out.SetOrigin(motion.TransformPoint(out.GetOrigin()))
    turn = np.array(motion.GetMatrix()).reshape(3, 3)
    out.SetDirection((turn @ np.array(image.GetDirection()).reshape(3, 3)).ravel().tolist())
    return out


def main(argv: Sequence[str] | None = None) -> None:
    """Prepare, compare, print."""
    options = read_options(__name__, argv)

    from benchmarks.lib.page import Page
    from skadm.data import find_studies
    from skadm.raw import HDBET, Preparation, prepare

    data = options.data
    sets = {
        "open_ms": (ms_studies(data / "open_ms" / "raw"), ms_rows),
        "lgg": (
            find_studies(data / "lgg_raw") if (data / "lgg_raw").is_dir() else [],
            lambda study, outcome: lgg_rows(study, outcome, data / "lgg"),
        ),
    }
    preparation = Preparation(_REFERENCE, 1.0, HDBET())
    page = Page(options, "Preparation of raw scans", "Errors in mm, overlaps as Dice.")
    for title, (studies, compare) in sets.items():
        if not studies:
            say(f"{title}: no raw scans in {data}")
            continue
        studies = studies[: options.patients]
        rows, seconds = [], []
        outcomes = prepare(studies, options.out / title, preparation, n_jobs=options.jobs)
        for study, outcome in zip(studies, outcomes):
            say(f"{study.name}: {outcome.status} {outcome.error}")
            if outcome.status != "failed":
                rows += list(compare(study, outcome))
                seconds.append({"study": study.name, **outcome.record["seconds"]})
        page.table(f"{title}_comparison", rows, f"{title}, comparison")
        page.table(f"{title}_seconds", seconds, f"{title}, seconds of each step")
    if not page.tables:
        raise ValueError(f"{data}: neither open_ms/raw nor lgg_raw is there")
    page.close()
