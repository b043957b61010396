"""Transformers of slices, against independent computations."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import make_pipeline

from skadm.data import ArrayVolume, SliceStack, brain_mask
from skadm.preprocessing import BrainCropper, IntensityNormalizer, SliceResizer

ALL = [IntensityNormalizer(), SliceResizer(8), BrainCropper(margin=1)]


def make_images(seed=0, n=3, contrasts=2, height=24, width=20, offset=100.0):
    """Noise in an ellipse, 0 around it; one brain pixel has a contrast of exactly 0."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    inside = ((rows - height / 2) / 9) ** 2 + ((columns - width / 2) / 7) ** 2 < 1
    images = rng.normal(offset, 10, (n, contrasts, height, width)) * inside
    images[0, 0, height // 2, width // 2] = 0
    return images.astype(np.float32)


def make_labels(images):
    labels = np.where(brain_mask(images), 0, -1).astype(np.int8)
    labels[:, 10:14, 8:12] = 1
    return labels


def make_stack(sizes=((24, 20), (24, 20)), **kwargs):
    volumes = []
    for index, (height, width) in enumerate(sizes):
        images = make_images(index, height=height, width=width, **kwargs)
        volumes.append(
            ArrayVolume(
                images,
                make_labels(images),
                patient=f"P{index}",
                contrasts=["T1", "T2"],
                affine=np.diag([0.5, 2, 3, 1]) + 7 * np.eye(4, k=3),
            )
        )
    return SliceStack.from_volumes(volumes)


# -- intensities -----------------------------------------------------------------------


def test_zscore_of_a_volume_is_that_of_scipy():
    stack = make_stack()
    X = IntensityNormalizer().fit_transform(stack).X
    brain = brain_mask(stack.X)
    for part in (slice(0, 3), slice(3, 6)):
        for contrast in range(2):
            values = stack.X[part, contrast][brain[part]].astype(np.float64)
            np.testing.assert_allclose(
                X[part, contrast][brain[part]], stats.zscore(values), rtol=1e-5, atol=1e-6
            )
    assert (X[np.broadcast_to(~brain[:, None], X.shape)] == 0).all()


def test_statistics_are_those_of_the_whole_volume():
    stack = make_stack()
    whole = IntensityNormalizer().fit_transform(stack)
    part = IntensityNormalizer().fit_transform(stack[[1, 4]])
    np.testing.assert_array_equal(part.X, whole.X[[1, 4]])
    np.testing.assert_array_equal(part.y, stack.y[[1, 4]])


def test_arrays_by_group_or_slice_by_slice():
    stack = make_stack()
    whole = IntensityNormalizer().fit_transform(stack).X
    order = [4, 0, 3, 2, 5, 1]
    grouped = IntensityNormalizer().fit_transform(
        stack.X[order], groups=stack.volume_ids[order]
    )
    np.testing.assert_array_equal(grouped, whole[order])
    single = IntensityNormalizer().fit_transform(stack.X)
    for index in range(6):
        values = stack.X[index, 1][brain_mask(stack.X)[index]].astype(np.float64)
        np.testing.assert_allclose(
            single[index, 1][brain_mask(stack.X)[index]], stats.zscore(values), atol=1e-5
        )


def test_large_offsets_keep_their_digits():
    X = make_images(offset=2**20, n=30)
    out = IntensityNormalizer().fit_transform(X, groups=np.zeros(30))
    values = out[:, 1][brain_mask(X)].astype(np.float64)
    assert abs(values.mean()) < 1e-6
    assert abs(values.std() - 1) < 1e-6


@pytest.mark.parametrize("value", [0.1, 5.0, 12345.678])
def test_a_constant_contrast_becomes_zero(value):
    X = make_images()
    X[:, 1] = np.where(brain_mask(X), value, 0)
    out = IntensityNormalizer().fit_transform(X, groups=np.zeros(3))
    assert (out[:, 1] == 0).all()
    assert out[:, 0].std() > 0


def test_skull_is_warned_of():
    stripped = make_images()
    whole = np.where(stripped == 0, 3, stripped)
    for images, warned in ((whole, True), (stripped, False)):
        stack = SliceStack.from_volumes(
            [ArrayVolume(images, patient="P", contrasts=("T1", "T2"))]
        )
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            IntensityNormalizer().fit_transform(stack).load()
        assert (
            any("expected skull-stripped scans" in str(w.message) for w in found) == warned
        )


def test_brain_stays_brain():
    X = np.zeros((1, 2, 3, 3), dtype=np.float32)
    X[0, :, 1] = [[1, 2, 3], [5, 6, 7]]  # the middle pixel is the mean of both contrasts
    out = IntensityNormalizer().fit_transform(X)
    np.testing.assert_array_equal(brain_mask(out), brain_mask(X))
    assert out[0, :, 1, 1].tolist() == [np.float32(1e-6), 0]
    constant = IntensityNormalizer().fit_transform((X != 0).astype(np.float32))
    np.testing.assert_array_equal(brain_mask(constant), brain_mask(X))
    assert constant.max() == np.float32(1e-6)


def test_empty_slices_stay_empty():
    X = make_images()
    X[1] = 0
    assert not IntensityNormalizer().fit_transform(X)[1].any()


# -- size ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(12, 10), (7, 13), (31, 26), (48, 9), (1, 1)])
def test_interpolation_is_that_of_torch_where_all_is_brain(size):
    X = np.random.default_rng(0).normal(100, 10, (2, 3, 24, 20)).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(X), size, mode="bilinear", antialias=True
    )
    out = SliceResizer(size).fit_transform(X)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, expected.numpy(), rtol=1e-5)


