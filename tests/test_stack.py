"""SliceStack and the volumes it is made of."""

import base64
import io
import pickle
import re

import nibabel as nib
import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.utils import _safe_indexing

from skadm.data import ArrayVolume, NiftiVolume, SliceStack, brain_mask
from skadm.data._interfaces import Grid
from skadm.data._sources import ArraySource


def make_images(seed, n=4, contrasts=2, shape=(6, 5)):
    images = np.random.default_rng(seed).normal(size=(n, contrasts, *shape))
    images[:, :, 0] = 0
    return images.astype(np.float32)


def make_volume(name, seed=0, patient=None, labelled=True, **kwargs):
    images = make_images(seed, **kwargs)
    labels = (images[:, 0] > 1).astype(int) if labelled else None
    names = ["T1", "T2", "FLAIR"][: images.shape[1]]
    return ArrayVolume(images, labels, patient=patient or name, name=name, contrasts=names)


@pytest.fixture
def stack():
    return SliceStack.from_volumes([make_volume("a", 1), make_volume("b", 2, n=3)])


class Subtract:
    """Step that takes the mean of the whole volume off, and doubles the labels' grid."""

    def images(self, images, brain, grid):
        return images - images.mean(), None

    def labels(self, labels, brain, grid):
        return labels

    def grid(self, grid):
        return Grid(grid.shape, 2 * grid.affine)

    def invert(self, maps, grid):
        return maps


class MeanScore(BaseEstimator):
    """Estimator that records the shapes it is given."""

    def __init__(self, weight=1):
        self.weight = weight

    def fit(self, X, y=None):
        self.shape_ = np.asarray(X).shape
        return self

    def score(self, X, y=None):
        assert len(X) == len(y)
        return self.weight * float(np.asarray(X).mean())


def test_contents_follow_the_volumes(stack):
    expected = np.concatenate([make_images(1), make_images(2, n=3)])
    assert stack.shape == (7, 2, 6, 5)
    assert len(stack) == 7
    assert stack.ndim == 4
    assert stack.dtype == np.float32
    assert stack.contrasts == ("T1", "T2")
    np.testing.assert_array_equal(stack.X, expected)
    np.testing.assert_array_equal(np.asarray(stack), expected)
    assert np.asarray(stack, dtype=np.float64).dtype == np.float64
    np.testing.assert_array_equal(list(stack), expected)
    assert stack.groups.tolist() == ["a"] * 4 + ["b"] * 3
    assert stack.volume_ids.tolist() == ["a"] * 4 + ["b"] * 3
    assert stack.z.tolist() == [0, 1, 2, 3, 0, 1, 2]
    assert stack.affines.shape == (7, 4, 4)
    np.testing.assert_array_equal(stack.voxel_sizes, np.ones((7, 3)))


def test_labels_are_ignored_outside_the_brain(stack):
    X, y = stack.load()
    assert y.dtype == np.int8
    np.testing.assert_array_equal(y == -1, ~brain_mask(X))
    np.testing.assert_array_equal(y == 1, X[:, 0] > 1)
    np.testing.assert_array_equal(stack.y, y)


def test_lesion_in_the_background_is_kept_and_its_slice_is_not_normal():
    images, labels = make_images(0), np.zeros((4, 6, 5))
    labels[1, 0, 0] = 1
    volume = ArrayVolume(images, labels, patient="a", contrasts=("T1", "T2"))
    kept = volume.read()[1]
    assert np.argwhere(kept == 1).tolist() == [[1, 0, 0]]
    assert set(kept[0, 0]) == {-1}
    assert set(kept[:, 1:].ravel()) == {0}
    assert SliceStack.from_volumes([volume]).normal().z.tolist() == [0, 2, 3]


def pictured(html):
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("matplotlib")
    (source,) = re.findall('data:image/png;base64,([^"]+)', html)
    return np.asarray(image.open(io.BytesIO(base64.b64decode(source))).convert("L"))


def test_a_stack_shows_itself_in_a_notebook():
    images = np.zeros((4, 2, 8, 10), np.float32)
    images[:, :, 1:7, 2:9] = 1.0
    images[2, 0, 0, 4] = 1.0  # the slice with the most brain, which has 7 rows
    images[2, 1, 5, 7] = 9.0  # bright: row 5 of 7, column 5 of 7
    labels = np.zeros((4, 8, 10), int)
    labels[0, 3, 3] = 1
    affine = np.diag([2.0, 3.0, 6.0, 1.0])
    volume = ArrayVolume(
        images, labels, patient="<b>", contrasts=["T1", "FLAIR"], affine=affine
    )
    other = ArrayVolume(
        images, labels, patient="c", contrasts=["T1", "FLAIR"], affine=affine + affine
    )
    html = SliceStack.from_volumes([volume, other])[:7]._repr_html_()
    assert "<b>" not in html
    assert "T1, FLAIR" in html
    assert "8 × 10 pixels of 3.00–6.00 × 2.00–4.00 mm, slices 6.00–12.00 mm apart" in html
    assert "5 slices are normal, 2 hold an anomaly" in html
    picture = pictured(html)
    assert picture.shape == (7, 14)  # cropped to the brain; two contrasts
    # Turned: to the front and to the right along rows and columns.
    assert np.argwhere(picture == 255).tolist() == [[1, 7 + 1]]


