"""Writing maps on the grid of the original files."""

import nibabel as nib
import numpy as np
import pytest

from skadm.data import ArrayVolume, NiftiVolume, SliceStack, read_brats, write_maps
from skadm.preprocessing import BrainCropper, IntensityNormalizer, SliceResizer

W, H, N = 30, 36, 5


def oblique_affine():
    angle = 0.3
    rotation = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    tilt = np.array(
        [[1, 0, 0], [0, np.cos(0.2), -np.sin(0.2)], [0, np.sin(0.2), np.cos(0.2)]]
    )
    affine = np.eye(4)
    affine[:3, :3] = rotation @ tilt @ np.diag([-0.8, -1.1, 5])
    affine[:3, 3] = [-20, 11, 33]
    return affine


def brain_voxels(seed=0):
    """Noise in an ellipse that does not reach the first slice."""
    x, y = np.meshgrid(np.arange(W), np.arange(H), indexing="ij")
    inside = ((x - 14) / 11) ** 2 + ((y - 18) / 14) ** 2 < 1
    data = np.random.default_rng(seed).uniform(10, 1000, (W, H, N)).astype(np.float32)
    data[~inside] = 0
    data[..., 0] = 0
    return data


@pytest.fixture
def source(tmp_path):
    image = nib.Nifti1Image(brain_voxels(), oblique_affine())
    image.set_sform(oblique_affine(), code=4)
    image.set_qform(oblique_affine(), code=1)
    image.header["descrip"] = b"Jane Doe"
    nib.save(image, tmp_path / "a.nii.gz")
    return tmp_path / "a.nii.gz"


@pytest.fixture
def stack(source):
    return SliceStack.from_volumes([NiftiVolume({"T1": source}, patient="P1")])


def smooth(stack):
    """Smooth maps: linear in the place in space, so interpolation must reproduce them."""
    n, _, height, width = stack.shape
    rows, columns = np.mgrid[:height, :width]
    points = np.stack([columns, rows, np.zeros_like(rows), np.ones_like(rows)], axis=-1)
    maps = np.empty((n, height, width), dtype=np.float32)
    for index, (affine, z) in enumerate(zip(stack.affines, stack.z)):
        points[..., 2] = z
        maps[index] = (points @ affine.T)[..., :3] @ [1.0, 2.0, 3.0]
    return maps


def test_round_trip_on_an_oblique_grid(stack, source, tmp_path):
    maps = np.random.default_rng(1).normal(size=(N, H, W)).astype(np.float32)
    (path,) = write_maps(maps, stack, tmp_path / "new" / "out")
    assert path == tmp_path / "new" / "out" / "P1_score.nii.gz"
    written, original = nib.load(path), nib.load(source)
    assert written.get_data_dtype() == np.float32
    np.testing.assert_array_equal(written.affine, original.affine)
    for form in ("get_sform", "get_qform"):
        affine, code = getattr(original.header, form)(coded=True)
        new_affine, new_code = getattr(written.header, form)(coded=True)
        np.testing.assert_array_equal(new_affine, affine)
        assert new_code == code
    np.testing.assert_allclose(written.header.get_zooms(), [0.8, 1.1, 5], rtol=1e-6)
    assert b"Jane" not in path.read_bytes()
    assert written.header["descrip"] != original.header["descrip"]
    brain = original.get_fdata() != 0
    np.testing.assert_array_equal(written.get_fdata(), np.where(brain, maps.T, 0))
    # And it can be read again, as another volume of the same grid.
    again = NiftiVolume({"T1": source, "score": path}, patient="P1").read()[0]
    np.testing.assert_array_equal(again[:, 1], np.where(brain.T, maps, 0))


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize(
    "steps",
    [
        [IntensityNormalizer(), SliceResizer((24, 20))],
        [SliceResizer((50, 61))],
        [BrainCropper(margin=1)],
        [BrainCropper(margin=2), SliceResizer(32), IntensityNormalizer()],
    ],
    ids=["shrink", "enlarge", "crop", "all"],
)
def test_geometry_is_undone(stack, source, tmp_path, steps, in_memory):
    changed = stack
    for step in steps:
        changed = step.fit_transform(changed)
    if in_memory:
        changed = changed.in_memory()
    maps = smooth(changed)
    # Whatever a detector says about the background must not reach the brain.
    maps[(changed.X == 0).all(axis=1)] = 1e6
    (path,) = write_maps(maps, changed, tmp_path)
    written, original = nib.load(path), nib.load(source)
    np.testing.assert_array_equal(written.affine, original.affine)
    brain = (original.get_fdata() != 0).T
    values, expected = written.get_fdata().T, smooth(stack)
    assert values[~brain].tolist() == [0] * (~brain).sum()
    # Half a pixel off would be 0.4 or more. The way back from a finer grid averages, and a
    # map ends at the border of the brain, where the error may reach a coarse pixel.
    error = np.abs(values - expected)[brain]
    assert np.median(error) < 0.1
    assert error.max() < 6


