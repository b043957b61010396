"""Which contrast a DICOM series is, by its header."""

import pytest

pydicom = pytest.importorskip("pydicom")

from dicom_files import AFFINE, VOXELS, Scanner, only_study  # noqa: E402
from pydicom.uid import SecondaryCaptureImageStorage  # noqa: E402

from skadm.raw._dicom_headers import read_headers  # noqa: E402
from skadm.raw._dicom_rules import judge  # noqa: E402


@pytest.fixture
def scanner(tmp_path):
    return Scanner(tmp_path / "dicom")


@pytest.mark.parametrize(
    ("sequence", "description", "tags", "contrast"),
    [
        ("T1", "", {}, "T1"),
        ("T1", "ax t1 se", {}, "T1"),
        ("T1", "t1 post gd", {}, "T1ce"),  # the agent was not entered
        ("T1ce", "", {}, "T1ce"),
        ("T1ce", "t1 tra km", {}, "T1ce"),
        ("T1ce", "t1_mprage_tra", {}, "T1ce"),  # the agent was entered, and not said
        ("MPRAGE", "t1 vibe fa 15", {}, "T1"),
        ("T1", "", {"ContrastBolusAgent": "NONE"}, "T1"),
        ("MPRAGE", "t1_mpr_sag_p2_iso", {}, "T1"),
        ("MPRAGE", "", {"ContrastBolusAgent": "Dotarem"}, "T1ce"),
        ("T2", "", {}, "T2"),
        ("PD", "", {}, "PD"),
        ("FLAIR", "", {}, "FLAIR"),
        ("FLAIR", "t2_tirm_tra_dark-fluid", {}, "FLAIR"),
        ("FLAIR", "", {"ContrastBolusAgent": "Dotarem"}, "FLAIR"),
        # An inversion that makes T1 stronger, named as a FLAIR.
        ("FLAIR", "Ax T1 FLAIR", {"EchoTime": 20, "InversionTime": 800}, "T1"),
        ("ADC", "", {}, "ADC"),
        ("DWI", "ep2d_diff_tra", {}, "DWI"),
        (
            "DWI",
            "",
            {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "TRACEW"]},
            "DWI",
        ),
        # Headers of which only the description is left.
        ("T2", "AX FLAIR", {"RepetitionTime": None, "EchoTime": None}, "FLAIR"),
    ],
)
def test_contrast(sequence, description, tags, contrast, scanner):
    scanner.write(sequence, VOXELS, AFFINE, description=description, **tags)
    (series,) = read_headers(scanner.folder).series
    verdict = judge(series)
    assert verdict.contrast == contrast
    assert verdict.certainty >= 2


@pytest.mark.parametrize(
    ("sequence", "description", "tags", "reason"),
    [
        ("LOCALISER", "", {}, "a localiser"),
        ("T1", "survey", {}, "a localiser"),
        ("T2", "", {"SOPClassUID": SecondaryCaptureImageStorage}, "secondary capture"),
        ("T1", "", {"Modality": "CT"}, "not MR"),
        ("T2", "t2 sag", {"BodyPartExamined": "CSPINE"}, "not of the head"),
        ("STIR", "", {}, "short inversion time"),
        ("CISS", "", {}, "neither its parameters"),
        ("T1", "3d tof", {}, "angiography"),
        ("T1", "", {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, "reformatted"),
        ("ADC", "", {"ImageType": ["DERIVED", "PRIMARY", "FA"]}, "no ADC"),
        ("DWI", "dwi b0", {"DiffusionBValue": 0.0}, "without weighting"),
        ("T2", "dsc perfusion", {}, "perfusion"),
        ("FLAIR", "3d DIR", {}, "several inversions"),
        ("CISS", "ax t2* gre", {}, "susceptibility"),
    ],
)
def test_left_out(sequence, description, tags, reason, scanner):
    scanner.write(sequence, VOXELS, AFFINE, description=description, **tags)
    (series,) = read_headers(scanner.folder).series
    verdict = judge(series)
    assert not verdict.contrast
    assert reason in verdict.evidence


@pytest.mark.parametrize(
    ("sequence", "description", "tags", "evidence"),
    [
        ("T2", "T1 axial", {}, "its description T1"),
        ("T1ce", "t1 pre", {}, "its description T1"),
        ("FLAIR", "t2 tse", {}, "its description T2"),
        # Bleeding: a gradient echo, which nobody calls by its name.
        ("CISS", "t2 hemo", {"EchoTime": 20, "RepetitionTime": 600}, "of no contrast"),
        ("CISS", "t2 ciss 3d", {}, "of no contrast"),
    ],
)
def test_not_sure(sequence, description, tags, evidence, scanner):
    scanner.write(sequence, VOXELS, AFFINE, description=description, **tags)
    (series,) = read_headers(scanner.folder).series
    verdict = judge(series)
    assert verdict.certainty == 0
    assert evidence in verdict.evidence
    assert "cannot be told" in only_study(scanner).study.problem


def test_too_few_slices(scanner):
    scanner.write("T1", VOXELS[:3], AFFINE)
    (series,) = read_headers(scanner.folder).series
    assert judge(series).evidence == "3 slices only"


def test_missing_slice(scanner):
    scanner.write("T1", VOXELS, AFFINE)
    for path in scanner.folder.rglob("*"):
        if path.is_file() and pydicom.dcmread(path).InstanceNumber == 3:
            path.unlink()
    (series,) = read_headers(scanner.folder).series
    assert "5 to 10 mm apart, so that some are missing" in judge(series).evidence


def test_images_over_time(scanner):
    scanner.write("T1", [VOXELS, VOXELS], AFFINE, b_values=[None, None])
    (series,) = read_headers(scanner.folder).series
    assert "2 images at each place" in judge(series).evidence


def test_parameters_and_description_that_disagree(scanner):
    scanner.write("T2", VOXELS, AFFINE, description="T1 axial")
    study = only_study(scanner)
    assert "whether series 1 (T1 axial) is T2 cannot be told" in study.study.problem
    assert "--series T2=1" in study.study.problem