def test_what_cannot_be_read_does_not_keep_a_stack_from_being_shown(tmp_path):
    rng = np.random.default_rng(0)
    image = nib.Nifti1Image(rng.random((9, 9, 4)).astype(np.float32), np.eye(4))
    nib.save(image, path := tmp_path / "t1.nii")
    stack = SliceStack.from_volumes([NiftiVolume({"T1": path}, patient="a")])
    assert "none" in stack._repr_html_()
    path.write_bytes(path.read_bytes()[:-50])
    html = stack._repr_html_()
    assert "<img" not in html
    assert "a cannot be read: " in html


def test_unlabelled():
    stack = SliceStack.from_volumes([make_volume("a", labelled=False)])
    assert stack.y is None
    assert stack.load()[1] is None
    assert "unlabelled" in repr(stack)


@pytest.mark.parametrize(
    "key",
    [
        slice(1, 6, 2),
        [6, 0, 0],
        np.array([2, 5]),
        np.array([2, -1], dtype=np.int32),
        np.arange(7) % 2 == 0,
        (np.array([3, 4]), Ellipsis),
        [],
    ],
)
def test_selection_is_that_of_the_arrays(stack, key):
    part = stack[key]
    assert isinstance(part, SliceStack)
    np.testing.assert_array_equal(part.X, stack.X[key])
    np.testing.assert_array_equal(part.y, stack.y[key])
    np.testing.assert_array_equal(part.groups, stack.groups[key])


def test_selecting_reads_nothing_and_a_pass_reads_each_volume_once(monkeypatch):
    reads, decode = [], ArraySource.decode
    monkeypatch.setattr(
        ArraySource,
        "decode",
        lambda source, labels: reads.append(source.name) or decode(source, labels),
    )
    volumes = [
        ArrayVolume(make_images(i), patient=p, contrasts=("T1", "T2"))
        for i, p in enumerate("abc")
    ]
    stack = SliceStack.from_volumes(volumes)[[0, 5, 1, 4]]
    assert stack.shape == (4, 2, 6, 5)
    assert reads == []
    assert len(stack.volumes) == 2
    stack.load()
    assert reads == ["a", "b"]
    list(stack[[0, 2, 1, 3]])
    assert reads == ["a", "b"] * 2


def test_one_slice_is_a_copy(stack):
    one = stack[-1]
    np.testing.assert_array_equal(one, make_images(2, n=3)[-1])
    one[:] = 9
    assert stack[-1].max() < 9


def test_volume_arrays_cannot_be_changed(stack):
    with pytest.raises(ValueError, match="read-only"):
        stack.volumes[0].read()[0][0] = 1


def test_scikit_learn_slices_it(stack):
    np.testing.assert_array_equal(
        _safe_indexing(stack, np.array([1, 6])).X, stack.X[[1, 6]]
    )
    splits = list(GroupKFold(2).split(stack, groups=stack.groups))
    assert sorted(len(test) for _, test in splits) == [3, 4]
    search = GridSearchCV(MeanScore(), {"weight": [1, 2]}, cv=GroupKFold(2))
    search.fit(stack, stack.y, groups=stack.groups)
    assert search.best_estimator_.shape_ == (7, 2, 6, 5)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_map_is_lazy_and_sees_the_whole_volume(stack):
    part = stack[[1, 5]].map(Subtract())
    X = stack.X
    expected = [X[1] - X[:4].mean(), X[5] - X[4:].mean()]
    np.testing.assert_allclose(part.X, expected, rtol=1e-6)
    np.testing.assert_array_equal(part.y, stack.y[[1, 5]])
    np.testing.assert_array_equal(part.affines[0], 2 * np.eye(4))
    assert part.groups.tolist() == ["a", "b"]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(part)).X, part.X)


def test_failing_step_names_the_volume(stack):
    class Refuse(Subtract):
        def images(self, images, brain, grid):
            raise ValueError("not today")

    with pytest.raises(ValueError, match="volume 'a': not today"):
        stack.map(Refuse()).load()


