"""One way from the values of a file to a mask, wherever a mask is read."""

import nibabel as nib
import numpy as np
import pytest

from skadm.data import MaskValues, read_any

SHAPE = (10, 9, 4)


def lesion():
    mask = np.zeros(SHAPE, np.float32)
    mask[3:6, 3:5, 1:3] = 1
    return mask


def image(seed=0):
    data = np.random.default_rng(seed).uniform(50, 150, SHAPE).astype(np.float32)
    data[0] = data[-1] = 0
    return data


def save(path, data, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-1, -1, 2, 1]) if affine is None else affine
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


def patient(folder, mask, name="P", ending="seg"):
    save(folder / name / f"{name}_flair.nii.gz", image())
    save(folder / name / f"{name}_{ending}.nii.gz", mask)
    return folder


def noise(seed=0):
    return np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32) * 1e-6


# Values that files have for one mask.
SAME = {
    "0 and 1": lesion(),
    "0 and 255": lesion() * 255,
    "uint8": lesion().astype(np.uint8),
    "0.99999997": lesion().astype(np.float64) * 0.99999997,
    "254.99999994": lesion().astype(np.float64) * 254.99999994,
    "noise above 0": lesion() + np.abs(noise()),
    "noise": lesion() + noise(),
    "trailing axis": lesion()[..., None],
    "two trailing axes": lesion()[..., None, None].astype(np.int16),
}


@pytest.mark.parametrize("case", sorted(SAME))
def test_masks_that_mean_the_same(case, tmp_path):
    y = read_any(patient(tmp_path, SAME[case])).y
    np.testing.assert_array_equal(y == 1, lesion().T > 0)


def test_labels_count_unless_some_are_named(tmp_path):
    labels = lesion().astype(np.uint8)
    labels[3], labels[4] = labels[3] * 4, labels[4] * 2
    patient(tmp_path, labels)
    np.testing.assert_array_equal(read_any(tmp_path).y == 1, labels.T > 0)
    y = read_any(tmp_path, lesion_labels=[1, 4]).y
    np.testing.assert_array_equal(y == 1, np.isin(labels, [1, 4]).T)
    with pytest.raises(ValueError, match=r"lesion labels \[7\]; there are 0, 1, 2, 4"):
        read_any(tmp_path, lesion_labels=[7])
    for bad in ([], [0], [-1, 2]):
        with pytest.raises(ValueError, match="expected whole numbers from 1"):
            read_any(tmp_path, lesion_labels=bad)


