"""Readers of data sets, on tiny files."""

import gzip
import pickle

import nibabel as nib
import numpy as np
import pytest

from skadm.data import (
    NiftiVolume,
    SliceStack,
    read_any,
    read_brats,
    read_isles,
    read_table,
)

SHAPE = (5, 6, 4)  # W, H, slices
# As BraTS has it: already in the orientation that volumes are brought to.
AFFINE = np.array([[-1, 0, 0, 3], [0, -1.5, 0, -2], [0, 0, 4, 1], [0, 0, 0, 1.0]])


def voxels(seed, shape=SHAPE):
    data = np.random.default_rng(seed).integers(1, 1000, shape).astype(np.int16)
    data[0] = 0
    return data


def mask():
    data = np.zeros(SHAPE, dtype=np.uint8)
    data[1, 2, 1], data[2, 2, 1], data[0, 0, 0] = 1, 4, 2
    return data


def save(path, data, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


BRATS_ENDINGS = {"t1": 0, "t1ce": 1, "t2": 2, "flair": 3}


def make_brats(folder, patient, *, endings=BRATS_ENDINGS, seg="seg", separator="_"):
    for ending, seed in endings.items():
        save(folder / patient / f"{patient}{separator}{ending}.nii.gz", voxels(seed))
    if seg:
        save(folder / patient / f"{patient}{separator}{seg}.nii.gz", mask())


def make_isles(folder, patient, number=70613):
    kinds = ["MR_DWI", "MR_T1", "MR_T2", "MR_Flair", "OT"]
    for seed, kind in enumerate(kinds):
        name = f"VSD.Brain.XX.O.{kind}.{number + seed}"
        data = mask() if kind == "OT" else voxels(seed)
        save(folder / patient / name / f"{name}.nii", data)


@pytest.fixture
def brats(tmp_path):
    make_brats(tmp_path, "P1")
    make_brats(tmp_path, "P2")
    return tmp_path


def test_brats(brats):
    (brats / "name_mapping.csv").write_text("a,b\n")
    stack = read_brats(brats)
    assert isinstance(stack, SliceStack)
    assert stack.contrasts == ("T1", "T1ce", "T2", "FLAIR")
    assert stack.groups.tolist() == ["P1"] * 4 + ["P2"] * 4
    assert stack.shape == (8, 4, 6, 5)
    X, y = stack.load()
    for z in range(4):
        for k in range(4):
            np.testing.assert_array_equal(X[z, k], voxels(k)[:, :, z].T)
    # The labels 1 and 4 in the brain, and the 2 outside it.
    assert np.argwhere(y[:4] == 1).tolist() == [[0, 0, 0], [1, 2, 1], [1, 2, 2]]
    np.testing.assert_array_equal(y == -1, (X == 0).all(axis=1) & (y != 1))
    np.testing.assert_allclose(stack.affines[0], AFFINE)
    np.testing.assert_allclose(stack.voxel_sizes[0], [1, 1.5, 4])
    assert len(pickle.dumps(stack)) < 4000


def test_brats_2023_names_and_its_repeated_scans(tmp_path):
    endings = {"t1n": 0, "t1c": 1, "t2w": 2, "t2f": 3}
    for scan in ("BraTS-GLI-00005-000", "BraTS-GLI-00005-001"):
        make_brats(tmp_path, scan, endings=endings, separator="-")
    stack = read_brats(tmp_path)
    assert stack.contrasts == ("T1", "T1ce", "T2", "FLAIR")
    assert set(stack.groups) == {"BraTS-GLI-00005"}
    assert set(stack.volume_ids) == {"BraTS-GLI-00005-000", "BraTS-GLI-00005-001"}
    np.testing.assert_array_equal(stack[0][3], voxels(3)[:, :, 0].T)


def test_brats_with_grades_and_a_single_patient(tmp_path):
    make_brats(tmp_path / "HGG", "P2")
    make_brats(tmp_path / "LGG", "P1")
    assert read_brats(tmp_path).groups[::4].tolist() == ["P2", "P1"]
    assert set(read_brats(tmp_path / "HGG" / "P2").groups) == {"P2"}


def test_choosing_contrasts_and_patients(brats):
    stack = read_brats(brats, contrasts=["FLAIR", "T1"], patients=np.array(["P2"]))
    assert stack.contrasts == ("FLAIR", "T1")
    assert set(stack.groups) == {"P2"}
    np.testing.assert_array_equal(stack[0][0], voxels(3)[:, :, 0].T)


def test_fewer_contrasts_and_no_masks(tmp_path):
    make_brats(tmp_path, "P1", endings={"flair": 3, "t1": 0}, seg=None)
    stack = read_brats(tmp_path)
    assert stack.contrasts == ("T1", "FLAIR")
    assert stack.y is None


def test_labels_can_be_left_out(brats):
    (brats / "P2" / "P2_seg.nii.gz").unlink()
    assert read_brats(brats, labels=False).y is None


def test_isles(tmp_path):
    make_isles(tmp_path, "1")
    make_isles(tmp_path, "2", 70700)
    stack = read_isles(tmp_path)
    assert stack.contrasts == ("DWI", "T1", "T2", "FLAIR")
    assert stack.groups.tolist() == ["1"] * 4 + ["2"] * 4
    np.testing.assert_array_equal(stack[1][3], voxels(3)[:, :, 1].T)
    assert (stack.y == 1).sum() == 6


def write_table(folder, text):
    path = folder / "table.csv"
    path.write_text(text)
    return path


@pytest.fixture
def files(tmp_path):
    for seed in range(6):
        save(tmp_path / "scans" / f"{seed}.nii.gz", voxels(seed))
    save(tmp_path / "scans" / "mask.nii", mask())
    return tmp_path


def test_table(files):
    path = write_table(
        files,
        "patient,volume,FLAIR,MTR,mask\n"
        "A,first,scans/0.nii.gz,scans/1.nii.gz,scans/mask.nii\n"
        f"A,second, scans/2.nii.gz ,{files}/scans/3.nii.gz,scans/mask.nii\n\n"
        "B,,scans/4.nii.gz,scans/5.nii.gz,scans/mask.nii\n",
    )
    stack = read_table(path)
    assert stack.contrasts == ("FLAIR", "MTR")
    assert stack.groups[::4].tolist() == ["A", "A", "B"]
    assert stack.volume_ids[::4].tolist() == ["A_first", "A_second", "B"]
    np.testing.assert_array_equal(stack[4][1], voxels(3)[:, :, 0].T)
    assert (stack.y == 1).sum() == 9
    assert read_table(path, contrasts=["MTR"], patients=["B"]).shape == (4, 1, 6, 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has the columns"),
        ("name,FLAIR\nA,x\n", "'patient', a different name for each contrast"),
        ("patient,mask\nA,x\n", "a different name for each contrast"),
        ("patient,FLAIR,FLAIR\nA,x,y\n", "a different name for each contrast"),
        ("patient,FLAIR\n", "no row below the header"),
        ("patient,FLAIR\nA,scans/0.nii.gz,x\n", "line 2: 3 entries"),
        ("patient,FLAIR\nA\n", "line 2: 1 entries"),
        ("patient,FLAIR\n,scans/0.nii.gz\n", "line 2: the patient is missing"),
        ("patient,FLAIR,T1\nA,,scans/0.nii.gz\n", "line 2: no file of contrast FLAIR"),
        (
            "patient,FLAIR\nA,scans/0.nii.gz\nA,scans/1.nii.gz\n",
            "'A' occurs twice, in .*line 2 and .*line 3",
        ),
        (
            "patient,FLAIR,mask\nA,scans/0.nii.gz,scans/mask.nii\nB,scans/1.nii.gz,\n",
            "line 3: no mask, but 1 of 2 volumes .*labels=False",
        ),
    ],
)
def test_bad_tables(files, text, message):
    with pytest.raises(ValueError, match=message):
        read_table(write_table(files, text))