@pytest.mark.parametrize("n_slices", [2, 4])
def test_a_step_that_returns_no_brain_of_its_images_is_refused(n_slices):
    class Bare(Subtract):
        def images(self, images, brain, grid):
            return images  # as two things, if there are two slices

    class Other(Subtract):
        def images(self, images, brain, grid):
            return images, brain[1:]

    stack = SliceStack.from_volumes([make_volume("a", n=n_slices)])
    with pytest.raises(ValueError, match="volume 'a': (Bare returned|too many values)"):
        stack.map(Bare()).load()
    with pytest.raises(ValueError, match=r"'a': Other returned .* a brain \(\d, 6, 5\)"):
        stack.map(Other()).load()


def test_the_brain_of_a_step_that_does_not_know_it_is_found(stack):
    mapped = stack.map(Subtract())
    np.testing.assert_array_equal(mapped.brain, brain_mask(mapped.X))
    assert mapped.brain.all()  # the background is no longer 0
    assert not stack.brain.all()


def test_in_memory_is_equivalent(stack):
    mapped = stack[[0, 6]].map(Subtract())
    memory = mapped.in_memory()
    assert all(volume.is_decoded for volume in memory.volumes)
    assert memory.in_memory().volumes == memory.volumes
    np.testing.assert_array_equal(memory.X, mapped.X)
    np.testing.assert_array_equal(memory.y, mapped.y)
    np.testing.assert_array_equal(memory.affines, mapped.affines)
    assert memory.volumes[0].first.grid is stack.volumes[0].grid


def test_verify_names_every_volume_that_fails(stack):
    stack.verify()
    empty = SliceStack.from_volumes(stack.volumes)

    class Refuse(Subtract):
        def images(self, images, brain, grid):
            raise ValueError("broken")

    with pytest.raises(ValueError, match=r"'a': broken\nvolume 'b': broken"):
        empty.map(Refuse()).verify()


def test_voxel_size_comes_from_the_affine():
    affine = np.array([[0, 2, 0, 5], [-3, 0, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1.0]])
    volume = ArrayVolume(make_images(0), patient="a", contrasts=["x", "y"], affine=affine)
    np.testing.assert_allclose(volume.voxel_size, [3, 2, 4])
    assert volume.shape == (6, 5)
    np.testing.assert_array_equal(volume.affine, affine)


def test_different_slice_sizes_say_what_to_do():
    stack = SliceStack.from_volumes([make_volume("a"), make_volume("b", shape=(7, 5))])
    for read in (lambda: stack.shape, stack.load, lambda: np.asarray(stack)):
        with pytest.raises(ValueError, match=r"'b' are \(7, 5\).*\(6, 5\).*SliceResizer"):
            read()


@pytest.mark.parametrize(
    ("volumes", "message"),
    [
        ([], "at least one volume"),
        ([make_volume("a"), make_volume("b", contrasts=3)], r"'b' has contrasts .*FLAIR"),
        ([make_volume("a"), make_volume("b", labelled=False)], "'b' has no labels"),
        ([make_volume("a"), make_volume("a")], "two volumes are named 'a'"),
    ],
)
def test_volumes_that_do_not_fit(volumes, message):
    with pytest.raises(ValueError, match=message):
        SliceStack.from_volumes(volumes)


@pytest.mark.parametrize(
    ("volume_index", "z", "message"),
    [
        ([0, 0], [1], r"shape \(2,\) and z \(1,\)"),
        ([1], [0], "from 1 to 1; expected indices of the 1 volumes"),
        ([0], [4], "z = 4 is not a slice of volume 'a'; expected an index below 4"),
    ],
)
def test_indices_that_do_not_fit(volume_index, z, message):
    with pytest.raises(ValueError, match=message):
        SliceStack([make_volume("a")], volume_index, z)


def test_indexing_that_is_refused(stack):
    with pytest.raises(IndexError, match="along slices only"):
        stack[:, 0]
    with pytest.raises(IndexError, match="2 dimensions"):
        stack[np.zeros((1, 2), dtype=int)]
    with pytest.raises(IndexError):
        stack[7]
    with pytest.raises(ValueError, match="copy=False"):
        np.array(stack, copy=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((4, 6, 5))}, r"shape \(4, 6, 5\); expected \(n_slices"),
        ({"images": np.zeros((4, 0, 6, 5))}, "without zeros"),
        (
            {"images": np.full((1, 2, 6, 5), np.nan)},
            "'a': .* contains NaN: in slice 0 all",
        ),
        ({"contrasts": ["T1"]}, "2 contrasts, but .* names 1"),
        (
            {"labels": np.zeros((4, 5, 6))},
            r"'a': labels must have shape .* got \(4, 5, 6\)",
        ),
        ({"labels": np.full((4, 6, 5), 2)}, r"'a': labels must hold .* found \[2\]"),
        ({"affine": np.eye(3)}, r"affine has shape \(3, 3\)"),
    ],
)
def test_bad_arrays(change, message):
    arguments = {"images": make_images(0), "contrasts": ["T1", "T2"]} | change
    with pytest.raises(ValueError, match=message):
        ArrayVolume(**arguments, patient="a")