@pytest.mark.parametrize("size", [16, (40, 33)])
def test_background_does_not_bleed_into_the_brain(size):
    X = np.where(brain_mask(make_images())[:, None], 50, 0) * np.ones((1, 2, 1, 1))
    out = SliceResizer(size).fit_transform(X)
    np.testing.assert_allclose(out[out != 0], 50, rtol=1e-5)
    share, new_share = (X[:, 0] != 0).mean(), (out[:, 0] != 0).mean()
    assert abs(share - new_share) < 0.05


def test_brain_is_where_half_of_the_weight_is():
    X = make_images()
    out = SliceResizer((12, 10)).fit_transform(X)
    weight = torch.nn.functional.interpolate(
        torch.from_numpy(brain_mask(X)[:, None].astype(np.float32)),
        (12, 10),
        mode="bilinear",
        antialias=True,
    )[:, 0].numpy()
    sure = np.abs(weight - 0.5) > 1e-4
    np.testing.assert_array_equal(brain_mask(out)[sure], (weight >= 0.5)[sure])


def test_resized_brain_pixel_of_zeros_stays_brain():
    X = np.ones((1, 1, 4, 4), dtype=np.float32)
    X[..., 1::2] = -1
    out = SliceResizer(2).fit_transform(X)
    assert (out != 0).all()


def test_the_same_size_changes_nothing():
    X = make_images()
    np.testing.assert_allclose(SliceResizer((24, 20)).fit_transform(X), X, rtol=1e-6)


@pytest.mark.parametrize("size", [(12, 10), (17, 11), (48, 40)])
def test_labels_follow_the_images(size):
    stack = make_stack()
    resized = SliceResizer(size).fit_transform(stack)
    X, y = resized.load()
    assert y.shape == (6, *size)
    np.testing.assert_array_equal(y == -1, ~brain_mask(X))
    nearest = torch.nn.functional.interpolate(
        torch.from_numpy(stack.y[:, None].astype(np.float32)), size, mode="nearest-exact"
    )[:, 0].numpy()
    kept = (nearest >= 0) & (y >= 0)
    assert (y[kept] == 1).any()
    np.testing.assert_array_equal(y[kept], nearest[kept])
    np.testing.assert_array_equal(SliceResizer(size).transform_labels(stack.y), y)


