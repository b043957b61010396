"""Random data sets with a known truth: what is read is right, or refused by name.

Each case draws a layout, names, orientations, encodings of labels, sessions and perhaps
one hazard. Without a hazard the truth must come out; with one, the truth or a refusal that
names what is wrong. There is no third outcome.
"""

import gzip
from dataclasses import dataclass, field

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from test_orientation import ORIENTATIONS

from skadm.data import read_any

SHAPE = (6, 5, 3)
N_CASES = 320
WORDS = {
    "T1": ["t1", "T1", "T1w", "t1n", "T1W", "MPRAGE"],
    "T1ce": ["t1ce", "T1c", "t1gd", "T1CE", "t1_post"],
    "T2": ["t2", "T2", "T2w", "t2W"],
    "FLAIR": ["flair", "FLAIR", "Flair", "t2f"],
    "DWI": ["dwi", "DWI"],
}
MASKS = ["seg", "SEG", "mask", "Mask", "msk", "lesion", "label", "tumor_seg", "roi", "gt"]
BIDS = {"T1": "T1w", "T1ce": "ce-gd_T1w", "T2": "T2w", "FLAIR": "FLAIR", "DWI": "dwi"}
# One file of a lesion for each way in which files have it.
SAME = {
    "0, 1": lambda mask, rng: mask.astype(np.uint8),
    "0, 255": lambda mask, rng: (mask * 255).astype(np.int16),
    "float": lambda mask, rng: mask.astype(np.float32),
    "0.99999997": lambda mask, rng: mask * 0.99999997,
    "noise": lambda mask, rng: mask + 1e-6 * rng.normal(size=mask.shape),
    "trailing axis": lambda mask, rng: mask.astype(np.uint8)[..., None],
    "labels": lambda mask, rng: (mask * rng.choice([1, 2, 4], mask.shape)).astype(np.int16),
}
HAZARDS = {
    "probabilities": "mask_threshold",
    "inverted mask": "fill",
    "negative mask": "whole numbers",
    "empty mask": "the mask is empty",
    "mask in place of an image": "two values only",
    "another grid": "co-registered|different affines",
    "contrast lacking": "no file of contrast",
    "mask lacking": "no mask, but",
    "two of one contrast": "two files of",
    "NaN": "NaN or infinite",
    "truncated": "truncated or damaged|not a readable NIfTI",
    "time series": "three-dimensional",
    "broken link": "the link points to",
    "masks of another name": "looks like a mask",
}


@dataclass
class Volume:
    """What must be read of a volume."""

    patient: str
    session: str
    images: dict
    lesion: np.ndarray
    files: dict = field(default_factory=dict)
    mask: object = None


@dataclass
class Case:
    """A data set on disk."""

    place: object
    volumes: list
    contrasts: list
    labelled: bool
    hazard: str | None


def build(seed, folder):
    """Draw a data set, and write it."""
    rng = np.random.default_rng(seed)
    pick = lambda options: options[int(rng.integers(len(options)))]  # noqa: E731
    layout = pick(["folders", "groups", "flat", "nested", "bids", "derivatives", "table"])
    contrasts = sorted(rng.choice([*WORDS], int(rng.integers(1, 4)), replace=False))
    labelled = bool(rng.random() < 0.8)
    hazard = pick(sorted(HAZARDS)) if rng.random() < 0.6 else None
    with_sessions = (
        layout in ("nested", "bids", "derivatives", "table") and rng.random() < 0.5
    )
    volumes = []
    for number in range(int(rng.integers(1 if hazard is None else 2, 4))):
        for session in (["", ""], ["1", "2"])[with_sessions][: 1 + with_sessions]:
            images = {name: draw_image(rng) for name in contrasts}
            lesion = np.zeros(SHAPE, bool)
            x, y, z = (int(rng.integers(1, n - 1)) for n in SHAPE)
            lesion[x, y, z] = lesion[x, y - 1, z] = True
            volumes.append(Volume(f"{number}", session, images, lesion))
    case = Case(folder, volumes, contrasts, labelled, hazard)
    style = {
        "word": {name: pick(WORDS[name]) for name in contrasts},
        "mask": pick(MASKS),
        "separator": pick(["_", "-", "."]),
        "stem": pick(["P{}", "case{}", "BraTS20_Training_00{}", "Study-T2-{}", "sub{}x"]),
        "session": pick(["ses-{}", "T{}", "visit{}", "2020-01-0{}", "study{}"]),
        "encoding": pick(sorted(SAME)),
    }
    for volume in volumes:
        name_files(case, volume, layout, style)
    for volume in volumes:
        for name, path in volume.files.items():
            write(rng, path, volume.images[name])
        if labelled:
            write(rng, volume.mask, SAME[style["encoding"]](volume.lesion, rng))
    if hazard is not None and not endanger(rng, case, layout):
        case.hazard = None
    if layout == "table":
        case.place = write_table(folder, case, pick)
    return case