def test_missing_paths(files):
    with pytest.raises(FileNotFoundError, match=r"no\.csv: no such file"):
        read_table(files / "no.csv")
    with pytest.raises(FileNotFoundError, match=r"9\.nii: no such file"):
        read_table(write_table(files, "patient,T1\nA,9.nii\n"))
    for reader in (read_brats, read_isles, read_any):
        with pytest.raises(FileNotFoundError, match="nowhere: no such"):
            reader(files / "nowhere")


def test_read_any_recognises_the_layout(tmp_path, files):
    make_brats(tmp_path / "brats", "P1")
    make_isles(tmp_path / "isles", "1")
    table = write_table(files, "patient,T1\nA,scans/0.nii.gz\n")
    assert read_any(tmp_path / "brats", contrasts=["T2"]).contrasts == ("T2",)
    assert read_any(tmp_path / "isles").contrasts == ("T1", "T2", "FLAIR", "DWI")
    assert read_any(table).contrasts == ("T1",)
    with pytest.raises(
        ValueError, match=r"(?s)scans: no patient found.*BraTS.*ISLES.*BIDS.*table: "
    ):
        read_any(files / "scans")


def test_no_patient(tmp_path):
    for reader in (read_any, read_brats, read_isles):
        with pytest.raises(ValueError, match="an empty folder"):
            reader(tmp_path)
    (tmp_path / "notes.txt").write_text("nothing")
    for reader in (read_any, read_brats, read_isles):
        with pytest.raises(ValueError, match="no patient found"):
            reader(tmp_path)