def test_nearest_labels_and_gained_border():
    y = np.full((1, 4, 8), -1)
    y[0, :, 3:6] = [0, 1, 1]
    out = SliceResizer((2, 4)).transform_labels(y)
    # Column 1 covers old columns 2 (outside) and 3; column 2 covers 4 and 5.
    assert out[0, 0].tolist() == [-1, 0, 1, -1]


def test_labels_that_are_ignored_within_the_brain_stay_so():
    images = np.ones((1, 1, 8, 8))
    labels = np.zeros((1, 8, 8))
    labels[0, :4, :4] = -1
    volume = ArrayVolume(images, labels, patient="a", contrasts=["T1"])
    y = SliceResizer(16).fit_transform(SliceStack.from_volumes([volume])).y
    assert (y[0, :6, :6] == -1).all()
    assert (y[0, 9:, 9:] == 0).all()


def test_affine_keeps_the_area():
    stack = make_stack()
    resized = SliceResizer((12, 5)).fit_transform(stack)
    np.testing.assert_allclose(resized.voxel_sizes[0], [2, 4, 3])
    old, new = stack.affines[0], resized.affines[0]
    # The corner of the area, half a pixel outside the first pixel's centre.
    corner = [-0.5, -0.5, 0, 1]
    np.testing.assert_allclose(new @ corner, old @ corner)
    np.testing.assert_allclose(new @ [4.5, 11.5, 2, 1], old @ [19.5, 23.5, 2, 1])


def test_volumes_of_different_sizes_become_one_array():
    stack = SliceResizer(16).fit_transform(make_stack(((24, 20), (30, 22))))
    assert stack.X.shape == (6, 2, 16, 16)
    assert stack.y.shape == (6, 16, 16)


def test_maps_come_back():
    resizer = SliceResizer((12, 10))
    rows = np.arange(12, dtype=np.float64)[None, :, None] * np.ones((1, 12, 10))
    back = resizer.inverse_transform(rows, (24, 20))
    assert back.dtype == np.float32
    np.testing.assert_allclose(back[0, 1:-1, 3], np.arange(1, 23) / 2 - 0.25, rtol=1e-5)
    labels = np.random.default_rng(0).integers(-1, 2, (1, 12, 10)).astype(np.int8)
    nearest = resizer.inverse_transform(labels, (24, 20))
    np.testing.assert_array_equal(nearest, labels.repeat(2, 1).repeat(2, 2))
    with pytest.raises(
        ValueError, match=r"shape \(1, 24, 20\); expected \(n_slices, 12, 10\)"
    ):
        resizer.inverse_transform(np.ones((1, 24, 20)), (24, 20))
    with pytest.raises(ValueError, match=r"shape \(24, 20\); expected \(n_slices, H, W\)"):
        resizer.transform_labels(np.ones((24, 20)))


@pytest.mark.parametrize("size", [0, -3, 1.5, "128", (4,), (4, 0), (4, 4, 4), None])
def test_bad_sizes(size):
    for method in ("fit", "transform", "transform_labels"):
        with pytest.raises(ValueError, match=r"size=.*positive integer or a pair"):
            getattr(SliceResizer(size), method)(make_images())


# -- cropping --------------------------------------------------------------------------


def test_box_holds_the_brain_and_the_margin():
    X = np.zeros((2, 1, 20, 30), dtype=np.float32)
    X[0, 0, 5, 7] = X[1, 0, 11, 20] = 1
    cropper = BrainCropper(margin=2).fit(X)
    assert tuple(cropper.box_) == (3, 14, 5, 23)
    np.testing.assert_array_equal(cropper.transform(X), X[:, :, 3:14, 5:23])
    assert tuple(BrainCropper(margin=100).fit(X).box_) == (0, 20, 0, 30)
    assert tuple(BrainCropper(margin=0).fit(X).box_) == (5, 12, 7, 21)


