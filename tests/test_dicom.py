"""DICOM series: whose they are, which are taken, and what becomes of them."""

import gzip
import json
import shutil
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from test_cli import error_of

from skadm.cli import main
from skadm.data import read_any

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("dcm2niix")
pytest.importorskip("SimpleITK")

from dicom_files import (  # noqa: E402
    AFFINE,
    BIRTH,
    MRN,
    NAME,
    PLANES,
    SECRETS,
    TO_RAS,
    VOXELS,
    Scanner,
    only_study,
)

from skadm.raw._dicom_conversion import convert  # noqa: E402
from skadm.raw._dicom_headers import read_headers  # noqa: E402
from skadm.raw._dicom_rules import judge  # noqa: E402
from skadm.raw._dicom_studies import find_dicom_studies  # noqa: E402


@pytest.fixture
def scanner(tmp_path):
    return Scanner(tmp_path / "dicom")


def in_scanner(path, affine=AFFINE, shape=VOXELS.shape):
    """Voxels of a NIfTI file where an affine of DICOM has them, by the one of the file."""
    image = nib.load(path)
    indices = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    points = affine[:3, :3] @ indices[..., ::-1].reshape(-1, 3).T + affine[:3, 3:]
    places = nib.affines.apply_affine(
        np.linalg.inv(image.affine), points.T * np.diag(TO_RAS)[:3]
    )
    assert np.abs(places - places.round()).max() < 1e-3
    return np.asanyarray(image.dataobj)[tuple(places.round().astype(int).T)].reshape(shape)


def taken(study):
    return {contrast: series.number for contrast, (series, _) in study.chosen.items()}