def test_labels_go_to_the_nearest_pixel(stack, tmp_path):
    changed = SliceResizer((H // 2, W // 2)).fit_transform(stack)
    maps = np.random.default_rng(0).integers(-1, 2, (N, H // 2, W // 2))
    (path,) = write_maps(maps, changed, tmp_path, suffix="_label")
    written = nib.load(path)
    assert written.get_data_dtype() == np.int32
    expected = maps.repeat(2, axis=1).repeat(2, axis=2)
    deep = np.zeros((N, H, W), dtype=bool)
    deep[1:, 12:24, 10:20] = True
    np.testing.assert_array_equal(np.asarray(written.dataobj).T[deep], expected[deep])
    (path,) = write_maps(maps > 0, changed, tmp_path, suffix="_mask")
    assert nib.load(path).get_data_dtype() == np.uint8


def test_slices_that_are_not_held_are_filled(stack, tmp_path):
    (path,) = write_maps(np.ones((2, H, W)), stack[[3, 1]], tmp_path, fill=-7)
    values = nib.load(path).get_fdata().T
    assert (values[[0, 2, 4]] == -7).all()
    brain = stack.X[:, 0] != 0
    assert (values[[1, 3]][brain[[1, 3]]] == 1).all()
    assert (values[[1, 3]][~brain[[1, 3]]] == -7).all()


def test_only_empty_slices(stack, tmp_path):
    changed = SliceResizer(16).fit_transform(stack)[[0]]
    (path,) = write_maps(np.ones((1, 16, 16)), changed, tmp_path)
    assert not nib.load(path).get_fdata().any()


def test_order_of_slices_and_several_volumes(tmp_path):
    images = brain_voxels().T[:, None]
    volumes = [ArrayVolume(images, patient=p, contrasts=["T1"]) for p in "ab"]
    stack = SliceStack.from_volumes(volumes)
    maps = np.arange(2 * N, dtype=float)[:, None, None] * np.ones((H, W))
    order = np.random.default_rng(0).permutation(2 * N)
    paths = write_maps(maps[order], stack[order], tmp_path)
    assert [path.name for path in paths] == ["a_score.nii.gz", "b_score.nii.gz"]
    values = nib.load(paths[1]).get_fdata()
    assert values[14, 18].tolist() == [0, 6, 7, 8, 9]
    np.testing.assert_array_equal(nib.load(paths[0]).affine, np.eye(4))


def test_nothing_is_replaced_unless_forced(stack, tmp_path):
    both = SliceStack.from_volumes(
        [NiftiVolume({"T1": tmp_path / "a.nii.gz"}, patient=p) for p in ("A", "B")]
    )
    out = tmp_path / "out"
    (first,) = write_maps(np.ones((N, H, W)), both[N:], out)
    with pytest.raises(FileExistsError, match=rf"{first} exists; pass force=True"):
        write_maps(np.zeros((2 * N, H, W)), both, out)
    assert [path.name for path in out.iterdir()] == ["B_score.nii.gz"]
    assert nib.load(first).get_fdata().max() == 1
    write_maps(np.zeros((2 * N, H, W)), both, out, force=True)
    assert nib.load(first).get_fdata().max() == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "A_score.nii.gz",
        "B_score.nii.gz",
    ]


def test_a_failed_write_leaves_no_trace(stack, tmp_path, monkeypatch):
    out = tmp_path / "out"
    (path,) = write_maps(np.ones((N, H, W)), stack, out)
    before = path.read_bytes()
    monkeypatch.setattr(
        "pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("full"))
    )
    with pytest.raises(OSError, match="full"):
        write_maps(np.zeros((N, H, W)), stack, out, force=True)
    assert [p.name for p in out.iterdir()] == [path.name]
    assert path.read_bytes() == before


def test_equal_maps_make_equal_files(stack, tmp_path):
    (a,) = write_maps(np.ones((N, H, W)), stack, tmp_path / "a")
    (b,) = write_maps(np.ones((N, H, W)), stack, tmp_path / "b")
    assert a.read_bytes() == b.read_bytes()


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (np.ones((N, W, H)), r"shape \(5, 30, 36\); expected \(5, 36, 30\)"),
        (np.ones((N - 1, H, W)), r"shape \(4, 36, 30\)"),
        (np.full((N, H, W), np.nan), "NaN or infinite"),
        (np.full((N, H, W), "x"), r"text \(<U1\); expected real numbers"),
    ],
)
def test_bad_maps(stack, tmp_path, maps, message):
    with pytest.raises(ValueError, match=message):
        write_maps(maps, stack, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bad_stacks_and_names(stack, source, tmp_path):
    with pytest.raises(ValueError, match="slice 1 of volume 'P1' twice"):
        write_maps(np.ones((2, H, W)), stack[[1, 1]], tmp_path)
    for name in ("a/b", "../b"):
        bad = SliceStack.from_volumes([NiftiVolume({"T1": source}, patient=name)])
        with pytest.raises(ValueError, match="contains a path separator"):
            write_maps(np.ones((N, H, W)), bad, tmp_path)
    with pytest.raises(ValueError, match="contains a path separator"):
        write_maps(np.ones((N, H, W)), stack, tmp_path, suffix="/x")


@pytest.mark.slow
def test_real_scan(data_directory, tmp_path):
    folder = data_directory / "brats"
    patient = sorted(path.name for path in folder.iterdir())[0]
    stack = read_brats(folder, patients=[patient], contrasts=["FLAIR"])[60:80]
    small = SliceResizer().fit_transform(stack)
    X, y = small.load()
    (path,) = write_maps(X[:, 0], small, tmp_path)
    (seg,) = write_maps(y == 1, small, tmp_path, suffix="_lesion")
    original = nib.load(folder / patient / f"{patient}_flair.nii.gz")
    np.testing.assert_array_equal(nib.load(path).affine, original.affine)
    back, flair = nib.load(path).get_fdata()[..., 60:80], original.get_fdata()[..., 60:80]
    np.testing.assert_array_equal(back[flair == 0], 0)
    assert np.corrcoef(back[flair != 0], flair[flair != 0])[0, 1] > 0.95
    lesion = nib.load(seg).get_fdata()[..., 60:80] > 0
    truth = nib.load(folder / patient / f"{patient}_seg.nii.gz").get_fdata()[..., 60:80] > 0
    assert 2 * (lesion & truth).sum() / (lesion.sum() + truth.sum()) > 0.95