def test_cropped_stack_and_back():
    stack = make_stack()
    cropper = BrainCropper(margin=1).fit(stack)
    cropped = cropper.transform(stack)
    X, y = cropped.load()
    top, bottom, left, right = cropper.box_
    np.testing.assert_array_equal(X, stack.X[:, :, top:bottom, left:right])
    np.testing.assert_array_equal(y, stack.y[:, top:bottom, left:right])
    np.testing.assert_array_equal(cropper.transform_labels(stack.y), y)
    np.testing.assert_array_equal(cropper.inverse_transform(X[:, 0]), stack.X[:, 0])
    np.testing.assert_array_equal(cropper.inverse_transform(y, fill=-1), stack.y)
    np.testing.assert_allclose(
        cropped.affines[0] @ [0, 0, 1, 1], stack.affines[0] @ [left, top, 1, 1]
    )


def test_box_of_a_part_of_a_stack_is_that_of_its_whole_volumes():
    stack = make_stack()
    assert BrainCropper().fit(stack[[0]]).box_ == BrainCropper().fit(stack[:3]).box_


def test_a_brain_out_of_the_box_is_refused():
    X = make_images()
    cropper = BrainCropper(margin=1).fit(X)
    later = X.copy()
    later[0, 0, 0, 10] = 1
    overhang = cropper.box_.top
    message = f"by {overhang} pixels"
    with pytest.raises(ValueError, match=message):
        cropper.transform(later)
    volume = ArrayVolume(later, patient="late", contrasts=["T1", "T2"])
    with pytest.raises(ValueError, match=f"volume 'late': .*{message}"):
        cropper.transform(SliceStack.from_volumes([volume])).load()
    assert BrainCropper(margin=1 + overhang).fit(X).transform(later).any()


def test_cropper_refuses():
    X = make_images()
    for margin in (-1, 1.5, None):
        with pytest.raises(ValueError, match=r"margin=.*integer of at least 0"):
            BrainCropper(margin=margin).fit(X)
    cropper = BrainCropper().fit(X)
    with pytest.raises(ValueError, match=r"of shape \(23, 20\); expected \(24, 20\)"):
        cropper.transform(X[:, :, 1:])
    with pytest.raises(ValueError, match=r"maps have shape"):
        cropper.inverse_transform(np.ones((1, 3, 3)))
    with pytest.raises(ValueError, match="SliceResizer"):
        BrainCropper().fit(make_stack(((24, 20), (30, 22))))
    empty = ArrayVolume(np.zeros((1, 2, 5, 5)), patient="a", contrasts=["T1", "T2"])
    with pytest.raises(ValueError, match="no brain pixel"):
        BrainCropper().fit(SliceStack.from_volumes([empty]))


# -- all of them -----------------------------------------------------------------------


@pytest.mark.parametrize("transformer", ALL)
@pytest.mark.parametrize(
    ("X", "message"),
    [
        (
            np.ones((2, 8, 8)),
            r"\(n_slices, n_contrasts, H, W\), got 3: shape \(2, 8, 8\)",
        ),
        (np.ones((2, 0, 8, 8)), "no contrast or no pixel"),
        (np.full((1, 2, 24, 20), np.nan), "NaN|infinite"),
        (np.full((1, 2, 24, 20), np.inf), "NaN|infinite"),
        (np.zeros((1, 2, 24, 20)), "no brain pixel"),
        (make_images(contrasts=3), "3 contrasts; expected 2, with which"),
    ],
)
def test_bad_images(transformer, X, message):
    fitted = clone(transformer).fit(make_images())
    with pytest.raises(ValueError, match=message):
        fitted.transform(X)
    if "with which" not in message:
        with pytest.raises(ValueError, match=message):
            clone(transformer).fit(X)