def test_missing_contrast(brats):
    (brats / "P1" / "P1_t2.nii.gz").unlink()
    with pytest.raises(
        ValueError, match=r"P1: no file of contrast T2 .*'T1', 'T1ce', 'FLAIR'"
    ):
        read_brats(brats)
    assert read_brats(brats, contrasts=["T1"]).shape == (8, 1, 6, 5)


def test_missing_mask(brats):
    (brats / "P2" / "P2_seg.nii.gz").unlink()
    with pytest.raises(ValueError, match=r"P2: no mask, but 1 of 2 .*labels=False"):
        read_brats(brats)


def test_empty_mask(brats):
    path = save(brats / "P1" / "P1_seg.nii.gz", np.zeros(SHAPE, dtype=np.uint8))
    with pytest.raises(
        ValueError, match=rf"{path}: the mask is empty; .*allow_empty_masks"
    ):
        read_brats(brats)
    assert (read_brats(brats, allow_empty_masks=True).y[:4] <= 0).all()


@pytest.mark.parametrize("value", [-1, 0.5])
def test_mask_of_other_numbers(brats, value):
    path = save(brats / "P1" / "P1_seg.nii.gz", np.full(SHAPE, value, np.float32))
    with pytest.raises(ValueError, match=rf"{path}: a mask with values such as {value}; "):
        read_brats(brats)


def test_two_files_of_one_kind(brats):
    save(brats / "P1" / "P1_t1.nii", voxels(0))
    with pytest.warns(UserWarning, match=r"P1: two files of T1, P1_t1.nii and P1_t1.nii."):
        stack = read_brats(brats)
    assert set(stack.groups) == {"P2"}
    assert list(stack.record.left_out) == ["P1"]
    # What is not wanted need not be told apart.
    assert not read_brats(brats, patients=["P2"]).record.left_out
    with pytest.raises(ValueError, match="P1: two files of T1"):
        read_brats(brats, patients=["P1"])


def test_duplicate_patient(tmp_path):
    make_brats(tmp_path / "HGG", "P1")
    make_brats(tmp_path / "LGG", "P1")
    with pytest.raises(ValueError, match=r"'P1' occurs twice, in .*HGG/P1 and .*LGG/P1"):
        read_brats(tmp_path)


def test_a_patient_with_strange_names_is_not_lost_silently(brats):
    save(brats / "P3" / "scan.nii.gz", voxels(0))
    with pytest.warns(UserWarning, match="P3: holds image files, but none whose name"):
        stack = read_brats(brats)
    assert list(stack.record.left_out) == ["P3"]
    assert len(read_brats(brats, patients=["P1", "P2"]).volumes) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"contrasts": "T1"}, "contrasts='T1' is one string"),
        ({"contrasts": ["PD"]}, r"expected distinct names out of \('T1', 'T1ce'"),
        ({"contrasts": ["T1", "T1"]}, "expected distinct names"),
        ({"contrasts": []}, "expected distinct names"),
        ({"patients": "P1"}, "patients='P1' is one string"),
        ({"patients": ["P1", "P9"]}, r"patients \['P9'\] do not exist; .* P1, P2"),
        ({"patients": []}, "do not exist"),
    ],
)
def test_bad_options(brats, options, message):
    with pytest.raises(ValueError, match=message):
        read_brats(brats, **options)


def test_grids_that_differ(brats):
    path = save(brats / "P1" / "P1_t2.nii.gz", voxels(0, (5, 6, 3)))
    with pytest.raises(
        ValueError, match=rf"{path} has shape \(5, 6, 3\), but .*P1_t1\.nii"
    ):
        read_brats(brats)
    save(path, voxels(0), AFFINE + 0.1 * np.eye(4)[:, [3, 0, 1, 2]])
    with pytest.raises(
        ValueError,
        match=rf"{path} and .* different affines \(corners up to 0\.\d+ mm apart\)",
    ):
        read_brats(brats)
    save(path, voxels(0), AFFINE + np.diag([0, 0, 5e-4, 0]))
    read_brats(brats)


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 4, 2)])
def test_files_that_are_not_three_dimensional(brats, shape):
    path = save(brats / "P1" / "P1_t1.nii.gz", np.ones(shape, dtype=np.float32))
    with pytest.raises(
        ValueError, match=rf"{path}: shape .*; expected a three-dimensional"
    ):
        read_brats(brats)


