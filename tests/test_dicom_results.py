"""Scores and regions as DICOM, over the series that they are from."""

import shutil
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from test_cli import error_of

from skadm import pretrained
from skadm.cli import main

pydicom = pytest.importorskip("pydicom")
highdicom = pytest.importorskip("highdicom")
pytest.importorskip("dcm2niix")

from dicom_files import AFFINE, SECRETS, Scanner  # noqa: E402
from test_dicom import head_scans, places_of, prepared  # noqa: E402, F401

from skadm.raw._dicom_headers import read_headers  # noqa: E402
from skadm.raw._dicom_results import Original, write_dicom  # noqa: E402

SHAPE = (9, 20, 24)  # slices, rows, columns
CENTRE = (AFFINE @ [12, 9, 4, 1])[:3]  # of the series, to the left, the back and the top
RADIUS = 9.0
TINY = (AFFINE @ [3.5, 3.5, 1.5, 1])[:3]  # between pixels and slices


def nearest_to(place, points):
    distance = np.linalg.norm(points - place * [-1, -1, 1], axis=-1)
    return np.unravel_index(distance.argmin(), distance.shape)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    scanner = Scanner(tmp_path_factory.mktemp("dicom"))
    scanner.write("FLAIR", np.ones(SHAPE), AFFINE, description="flair")
    (series,) = read_headers(scanner.folder).series
    return Original(series, "sub-001", "sub-001")


@pytest.fixture(scope="module")
def maps():
    """On cubic voxels that lie straight: scores that grow evenly, and a ball."""
    affine = np.diag([-1.5, -1.5, 1.5, 1])  # as prepared volumes: to the left, back, top
    affine[:3, 3] = [60, 60, -30]
    shape = (90, 100, 100)
    z, y, x = np.meshgrid(*map(np.arange, shape), indexing="ij")
    points = np.stack([x, y, z], -1) @ affine[:3, :3].T + affine[:3, 3]
    distance = np.linalg.norm(points - CENTRE * [-1, -1, 1], axis=-1)
    numbers = (distance < RADIUS).astype(np.uint8)
    numbers[distance > 30] = 255  # regions that are not listed
    numbers[nearest_to(TINY, points)] = 2
    return SimpleNamespace(
        anomaly=(points @ [1.0, 2, 3]).astype(np.float32),
        numbers=numbers,
        brain=np.ones(shape, bool),
        affine=affine,
    )


@pytest.fixture(scope="module")
def written(original, maps, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    return write_dicom(original, maps, ["Region 1: ball", "Region 2: voxel"], folder)


def centres(result):
    """Centres of the pixels (n_frames, rows, columns, 3), by the frames of an object."""
    shared = result.SharedFunctionalGroupsSequence[0]
    turned = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    rows, columns = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    j, i = np.meshgrid(np.arange(result.Rows), np.arange(result.Columns), indexing="ij")
    return np.stack(
        [
            np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
            + i[..., None] * columns * turned[:3]
            + j[..., None] * rows * turned[3:]
            for frame in result.PerFrameFunctionalGroupsSequence
        ]
    )


@pytest.mark.slow
def test_scores_lie_where_they_were_found(written):
    result = pydicom.dcmread(written[0])
    points = centres(result)
    assert points.shape == (*SHAPE, 3)
    # Even scores are the same after interpolation, and through the thickness of a slice.
    np.testing.assert_allclose(
        result.pixel_array, points * [-1, -1, 1] @ [1.0, 2, 3], atol=1e-3
    )


def test_regions_lie_where_they_were_found(written):
    result = highdicom.seg.segread(written[1])
    assert [segment.SegmentLabel for segment in result.SegmentSequence] == [
        *("Region 1: ball", "Region 2: voxel")
    ]
    volume = result.get_volume(combine_segments=True)
    found = np.argwhere(volume.array == 1)
    places = volume.map_indices_to_reference(found)
    distances = np.linalg.norm(places - CENTRE, axis=1)
    assert distances.max() < RADIUS + 3  # half a slice
    np.testing.assert_allclose(places.mean(axis=0), CENTRE, atol=0.5)
    volume_mm3 = len(found) * np.prod(np.linalg.norm(AFFINE[:3, :3], axis=0))
    assert volume_mm3 == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.15)
    # A region that is smaller than a voxel is still there.
    (tiny,) = volume.map_indices_to_reference(np.argwhere(volume.array == 2))
    assert np.linalg.norm(tiny - TINY) < np.linalg.norm([2, 3, 5]) / 2 + 1.5


def test_results_refer_to_the_original_series(written, original):
    source = pydicom.dcmread(original.series.files[0])
    images = {pydicom.dcmread(path).SOPInstanceUID for path in original.series.files}
    for path in written:
        result = pydicom.dcmread(path)
        for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
            assert result[keyword].value == source[keyword].value
        (series,) = result.ReferencedSeriesSequence
        assert series.SeriesInstanceUID == original.series.uid
        referred = {
            item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence
        }
        assert referred == images
        assert result.PatientID == result.PatientName.family_name == "sub-001"
        assert not result.PatientBirthDate


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="no dicom3tools")
def test_results_keep_to_the_standard(written):
    for path in written:
        found = subprocess.run(["dciodvfy", path], capture_output=True, text=True).stderr
        assert any(kind in found for kind in ("ParametricMap", "Segmentation"))
        assert "Error" not in found