def draw_image(rng):
    image = rng.uniform(10, 200, SHAPE).astype(np.float32)
    image[0], image[:, 0] = 0, 0
    return image


def name_files(case, volume, layout, style):
    """Say where the files of a volume go."""
    patient = style["stem"].format(volume.patient)
    session = volume.session and style["session"].format(volume.session)
    if layout in ("bids", "derivatives"):
        patient = f"sub-{volume.patient}"
        session = volume.session and f"ses-{volume.session}"
        stem = "_".join(filter(None, (patient, session)))
        folder = case.place / patient / session
        for name in case.contrasts:
            part = "dwi" if name == "DWI" else "anat"
            volume.files[name] = folder / part / f"{stem}_{BIDS[name]}"
        apart = case.place / "derivatives" / "lesions" / patient / session / "anat"
        volume.mask = (apart if layout == "derivatives" else folder / "anat") / (
            f"{stem}_label-lesion_mask"
        )
        return
    folder, front = {
        "folders": (case.place / patient, patient),
        "groups": (case.place / f"group{int(volume.patient) % 2}" / patient, patient),
        "flat": (case.place, patient),
        "nested": (
            case.place / patient / session,
            "_".join(filter(None, (patient, session))),
        ),
        "table": (case.place / "files", f"{patient}{session}"),
    }[layout]
    for name in case.contrasts:
        volume.files[name] = folder / f"{front}{style['separator']}{style['word'][name]}"
    volume.mask = folder / f"{front}{style['separator']}{style['mask']}"


def write(rng, path, data):
    """Write LPS voxels in any orientation; one file in ten has the wrong ending."""
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    codes = ORIENTATIONS[int(rng.integers(len(ORIENTATIONS)))]
    transform = ornt_transform(io_orientation(affine), axcodes2ornt(codes))
    voxels = apply_orientation(data, transform)
    image = nib.Nifti1Image(voxels, affine @ inv_ornt_aff(transform, SHAPE))
    content = image.to_bytes()
    ending = [".nii", ".nii.gz", ".NII.GZ", ".nii"][int(rng.integers(4))]
    path.parent.mkdir(parents=True, exist_ok=True)
    compressed = ending.lower().endswith("gz") != (rng.random() < 0.1)
    path.with_name(path.name + ending).write_bytes(
        gzip.compress(content, 1) if compressed else content
    )


def written(path):
    """The file of a name without its ending."""
    (found,) = [
        file
        for ending in (".nii", ".nii.gz", ".NII.GZ")
        if (file := path.with_name(path.name + ending)).exists()
    ]
    return found