class TestConversion:
    @pytest.mark.parametrize("compressed", [False, True])
    @pytest.mark.parametrize("plane", ["axial", "sagittal", "coronal", "downwards"])
    def test_voxels_lie_where_the_scanner_has_them(
        self, plane, compressed, scanner, tmp_path
    ):
        affine = AFFINE.copy()
        affine[:3, :3] = AFFINE[:3, :3] @ PLANES[plane]
        scanner.write("T1", VOXELS, affine, compressed=compressed, MRAcquisitionType="3D")
        study = only_study(scanner).convert(tmp_path / "out")
        assert not study.problem
        np.testing.assert_array_equal(in_scanner(study.images["T1"], affine), VOXELS)
        header = nib.load(study.images["T1"]).header
        assert not any(
            bytes(header[name].tobytes()).strip(b"\0")
            for name in ("descrip", "aux_file", "db_name", "intent_name")
        )

    def test_intensities_are_scaled(self, scanner, tmp_path):
        scaled = {"RescaleSlope": 0.5, "RescaleIntercept": 3.0}
        scanner.write("T1", VOXELS, AFFINE, **scaled)
        study = only_study(scanner).convert(tmp_path / "out")
        np.testing.assert_allclose(in_scanner(study.images["T1"]), VOXELS / 2 + 3)

    def test_highest_b_value_is_taken(self, scanner, tmp_path):
        scanner.write("DWI", [VOXELS, VOXELS // 2], AFFINE, b_values=[0, 1000])
        study = only_study(scanner).convert(tmp_path / "out")
        np.testing.assert_array_equal(in_scanner(study.images["DWI"]), VOXELS // 2)

    def test_directions_are_averaged_as_for_a_trace(self, scanner, tmp_path):
        weighted = [VOXELS // 2 + 1, VOXELS // 3 + 1]
        scanner.write("DWI", [VOXELS, *weighted], AFFINE, b_values=[0, 1000, 1000])
        study = only_study(scanner).convert(tmp_path / "out")
        assert not study.problem
        expected = np.sqrt(np.prod(weighted, axis=0))
        np.testing.assert_allclose(in_scanner(study.images["DWI"]), expected, rtol=1e-5)

    def test_two_echoes_are_two_contrasts(self, scanner, tmp_path):
        uid = scanner.write("PD", VOXELS, AFFINE, EchoTime=15)
        scanner.write("T2", VOXELS // 2, AFFINE, uid=uid, SeriesNumber=1)
        study = only_study(scanner)
        assert taken(study) == {"T2": 1, "PD": 1}
        images = study.convert(tmp_path / "out").images
        np.testing.assert_array_equal(in_scanner(images["T2"]), VOXELS // 2)
        np.testing.assert_array_equal(in_scanner(images["PD"]), VOXELS)

    def test_enhanced_files(self, scanner, tmp_path):
        times = {"RepetitionTime": 9000.0, "EchoTime": 120.0, "InversionTime": 2500.0}
        scanner.write_enhanced(VOXELS, AFFINE, **times)
        scanner.write_enhanced(
            [VOXELS, VOXELS // 2],
            AFFINE,
            description="dwi",
            b_values=[0, 1000],
            RepetitionTime=4000.0,
            EchoTime=90.0,
        )
        study = only_study(scanner)
        assert taken(study) == {"FLAIR": 1, "DWI": 2}
        # dcm2niix does not say which volume has which b-value: they are not mixed.
        problem = study.convert(tmp_path / "out").problem
        assert "2 images at each place, and dcm2niix does not find" in problem
        assert "--series DWI=none" in problem
        study = only_study(scanner, choices={"DWI": ["none"]})
        images = study.convert(tmp_path / "out").images
        np.testing.assert_array_equal(in_scanner(images["FLAIR"]), VOXELS)

    def test_a_copy_of_a_file_counts_once(self, scanner, tmp_path):
        scanner.write("T1", VOXELS, AFFINE)
        shutil.copytree(scanner.folder, scanner.folder / "backup")
        study = only_study(scanner).convert(tmp_path / "out")
        np.testing.assert_array_equal(in_scanner(study.images["T1"]), VOXELS)

    def test_damaged_pixels_are_refused(self, scanner, tmp_path):
        scanner.write("T1", VOXELS, AFFINE)
        path = next(path for path in scanner.folder.rglob("*") if path.is_file())
        path.write_bytes(path.read_bytes()[:-60])
        study = only_study(scanner).convert(tmp_path / "out")
        assert "T1 cannot be converted: series 1 (no description)" in study.problem

    @pytest.mark.parametrize(
        "name",
        [
            *("MR_small_RLE", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless"),
            *("MR_small_bigendian", "MR_small_implicit"),
        ],
    )
    def test_transfer_syntaxes_of_files_of_pydicom(self, name, tmp_path):
        voxels = []
        for number, file in enumerate(("MR_small", name)):
            folder = tmp_path / str(number)
            folder.mkdir()
            shutil.copy(FILES_OF_PYDICOM / f"{file}.dcm", folder)
            (series,) = read_headers(folder).series
            convert(series, folder / "image.nii.gz")
            voxels.append(np.asanyarray(nib.load(folder / "image.nii.gz").dataobj))
        assert np.ptp(voxels[0]) > 0
        np.testing.assert_array_equal(*voxels)
        pixels = pydicom.dcmread(FILES_OF_PYDICOM / "MR_small.dcm").pixel_array
        np.testing.assert_array_equal(np.sort(voxels[0].ravel()), np.sort(pixels.ravel()))


FILES_OF_PYDICOM = Path(pydicom.__file__).parent / "data" / "test_files"


@pytest.mark.slow
def test_any_files_can_be_looked_through():
    """Files of all kinds, some of them broken."""
    found = read_headers(FILES_OF_PYDICOM)
    assert len(found.series) > 30
    assert found.n_others > 0
    assert any(path.name == "badVR.dcm" for path in found.unreadable)
    assert not any(judge(series).contrast for series in found.series)
    studies = find_dicom_studies(FILES_OF_PYDICOM).studies
    assert all("no series is a contrast" in one.study.problem for one in studies)


class TestChoice:
    @pytest.mark.slow
    def test_of_two_series_none_is_guessed(self, scanner):
        scanner.write("T1", VOXELS, AFFINE, description="t1 tra")
        uid = scanner.write("T1", VOXELS, AFFINE, description="t1 cor")
        scanner.write("FLAIR", VOXELS, AFFINE)
        problem = only_study(scanner).study.problem
        assert "2 series may be it for T1: series 1 (t1 tra), series 2 (t1 cor)" in problem
        assert "--series T1=1" in problem
        for word in ("2", uid, "T1 COR"):
            study = only_study(scanner, choices={"T1": [word]})
            assert taken(study) == {"T1": 2, "FLAIR": 3}
            assert not study.study.problem
        study = only_study(scanner, choices={"T1": ["none"]})
        assert taken(study) == {"FLAIR": 3}

    def test_a_series_that_the_rules_leave_out_can_be_asked_for(self, scanner):
        scanner.write("STIR", VOXELS, AFFINE, description="stir")
        study = only_study(scanner, choices={"T2": ["stir"]})
        assert taken(study) == {"T2": 1}
        evidence = study.study.origin["series"]["T2"]["evidence"]
        assert evidence.startswith("--series; by the rules: left out, fat suppression")

    def test_originals_and_traces_come_first(self, scanner):
        scanner.write("T1", VOXELS, AFFINE, ImageType=["DERIVED", "SECONDARY"])
        scanner.write("T1", VOXELS, AFFINE)
        scanner.write("DWI", VOXELS, AFFINE, description="dwi")
        scanner.write("DWI", VOXELS, AFFINE, ImageType=["DERIVED", "PRIMARY", "TRACEW"])
        study = only_study(scanner)
        assert taken(study) == {"T1": 2, "DWI": 4}
        assert "less surely than series 2" in study.left_out[0][1]

    def test_choice_that_names_nothing(self, scanner):
        scanner.write("T1", VOXELS, AFFINE, description="t1 tra")
        with pytest.raises(ValueError, match=r"T1=7: no series .* series 1 \(t1 tra\)"):
            only_study(scanner, choices={"T1": ["7"]})


class TestPatients:
    def test_studies_of_a_patient_are_sessions_by_date(self, tmp_path):
        for number, (mrn, date) in enumerate(
            [("B", "20240202"), ("A", "20240303"), ("A", "20230101")]
        ):
            Scanner(tmp_path, number, PatientID=mrn, StudyDate=date).write(
                "T1", VOXELS, AFFINE, description=date
            )
        studies = find_dicom_studies(tmp_path).studies
        found = {one.study.name: one.chosen["T1"][0].description for one in studies}
        assert found == {
            "sub-001_ses-01": "20230101",
            "sub-001_ses-02": "20240303",
            "sub-002": "20240202",
        }

    def test_names_from_a_table(self, scanner, tmp_path):
        scanner.write("T1", VOXELS, AFFINE)
        table = tmp_path / "table.csv"
        table.write_text(f"id,name\n{MRN},X-7\n")
        assert only_study(scanner, pseudonyms=table).study.name == "sub-X7"
        table.write_text("id,name\nelse,X-7\n")
        with pytest.raises(ValueError, match=f"no row for 1 of the PatientIDs: '{MRN}'"):
            only_study(scanner, pseudonyms=table)

    def test_two_patients_get_two_names(self, tmp_path):
        for number, mrn in enumerate("AB"):
            Scanner(tmp_path / "d", number, PatientID=mrn).write("T1", VOXELS, AFFINE)
        table = tmp_path / "table.csv"
        table.write_text("id,name\nA,X\nB,X\n")
        with pytest.raises(ValueError, match="several patients would be called sub-X"):
            find_dicom_studies(tmp_path / "d", pseudonyms=table)

    def test_anonymous_files_keep_their_identifier(self, tmp_path):
        scanner = Scanner(
            tmp_path, PatientID="TCGA-1", PatientName="TCGA-1", PatientIdentityRemoved="YES"
        )
        scanner.write("T1", VOXELS, AFFINE)
        assert only_study(scanner).study.patient == "sub-TCGA1"

    @pytest.mark.parametrize(
        ("tag", "values", "what"),
        [
            ("PatientBirthDate", ("19500101", "19600101"), "2 dates of birth"),
            ("IssuerOfPatientID", ("here", "there"), "2 issuers"),
        ],
    )
    def test_one_identifier_of_two_people(self, tag, values, what, tmp_path):
        for number, value in enumerate(values):
            scanner = Scanner(tmp_path, number, **{tag: value})
            scanner.write("T1", VOXELS, AFFINE)
        with pytest.raises(ValueError, match=what) as refused:
            find_dicom_studies(tmp_path)
        assert not any(value in str(refused.value) for value in values)

    def test_without_an_identifier_names_tell_patients_apart(self, tmp_path):
        for number, name in enumerate(("One", "Two")):
            Scanner(tmp_path, number, PatientID="", PatientName=name).write(
                "T1", VOXELS, AFFINE
            )
        names = [one.study.name for one in find_dicom_studies(tmp_path).studies]
        assert names == ["sub-001", "sub-002"]


class TestCommands:
    def test_other_commands_name_the_one_that_converts(self, scanner, tmp_path, capsys):
        scanner.write("T1", VOXELS, AFFINE)
        model = str(tmp_path / "model.skadm")
        assert main(["fit", "--data", str(scanner.folder), "--out", model]) == 1
        assert "holds DICOM files. Prepare them with 'skadm prepare" in error_of(capsys)

    def test_options_are_checked(self, scanner, tmp_path, capsys):
        scanner.write("T1", VOXELS, AFFINE)
        words = ["prepare", "--data", str(scanner.folder), "--out", str(tmp_path / "out")]
        assert main([*words, "--series", "T7=1"]) == 1
        assert "--series 'T7=1': expected a contrast (T1, T1ce" in error_of(capsys)
        assert main([*words, "--run", "1"]) == 1
        assert "--run has no meaning for DICOM" in error_of(capsys)
        inside = ["prepare", "--data", str(scanner.folder)]
        inside += ["--out", str(scanner.folder / "out")]
        assert main(inside) == 1
        assert "lies in --data" in error_of(capsys)

    def test_options_of_dicom_are_refused_elsewhere(self, tmp_path, capsys):
        data = tmp_path / "sub-1" / "anat"
        data.mkdir(parents=True)
        image = nib.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4))
        nib.save(image, data / "sub-1_T1w.nii.gz")
        for command in ("prepare", "run"):
            words = [command, "--data", str(tmp_path), "--out", str(tmp_path.parent / "o")]
            assert main([*words, "--series", "T1=1"]) == 1
            assert "--series is of DICOM, which is not read" in error_of(capsys)

    def test_series_beside_image_files_are_left_unread_with_a_warning(
        self, scanner, tmp_path, capsys
    ):
        scanner.write("T1", VOXELS, AFFINE)
        image = nib.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4))
        nib.save(image, scanner.folder / "P1_t1.nii.gz")
        words = ["run", "--data", str(scanner.folder), "--out", str(tmp_path / "out")]
        main([*words, "--dry-run"])
        printed = capsys.readouterr()
        assert "the DICOM files in" in printed.err
        assert "(DICOM)" not in printed.out

    @pytest.mark.parametrize("library", ["pydicom", "dcm2niix"])
    def test_a_missing_library_is_named(self, library, scanner, tmp_path, capsys):
        scanner.write("T1", VOXELS, AFFINE)
        words = ["prepare", "--data", str(scanner.folder), "--out", str(tmp_path / "out")]
        masks = tmp_path / "masks"
        masks.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, library, None)
            assert main([*words, "--brain-masks", str(masks)]) == 1
        assert f"{library}, which is not installed: pip install skadm[raw]" in error_of(
            capsys
        )

    def test_dry_run_says_what_was_found(self, scanner, tmp_path, capsys):
        scanner.write("T1", VOXELS, AFFINE, description="t1 zaphodine")
        scanner.write("FLAIR", VOXELS, AFFINE)
        scanner.write("LOCALISER", VOXELS, AFFINE)
        words = ["run", "--data", str(scanner.folder), "--out", str(tmp_path / "out")]
        assert main([*words, "--dry-run", "--series", "T1=1"]) == 0
        printed = capsys.readouterr().out
        assert f"PatientID {MRN} is called sub-001" in printed
        assert "left out: series 3 (no description): a localiser" in printed
        assert "they are DICOM series: they must be prepared" in printed
        assert "contrasts: T1, FLAIR" in printed
        assert "--reference FLAIR" in printed
        assert "--series T1=1" in printed
        assert "zaphodine" not in printed.lower()
        assert not (tmp_path / "out").exists()


def places_of(folder, words):
    """Files in which any of some words occur, in their names, bytes, or once unpacked."""
    found = []
    for path in folder.rglob("*"):
        texts = [str(path.relative_to(folder)).encode()]
        if path.is_file():
            data = path.read_bytes()
            texts.append(data)
            if data[:2] == b"\x1f\x8b":
                texts.append(gzip.decompress(data))
        if any(word.encode() in text.lower() for word in words for text in texts):
            found.append(path)
    return found


def test_the_search_for_secrets_detects_them(scanner, tmp_path):
    """The test below can fail."""
    scanner.write("T1", VOXELS, AFFINE)
    assert len(places_of(scanner.folder, SECRETS)) == len(VOXELS)
    with gzip.open(tmp_path / "packed.gz", "wb") as file:
        file.write(NAME.encode())
    assert len(places_of(tmp_path, [BIRTH, "zaphodine"])) == len(VOXELS) + 1


@pytest.fixture(scope="module")
def head_scans(tmp_path_factory):
    """A head as DICOM, on two grids; the mask of its brain; where FLAIR lies."""
    from test_prepare import AFFINE as FLAIR_GRID
    from test_prepare import MOTION, T1_GRID, T1_SHAPE, head, save

    folder = tmp_path_factory.mktemp("scans")
    scanner = Scanner(folder / "dicom" / NAME)
    flair, brain = head()
    t1, _ = head(T1_GRID, T1_SHAPE, weights=(0.7, 0.3, 1.0))
    scanner.write("LOCALISER", flair.T[::6], TO_RAS @ FLAIR_GRID, description="loc")
    scanner.write(
        *("FLAIR", flair.T, TO_RAS @ FLAIR_GRID),
        compressed=True,
        description=f"flair {NAME}",
    )
    scanner.write(*("T1", t1.T, TO_RAS @ MOTION @ T1_GRID), description="quillfeather t1")
    save(folder / "masks" / "sub-001.nii.gz", brain.astype(np.uint8), FLAIR_GRID)
    return folder


@pytest.fixture(scope="module")
def prepared(head_scans, tmp_path_factory, quick_bias_field):
    out = tmp_path_factory.mktemp("prepared")
    assert main(preparing(head_scans, out)) == 0
    return out


def preparing(scans, out):
    words = ["prepare", "--data", str(scans / "dicom"), "--out", str(out)]
    return [*words, "--spacing", "3", "--brain-masks", str(scans / "masks")]


@pytest.mark.slow
class TestPreparation:
    def test_result_is_read_and_registered(self, prepared):
        from test_prepare import errors, head

        stack = read_any(prepared)
        assert stack.contrasts == ("T1", "FLAIR")
        assert {*stack.groups} == {"sub-001"}
        record = json.loads(
            (prepared / "sub-001" / "sub-001_desc-preproc.json").read_text()
        )
        # As when the same scans come as NIfTI: the motion is found.
        assert errors(record["transforms"]["T1"]["matrix_lps"], head()[1]).max() < 1

    def test_record_has_the_evidence(self, prepared):
        record = json.loads(
            (prepared / "sub-001" / "sub-001_desc-preproc.json").read_text()
        )
        dicom = record["dicom"]
        assert dicom["patient_id"] == "replaced by a number"
        assert dicom["converter"].startswith("dcm2niix 1.")
        assert dicom["series"]["FLAIR"]["number"] == 2
        assert dicom["series"]["FLAIR"]["files"] == 26
        assert "TI 2500 ms" in dicom["series"]["FLAIR"]["evidence"]
        (left_out,) = dicom["left_out"]
        assert left_out["reason"] == "a localiser"
        assert set(record["inputs"]) == {"T1", "FLAIR", "brain mask"}
        assert all(len(entry["sha256"]) == 64 for entry in record["inputs"].values())

    def test_patient_is_named_nowhere(self, prepared):
        assert places_of(prepared, SECRETS) == []
        assert not list(prepared.glob(".*"))

    def test_same_command_again_keeps_it(self, head_scans, prepared, capsys):
        picture = prepared / "sub-001" / "figures" / "sub-001_desc-preproc.png"
        before = picture.stat().st_mtime_ns
        assert main(preparing(head_scans, prepared)) == 0
        assert "was done before" in capsys.readouterr().err
        assert picture.stat().st_mtime_ns == before