def test_background_does_not_bleed_into_the_brain(original, maps, tmp_path):
    brain = maps.numbers == 1
    inside = SimpleNamespace(
        anomaly=np.where(brain, np.float32(5), np.float32(-1000)),
        numbers=maps.numbers,
        brain=brain,
        affine=maps.affine,
    )
    (path,) = write_dicom(original, inside, [], tmp_path)  # no region, no SEG
    values = pydicom.dcmread(path).pixel_array
    np.testing.assert_allclose(values, 5, atol=1e-4)


def make_smaller(patch):
    """Few and small synthetic brains for density and threshold of the model."""
    model = replace(pretrained._MODELS["synthetic"], size=32)
    patch.setitem(pretrained._MODELS, "synthetic", model)
    patch.setattr(pretrained, "_PATIENTS", 1)


@pytest.fixture(scope="class")
def reported(head_scans, prepared, tmp_path_factory):  # noqa: F811
    out = tmp_path_factory.mktemp("report") / "out"
    words = ["report", "--model", "synthetic", "--data", str(prepared)]
    words += ["--out", str(out), "--dicom", str(head_scans / "dicom")]
    with pytest.MonkeyPatch.context() as patch:
        make_smaller(patch)
        assert main([*words, "--prior", "FLAIR", "--device", "cpu"]) == 0
    return out


def test_enhanced_files(maps, tmp_path):
    scanner = Scanner(tmp_path / "dicom")
    times = {"RepetitionTime": 9000.0, "EchoTime": 120.0, "InversionTime": 2500.0}
    scanner.write_enhanced(np.ones(SHAPE), AFFINE, **times)
    (series,) = read_headers(scanner.folder).series
    written = write_dicom(
        Original(series, "sub-001", "sub-001"), maps, ["ball", "voxel"], tmp_path / "out"
    )
    result = pydicom.dcmread(written[0])
    np.testing.assert_allclose(
        result.pixel_array, centres(result) * [-1, -1, 1] @ [1.0, 2, 3], atol=1e-3
    )
    assert places_of(tmp_path / "out", SECRETS) == []


@pytest.mark.slow
@pytest.mark.usefixtures("quick_bias_field")
def test_one_command_from_the_scanner_to_the_report(
    head_scans,  # noqa: F811
    tmp_path,
    capsys,
    monkeypatch,
):
    """HD-BET is tested elsewhere: here the brain is given."""
    import skadm.raw
    from skadm.cli import _run

    monkeypatch.setattr(
        skadm.raw, "HDBET", lambda device: skadm.raw.GivenMasks(head_scans / "masks")
    )
    monkeypatch.setattr(_run, "require_preparation", lambda step: None)
    make_smaller(monkeypatch)
    out = tmp_path / "out"
    words = ["run", "--data", str(head_scans / "dicom"), "--out", str(out)]
    words += ["--prior", "FLAIR", "--size", "32", "--device", "cpu"]
    assert main(words) == 0
    names = {path.relative_to(out).as_posix() for path in out.rglob("*.*")}
    assert names >= {
        "prepared/sub-001/sub-001_desc-preproc.json",
        "maps/sub-001_desc-anomaly_statmap.nii.gz",
        "report/index.html",
        "report/dicom/sub-001_anomaly.dcm",
    }
    assert places_of(out, SECRETS) == []
    capsys.readouterr()
    assert main(words) == 0
    printed = capsys.readouterr()
    assert "was done before" in printed.err
    assert printed.out.count("is finished") == 2


@pytest.mark.slow
class TestReport:
    def test_objects_are_written_over_flair(self, reported, head_scans):  # noqa: F811
        flair = next(
            series
            for series in read_headers(head_scans / "dicom").series
            if series.number == 2
        )
        result = pydicom.dcmread(reported / "dicom" / "sub-001_anomaly.dcm")
        assert result.ReferencedSeriesSequence[0].SeriesInstanceUID == flair.uid
        assert result.pixel_array.shape == (26, 66, 60)
        assert np.ptp(result.pixel_array) > 0

    def test_patient_is_named_nowhere(self, reported):
        assert list(reported.rglob("*.dcm"))
        assert places_of(reported, SECRETS) == []

    def test_other_scans_are_refused(
        self,
        prepared,  # noqa: F811
        tmp_path,
        capsys,
        monkeypatch,
    ):
        make_smaller(monkeypatch)
        scanner = Scanner(tmp_path / "dicom")
        scanner.write("FLAIR", np.ones(SHAPE), AFFINE)
        words = ["report", "--model", "synthetic", "--data", str(prepared)]
        words += ["--out", str(tmp_path / "out"), "--dicom", str(scanner.folder)]
        assert main(words) == 1
        assert "the FLAIR of sub-001, was not found there" in error_of(capsys)