def endanger(rng, case, layout):
    """Bring in the hazard; False if the case has no room for it."""
    volume = case.volumes[0]
    first = case.contrasts[0]
    mask_hazards = {
        "probabilities": lambda: volume.lesion * np.float32(0.5),
        "inverted mask": lambda: (~volume.lesion).astype(np.uint8),
        "negative mask": lambda: -volume.lesion.astype(np.int8),
        "empty mask": lambda: np.zeros(SHAPE, np.uint8),
    }
    if case.hazard in mask_hazards:
        if not case.labelled:
            return False
        written(volume.mask).unlink()
        write(rng, volume.mask, mask_hazards[case.hazard]())
    elif case.hazard == "mask lacking":
        if not case.labelled:
            return False
        written(volume.mask).unlink()
        volume.mask = None
    elif case.hazard == "masks of another name":
        if case.labelled or layout == "table":
            return False
        for other in case.volumes:
            path = other.files[first].with_name(other.files[first].name + "_wm_seg")
            write(rng, path, other.lesion.astype(np.uint8))
    elif case.hazard == "contrast lacking":
        if len(case.contrasts) < 2:
            return False
        written(volume.files[first]).unlink()
        volume.files[first] = None
    elif case.hazard == "two of one contrast":
        if layout == "table":
            return False
        path = written(volume.files[first])
        other = ".nii" if path.name.lower().endswith(".gz") else ".nii.gz"
        image = nib.Nifti1Image(draw_image(rng), np.diag([-1.0, -1.0, 2.0, 1.0]))
        nib.save(image, volume.files[first].with_name(volume.files[first].name + other))
    else:
        path = written(volume.files[first])
        content = path.read_bytes()
        path.unlink()
        if case.hazard == "mask in place of an image":
            write(rng, volume.files[first], volume.lesion.astype(np.uint8))
        elif case.hazard == "another grid":
            if len(case.contrasts) < 2 and not case.labelled:
                path.write_bytes(content)
                return False
            shifted = np.array(
                [[-1, 0, 0, 0.4], [0, -1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1.0]]
            )
            nib.save(nib.Nifti1Image(volume.images[first], shifted), path)
        elif case.hazard == "NaN":
            write(rng, volume.files[first], np.where(volume.lesion, np.nan, 1.5))
        elif case.hazard == "truncated":
            path.write_bytes(content[:-30])
        elif case.hazard == "time series":
            path.write_bytes(content)
            image = nib.Nifti1Image(np.stack([volume.images[first]] * 2, -1), np.eye(4))
            path.unlink()
            nib.save(
                image, volume.files[first].with_name(volume.files[first].name + ".nii")
            )
        elif case.hazard == "broken link":
            path.symlink_to("../annex/nowhere")
    return True


def write_table(folder, case, pick):
    columns = [pick(["patient", "Patient", "PATIENT"]), pick(["session", "Volume"])]
    columns += [pick([name, name.lower()]) for name in case.contrasts]
    columns += [pick(["mask", "Seg", "label", "lesion_mask"])] * case.labelled
    rows = [",".join(columns)]
    for volume in case.volumes:
        cells = [volume.patient, volume.session]
        cells += [
            "" if path is None else str(entry(path).relative_to(folder))
            for path in [*volume.files.values(), *([volume.mask] * case.labelled)]
        ]
        rows.append(",".join(cells))
    (folder / "scans.csv").write_text("\n".join(rows))
    return folder / "scans.csv"


def entry(path):
    return next(
        file
        for ending in (".nii", ".nii.gz", ".NII.GZ")
        if (file := path.with_name(path.name + ending)).exists() or file.is_symlink()
    )


def check_truth(case, stack):
    """Every volume that is read is one of the truth, with its lesions and its patient."""
    assert stack.record.left_out or len(stack.volumes) == len(case.volumes)
    assert set(stack.contrasts) == set(case.contrasts)
    owners = {}
    for volume in stack.volumes:
        images, labels = volume.read()
        (truth,) = [
            other
            for other in case.volumes
            if all(
                np.array_equal(images[:, stack.contrasts.index(name)], image.T)
                for name, image in other.images.items()
            )
        ]
        owners.setdefault(volume.patient, set()).add(truth.patient)
        if labels is not None:
            np.testing.assert_array_equal(labels == 1, truth.lesion.T)
    assert (labels is not None) == case.labelled
    # One patient in the truth is one patient of the stack.
    assert all(len(patients) == 1 for patients in owners.values())
    assert len(owners) == len({patient for found in owners.values() for patient in found})


def read(place):
    """The stack, or the words with which it is refused."""
    try:
        stack = read_any(place)
        stack.verify()
    except (ValueError, OSError) as error:
        return None, str(error)
    return stack, ""


@pytest.mark.parametrize("block", range(10))
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.slow
def test_right_or_refused_by_name(block, tmp_path):
    for seed in range(block, N_CASES, 10):
        folder = tmp_path / str(seed)
        folder.mkdir()
        case = build(seed, folder)
        stack, refusal = read(case.place)
        if refusal:
            assert case.hazard is not None, (
                f"seed {seed}: refused without reason: {refusal}"
            )
            expected = HAZARDS[case.hazard].split("|")
            assert any(part in refusal for part in expected), (seed, case.hazard, refusal)
            continue
        try:
            check_truth(case, stack)
        except (AssertionError, ValueError) as error:
            raise AssertionError(f"seed {seed}, {case.hazard}: {error}") from error
        if case.hazard is not None:
            # What is not refused as a whole leaves the volume out, by name.
            assert stack.record.left_out, f"seed {seed}: {case.hazard} was not noticed"