REFUSED = {
    "probabilities": (lesion() * 0.6, "probabilities.*--mask-threshold 0.5"),
    "scaled probabilities": (lesion() * 100.4, "--mask-threshold"),
    "negative": (-lesion(), "values such as -1; expected whole numbers"),
    "inverted": (1 - lesion(), "fill .* of the brain; expected less than half"),
    "brain": ((image() > 0).astype(np.uint8), "fill 100% of the brain"),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_other_images_are_refused_as_masks(case, tmp_path):
    mask, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        read_any(patient(tmp_path, mask)).load()


def test_probabilities_above_a_threshold(tmp_path):
    probabilities = lesion() * np.linspace(0.1, 1, SHAPE[2], dtype=np.float32)
    patient(tmp_path, probabilities)
    y = read_any(tmp_path, mask_threshold=0.5).y
    np.testing.assert_array_equal(y == 1, (probabilities > 0.5).T)
    with pytest.raises(ValueError, match="both labels and threshold"):
        MaskValues([1], 0.5)


def test_a_mask_of_the_brain_makes_the_background(tmp_path):
    brain = np.zeros(SHAPE, np.uint8)
    brain[2:8, 2:8] = 1
    head = image() + 1
    save(tmp_path / "P" / "P_flair.nii.gz", head)
    save(tmp_path / "P" / "P_brain_mask.nii.gz", brain)
    X, y = read_any(tmp_path).load()
    assert y is None
    np.testing.assert_array_equal(X[:, 0], np.where(brain, head, 0).T)
    # As probabilities it is refused, or cut where the caller says.
    save(tmp_path / "P" / "P_brain_mask.nii.gz", brain * np.float32(0.7))
    with pytest.raises(ValueError, match="P_brain_mask.*mask_threshold"):
        read_any(tmp_path).load()
    np.testing.assert_array_equal(read_any(tmp_path, mask_threshold=0.5).X, X)


def test_lesion_outside_the_brain_is_no_normal_slice_and_missed(tmp_path):
    """Skull stripping has cut a lesion away, together with the brain around it."""
    from skadm import PCADetector

    data, mask = image(), np.zeros(SHAPE, np.uint8)
    mask[0, 4, 1] = mask[5, 4, 2] = 1  # outside, and inside
    save(tmp_path / "P" / "P_flair.nii.gz", data)
    save(tmp_path / "P" / "P_seg.nii.gz", mask)
    stack = read_any(tmp_path)
    assert (stack.y == 1).sum() == 2
    assert stack.normal().z.tolist() == [0, 3]
    detector = PCADetector(n_components=1).fit(stack, stack.y)
    detector.offset_ = float(detector.background_score_) + 1  # all of the brain is flagged
    assert (detector.predict(stack)[stack.y == 1] == [1, -1]).all()
    # The ranking counts it too, with the score of the background.
    scores = detector.score_samples(stack)
    anomalous, normal = scores[stack.y == 1], scores[stack.y == 0]
    assert anomalous[0] == np.float32(detector.background_score_)
    wins = [(normal > score).mean() + 0.5 * (normal == score).mean() for score in anomalous]
    assert detector.score(stack, stack.y) == pytest.approx(np.mean(wins))


@pytest.mark.parametrize("values", [(0, 1), (3, 3), (0, 0)])
def test_an_image_of_two_values_is_no_contrast(values, tmp_path):
    low, high = values
    save(tmp_path / "a.nii.gz", image())
    save(tmp_path / "b.nii.gz", np.where(lesion() > 0, high, low).astype(np.int16))
    (tmp_path / "scans.csv").write_text("patient,FLAIR,T1\nP,a.nii.gz,b.nii.gz\n")
    expected = "two values only" if low < high else "everywhere"
    with pytest.raises(
        ValueError, match=rf"b\.nii\.gz: given as contrast T1, .*{expected}"
    ):
        read_any(tmp_path / "scans.csv").load()


@pytest.mark.parametrize(
    "column", ["seg", "Mask", "label", "lesion", "GT", "tumor_seg", "Label"]
)
def test_columns_of_masks_are_never_contrasts(column, tmp_path):
    save(tmp_path / "a.nii.gz", image())
    save(tmp_path / "m.nii.gz", lesion())
    save(tmp_path / "b.nii.gz", (image() > 0).astype(np.uint8))
    table = tmp_path / "scans.csv"
    table.write_text(f"Patient,flair,{column},Brain_Mask\nP,a.nii.gz,m.nii.gz,b.nii.gz\n")
    stack = read_any(table)
    assert stack.contrasts == ("FLAIR",)
    np.testing.assert_array_equal(stack.y == 1, lesion().T > 0)
    table.write_text(f"patient,FLAIR,mask,{column}2\nP,a.nii.gz,m.nii.gz,m.nii.gz\n")
    with pytest.raises(ValueError, match="all name a mask"):
        read_any(table)


def test_a_file_of_labels_is_no_contrast(tmp_path):
    labels = np.zeros((12, 10, 4), np.uint8)
    labels[3:6, 3:6, 1:3] = 1
    labels[6:8, 6:8, 1:3] = 2
    labels[4, 4, 2] = 4
    image = np.random.default_rng(0).uniform(50, 150, labels.shape).astype(np.float32)
    for name, data in (("f", image), ("l", labels)):
        nib.save(nib.Nifti1Image(data, np.diag([-1.0, -1, 2, 1])), tmp_path / f"{name}.nii")
    (tmp_path / "t.csv").write_text("patient,FLAIR,annotation\nA,f.nii,l.nii\n")
    with pytest.raises(ValueError, match=r"l.nii: given as contrast .* whole numbers only"):
        read_any(tmp_path / "t.csv").verify()
