"""Whatever the orientation of a file, its volume is the same; maps find the way back."""

from itertools import permutations, product

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

from skadm import PCADetector
from skadm.data import NiftiVolume, SliceStack, read_any, write_maps

SHAPE = (7, 8, 5)  # to the left, back and top
ORIENTATIONS = [
    "".join(codes) for axes in permutations(("LR", "PA", "SI")) for codes in product(*axes)
]


def oblique():
    """An affine of LPS voxels, tilted by about 15 degrees."""
    a, b = 0.25, 0.2
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ tilt @ np.diag([-1.5, -1.0, 2.0])
    affine[:3, 3] = [30, -20, 10]
    return affine


def voxels(seed=0):
    data = np.random.default_rng(seed).uniform(1, 100, SHAPE).astype(np.float32)
    data[0], data[:, -1] = 0, 0
    return data


def save(path, data, affine, codes):
    """Write LPS voxels in another orientation, as nibabel reorients them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    transform = ornt_transform(io_orientation(affine), axcodes2ornt(codes))
    image = nib.Nifti1Image(
        apply_orientation(data, transform),
        affine @ inv_ornt_aff(transform, data.shape),
    )
    assert "".join(nib.aff2axcodes(image.affine)) == codes
    nib.save(image, path)
    return path


@pytest.mark.parametrize("affine", [np.diag([-1.5, -1, 2, 1]), oblique()], ids=["", "tilt"])
@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_each_of_the_48_orientations(codes, affine, tmp_path):
    path = save(tmp_path / "t1.nii.gz", voxels(), affine, codes)
    volume = NiftiVolume({"T1": path}, patient="P")
    np.testing.assert_array_equal(volume.read()[0][:, 0], voxels().T)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-5)
    stack = SliceStack.from_volumes([volume])
    maps = voxels(1).T.copy()
    (written,) = write_maps(maps, stack, tmp_path / "maps")
    image, original = nib.load(written), nib.load(path)
    np.testing.assert_array_equal(image.affine, original.affine)
    assert image.shape == original.shape
    # Where a viewer shows a voxel, the map has the value of that place.
    back = ornt_transform(io_orientation(image.affine), axcodes2ornt("LPS"))
    expected = np.where(voxels() != 0, voxels(1), 0)
    np.testing.assert_array_equal(apply_orientation(image.get_fdata(), back), expected)


def test_contrasts_that_differ_in_orientation_are_read_on_one_grid(tmp_path):
    for number, (name, codes) in enumerate(
        {"t1": "RAS", "t2": "LPS", "flair": "PSR", "seg": "IAL"}.items()
    ):
        data = voxels(number) if name != "seg" else (voxels() > 90).astype(np.uint8)
        save(tmp_path / "P" / f"P_{name}.nii.gz", data, oblique(), codes)
    X, y = read_any(tmp_path).load()
    for number in range(3):
        np.testing.assert_array_equal(X[:, number], voxels(number).T)
    np.testing.assert_array_equal(y == 1, (voxels() > 90).T)


def test_scores_do_not_depend_on_the_orientation_of_the_file(tmp_path):
    def stack(codes):
        for number, name in enumerate(("t1", "t2")):
            path = tmp_path / codes / "P" / f"P_{name}.nii.gz"
            save(path, voxels(number), oblique(), codes)
        return read_any(tmp_path / codes)

    detector = PCADetector().fit(stack("LPS"))
    expected = detector.score_samples(stack("LPS"))
    for codes in ("RAS", "PSR", "SAL"):
        np.testing.assert_array_equal(detector.score_samples(stack(codes)), expected)


def test_a_header_that_says_two_things_is_refused(tmp_path):
    image = nib.Nifti1Image(voxels(), np.diag([1.5, 1, 2, 1]))
    image.set_sform(np.diag([1.5, 1, 2, 1]), 1)
    image.set_qform(np.diag([-1.5, 1, 2, 1]), 1)
    nib.save(image, tmp_path / "t1.nii.gz")
    with pytest.raises(ValueError, match="qform .LAS. and sform .RAS."):
        NiftiVolume({"T1": tmp_path / "t1.nii.gz"}, patient="P")


def test_a_header_that_says_nothing_is_noticed(tmp_path):
    image = nib.Nifti1Image(voxels(), None)
    image.header["qform_code"] = image.header["sform_code"] = 0
    (tmp_path / "P").mkdir()
    nib.save(image, tmp_path / "P" / "P_t1.nii.gz")
    with pytest.warns(UserWarning, match="headers of P do not say how the head lies"):
        read_any(tmp_path)


def test_slices_of_another_plane_are_noticed(tmp_path):
    affine = np.diag([-1.0, -5.0, 1.0, 1.0])  # coronal slices of 5 mm
    save(tmp_path / "P" / "P_t1.nii.gz", voxels(), affine, "LPS")
    with pytest.warns(UserWarning, match="slices of P were not acquired as axial"):
        read_any(tmp_path)