def test_bad_groups():
    X, stack = make_images(), make_stack()
    with pytest.raises(ValueError, match=r"groups have shape \(2,\); expected \(3,\)"):
        IntensityNormalizer().fit_transform(X, groups=[1, 2])
    with pytest.raises(ValueError, match="groups split volume"):
        IntensityNormalizer().fit(stack).transform(stack, groups=np.arange(len(stack)))


def test_a_volume_without_brain_is_named():
    volume = ArrayVolume(np.zeros((1, 2, 5, 5)), patient="void", contrasts=["T1", "T2"])
    stack = IntensityNormalizer().fit_transform(SliceStack.from_volumes([volume]))
    with pytest.raises(ValueError, match=r"volume 'void': .*no brain pixel"):
        stack.load()


@pytest.mark.parametrize("transformer", ALL)
def test_scikit_learn_conventions(transformer):
    X = make_images()
    before = X.copy()
    fresh = clone(transformer)
    assert fresh.fit(X) is fresh
    assert fresh.n_features_in_ == 2
    out = fresh.transform(X)
    np.testing.assert_array_equal(X, before)
    assert not np.shares_memory(out, X)
    assert out.dtype == np.float32
    again = pickle.loads(pickle.dumps(fresh))
    np.testing.assert_array_equal(again.transform(X), out)
    np.testing.assert_array_equal(clone(transformer).fit_transform(X.astype(float)), out)


class Recorder(BaseEstimator):
    """Last step of a pipeline that keeps what it was fitted on."""

    def fit(self, X, y=None):
        self.X_ = np.asarray(X)
        return self

    def score_samples(self, X):
        return np.asarray(X)[:, 0]


def test_pipeline_on_a_stack_and_on_arrays():
    stack = make_stack()
    pipeline = make_pipeline(*map(clone, ALL[::2]), SliceResizer(16), Recorder())
    pipeline.fit(stack[:4])
    assert pipeline[-1].X_.shape == (4, 2, 16, 16)
    assert pipeline.score_samples(stack[4:]).shape == (2, 16, 16)
    assert clone(pipeline).fit(stack.X)[-1].X_.shape == (6, 2, 16, 16)


def test_lazy_stacks_pickle_small_and_survive_changed_parameters():
    resizer = SliceResizer(16)
    stack = resizer.fit_transform(IntensityNormalizer().fit_transform(make_stack()))
    resizer.set_params(size=4)
    assert stack.shape == (6, 2, 16, 16)
    copy = pickle.loads(pickle.dumps(stack))
    np.testing.assert_array_equal(copy.X, stack.X)


@pytest.mark.slow
def test_real_scan(data_directory):
    from skadm.data import read_brats

    folder = data_directory / "brats"
    patient = sorted(path.name for path in folder.iterdir())[0]
    stack = read_brats(folder, patients=[patient])
    stack = SliceResizer().fit_transform(IntensityNormalizer().fit_transform(stack))
    X, y = stack.load()
    assert X.shape == (155, 4, 128, 128)
    np.testing.assert_array_equal(y == -1, ~brain_mask(X))
    brain = X.transpose(0, 2, 3, 1)[brain_mask(X)]
    np.testing.assert_allclose(brain.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(brain.std(axis=0), 1, atol=0.15)
    assert X[:, 3][y == 1].mean() > X[:, 3][y == 0].mean() + 0.5


def test_smallest_lesion_keeps_its_slice_abnormal():
    images = np.ones((2, 1, 16, 16), np.float32)
    labels = np.zeros((2, 16, 16), np.int8)
    labels[0, 4, 8] = 1  # between the pixels that are nearest to those of 8 x 8
    resized = SliceResizer(8).fit(images).transform_labels(labels)
    assert np.argwhere(resized[0] == 1).tolist() == [[2, 4]]
    assert not (resized[1] == 1).any()