def test_files_that_are_not_nifti(brats, tmp_path):
    path = brats / "P1" / "P1_t1.nii.gz"
    path.write_bytes(b"hello")
    with pytest.raises(ValueError, match=rf"{path}: not a readable NIfTI file"):
        read_brats(brats)
    path.write_bytes(gzip.compress(b"hello" * 200))
    with pytest.raises(ValueError, match=rf"{path}: not a readable NIfTI file"):
        read_brats(brats)
    other = tmp_path / "a.mgh"
    nib.save(nib.MGHImage(np.ones(SHAPE, dtype=np.float32), AFFINE), other)
    with pytest.raises(ValueError, match="MGHImage; expected a NIfTI file, so convert"):
        NiftiVolume({"T1": other}, patient="A")


def test_colour_and_singular_affine(tmp_path):
    colour = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    path = save(tmp_path / "rgb.nii", colour)
    with pytest.raises(ValueError, match=rf"{path}: voxels of type .*; expected real"):
        NiftiVolume({"T1": path}, patient="A")
    image = nib.Nifti1Image(voxels(0), AFFINE)
    image.header["srow_x"] = 0
    path = tmp_path / "flat.nii"
    path.write_bytes(image.to_bytes())
    content = bytearray(path.read_bytes())
    content[280:296] = bytes(16)  # srow_x
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{path}: its affine is singular"):
        NiftiVolume({"T1": path}, patient="A")
    with pytest.raises(ValueError, match="'A' has no image file"):
        NiftiVolume({}, patient="A")


def test_truncated_images_are_found(tmp_path):
    for patient in "AB":
        for ending in ("t1.nii.gz", "t2.nii"):
            path = save(tmp_path / patient / f"{patient}_{ending}", voxels(0, (30, 30, 30)))
    # A file that is too short for its header is found at once, ...
    whole = path.read_bytes()
    path.write_bytes(whole[:-2000])
    with pytest.raises(ValueError, match=rf"{path}: .* truncated or damaged"):
        read_brats(tmp_path)
    path.write_bytes(whole)
    # ... of a compressed one nobody knows how much it holds before it is read.
    path = tmp_path / "B" / "B_t1.nii.gz"
    path.write_bytes(path.read_bytes()[:-2000])
    stack = read_brats(tmp_path)
    for read in (stack.load, stack.verify):
        with pytest.raises(ValueError, match=rf"{path}: .* truncated or damaged"):
            read()
    stack[:30].load()


def test_damaged_gzip_is_found_when_read(tmp_path):
    path = save(tmp_path / "A_t1.nii.gz", voxels(0, (30, 30, 30)))
    content = bytearray(path.read_bytes())
    content[20000:20100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="truncated or damaged"):
        NiftiVolume({"T1": path}, patient="A").read()


def test_truncated_mask_is_found_at_once(brats):
    path = save(brats / "P1" / "P1_seg.nii", voxels(0))
    (brats / "P1" / "P1_seg.nii.gz").unlink()
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=rf"{path}: .* truncated"):
        read_brats(brats)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_not_finite(tmp_path, value):
    data = voxels(0).astype(np.float32)
    data[2, 2, 2] = value
    path = save(tmp_path / "A" / "A_t1.nii.gz", data)
    with pytest.raises(ValueError, match=rf"{path} holds NaN or infinite"):
        read_brats(tmp_path).load()


def test_scaled_integers(tmp_path):
    image = nib.Nifti1Image(voxels(0), AFFINE)
    image.header.set_slope_inter(0.5, 0)
    path = tmp_path / "a.nii.gz"
    nib.save(image, path)
    images, labels = NiftiVolume({"T1": path}, patient="A").read()
    np.testing.assert_allclose(images[:, 0], nib.load(path).get_fdata().T, rtol=1e-6)
    assert labels is None


@pytest.mark.slow
def test_real_scans(data_directory):
    folder = data_directory / "brats"
    patient = sorted(path.name for path in folder.iterdir())[0]
    stack = read_brats(folder, patients=[patient])
    assert stack.contrasts == ("T1", "T1ce", "T2", "FLAIR")
    assert stack.shape == (155, 4, 240, 240)
    seg = nib.load(folder / patient / f"{patient}_seg.nii.gz")
    np.testing.assert_allclose(stack.volumes[0].affine, seg.affine, atol=1e-6)
    X, y = stack.load()
    assert (y == 1).sum() == (seg.get_fdata() > 0).sum()
    flair = nib.load(folder / patient / f"{patient}_flair.nii.gz")
    np.testing.assert_array_equal(X[80, 3], flair.get_fdata()[:, :, 80].T)
