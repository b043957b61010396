"""Any input becomes slices by one function; what is no slices is refused by name."""

import numpy as np
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from test_contract import make_slices, make_stack

from skadm import (
    ConformalDetector,
    EnsembleDetector,
    FlipAveragedDetector,
    IntensityDetector,
    PCADetector,
    PostprocessedDetector,
    SliceDetector,
    VolumeDetector,
)
from skadm.data import ArrayVolume, SliceStack, write_maps
from skadm.data._slices import as_slices
from skadm.data._sources import ArraySource
from skadm.image_level import slice_labels, volumes_of
from skadm.metrics import (
    anomaly_map,
    lesions_at_threshold,
    pixel_roc_auc_score,
    roc_auc_scorer,
)
from skadm.model_selection import set_offset_by_f1
from skadm.plotting import plot_montage
from skadm.postprocessing import GaussianSmoother, MedianFilter
from skadm.preprocessing import BrainCropper, IntensityNormalizer, SliceResizer
from skadm.synthetic import IntensityShift, paste_lesions


def pca():
    return PCADetector(n_components=1, random_state=0)


def detectors():
    return {
        "bare": pca(),
        "postprocessed": PostprocessedDetector(pca(), GaussianSmoother(sigma=1)),
        "ensemble": EnsembleDetector(
            PCADetector(max_samples=200), n_detectors=2, random_state=0
        ),
        "flips": FlipAveragedDetector(pca()),
        "conformal": ConformalDetector(pca(), contamination=0.4, random_state=0),
        "slices": SliceDetector(pca()),
        "pipeline": make_pipeline(IntensityNormalizer(), SliceResizer((14, 11)), pca()),
    }


def mapped(X, folder):
    np.save(folder / "X.npy", X)
    return np.load(folder / "X.npy", mmap_mode="r")


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


FORMS = {
    "float64": lambda X, _: X.astype(np.float64),
    "longdouble": lambda X, _: X.astype(np.longdouble),
    "big-endian": lambda X, _: X.astype(">f4"),
    "Fortran": lambda X, _: np.asfortranarray(X),
    "strided": lambda X, _: np.repeat(X, 2, axis=3)[..., ::2],
    "read-only": lambda X, _: read_only(X),
    "mapped": mapped,
    "list of arrays": lambda X, _: list(X),
    "nested list": lambda X, _: X.tolist(),
    "objects": lambda X, _: X.astype(object),
    "masked array, nothing masked": lambda X, _: np.ma.array(X),
    "tensor": lambda X, _: torch.from_numpy(X.copy()),
    "tensor with gradient": lambda X, _: torch.from_numpy(X.copy()).requires_grad_(),
    "list of tensors": lambda X, _: [torch.from_numpy(x.copy()) for x in X],
}


def whole(X):
    """Numbers that every form holds without rounding."""
    return np.round(8 * X).astype(np.float32)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_input_gives_the_same(form, tmp_path):
    X, y = make_slices()
    X = whole(X)
    given = FORMS[form](X, tmp_path)
    fitted, again = pca().fit(X, y), pca().fit(given, y)
    assert again.offset_ == fitted.offset_
    for method in ("score_samples", "decision_function", "predict"):
        found = getattr(fitted, method)(given)
        assert type(found) is np.ndarray
        np.testing.assert_allclose(found, getattr(fitted, method)(X), rtol=1e-6, atol=1e-5)
    assert found.dtype == np.int8
    assert fitted.score(given, y) == pytest.approx(fitted.score(X, y))
    for step in (IntensityNormalizer(), SliceResizer(8), BrainCropper(1)):
        np.testing.assert_array_equal(step.fit_transform(given), step.fit_transform(X))


@pytest.mark.parametrize("dtype", ["float16", "uint8", "int16", ">i4", "uint16"])
def test_types_of_numbers(dtype):
    X, y = make_slices()
    X = np.abs(whole(X))
    np.testing.assert_array_equal(
        pca().fit(X.astype(dtype), y).score_samples(X), pca().fit(X, y).score_samples(X)
    )


@pytest.mark.parametrize("kind", detectors())
def test_wrappers_take_tensors_and_lists(kind):
    X, y = make_slices()
    fitted = clone(detectors()[kind]).fit(X, y)
    expected = fitted.score_samples(X)
    masks = torch.from_numpy(y.copy())
    for given in (torch.from_numpy(X.copy()).requires_grad_(), list(X)):
        again = clone(detectors()[kind]).fit(given, masks)
        np.testing.assert_allclose(again.score_samples(given), expected, rtol=1e-5)
        np.testing.assert_array_equal(fitted.predict(given), fitted.predict(X))
        if hasattr(fitted, "score"):
            assert fitted.score(given, masks) == pytest.approx(fitted.score(X, y))


def test_labels_maps_and_masks_are_read_in_the_same_way(tmp_path):
    X, y = make_slices()
    tensor, masks = torch.from_numpy(X.copy()), torch.from_numpy(y.copy())
    fitted = pca().fit(X, y)
    maps = fitted.score_samples(X)
    scores = torch.from_numpy(maps.copy()).requires_grad_()
    auc = pixel_roc_auc_score(y, maps)
    assert pixel_roc_auc_score(masks, scores) == pytest.approx(auc)
    groups = np.arange(len(X)) // 6
    assert lesions_at_threshold(masks, scores, groups, 0) == lesions_at_threshold(
        y, maps, groups, 0
    )
    np.testing.assert_array_equal(anomaly_map(scores), -maps)
    np.testing.assert_array_equal(slice_labels(masks), slice_labels(y))
    for some in ({"abnormal_only": False}, {"abnormal_only": True}):
        expected = set_offset_by_f1(clone(fitted).fit(X, y), X, y, **some).offset_
        assert set_offset_by_f1(fitted, tensor, masks, **some).offset_ == expected
        assert set_offset_by_f1(fitted, list(X), list(y), **some).offset_ == expected
    np.testing.assert_array_equal(
        MedianFilter().fit_transform(scores), MedianFilter().fit_transform(maps)
    )
    shift = IntensityShift()
    np.testing.assert_array_equal(
        paste_lesions(tensor, shift, random_state=0)[0],
        paste_lesions(X, shift, random_state=0)[0],
    )
    figure = plot_montage(tensor, masks, {"PCA": scores}, slices=[9])
    assert len(figure.axes) >= 2
    stack = make_stack(1)
    paths = [
        write_maps(given, stack, tmp_path / name)[0].read_bytes()
        for name, given in (("array", maps[:6]), ("tensor", scores[:6]))
    ]
    assert paths[0] == paths[1]


def test_volumes_take_tensors():
    X, _ = make_slices()
    volumes = [torch.from_numpy(X[:6].copy()), torch.from_numpy(X[6:8].copy())]
    fitted = VolumeDetector(pca()).fit(volumes)
    np.testing.assert_array_equal(
        fitted.score_samples(volumes), fitted.score_samples([X[:6], X[6:8]])
    )
    with pytest.raises(ValueError, match="X is one stack of slices"):
        fitted.predict(torch.from_numpy(X))


def test_an_anomaly_map_of_unsigned_numbers_does_not_wrap_around():
    np.testing.assert_array_equal(anomaly_map(np.array([0, 1], np.uint8)), [0, -1])
    np.testing.assert_array_equal(anomaly_map(np.array([False, True])), [0, -1])


# -- refusals -----------------------------------------------------------------------------


def ragged_objects():
    X = np.empty(2, object)
    X[:] = [np.ones((3, 14, 11)), np.ones((3, 14, 12))]
    return X


def sparse(X):
    return torch.from_numpy(X.copy()).to_sparse()


REFUSED = {
    "complex": (lambda X: X + 1j, r"X holds complex numbers \(complex64\).*numpy.abs"),
    "text": (lambda X: X.astype(str), r"X holds text \(<U32\); expected real numbers"),
    "bytes": (lambda X: X.astype("S"), "X holds text"),
    "dates": (lambda X: X.astype("M8[s]"), "X holds dates"),
    "booleans": (lambda X: X != 0, "X holds booleans, as a mask does"),
    "text among objects": (
        lambda X: np.where(X > 0, "1.5", X.astype(object)),
        "X is an array of objects and holds a str, '1.5'; expected real numbers",
    ),
    "None among objects": (
        lambda X: np.where(X > 0, None, X.astype(object)),
        "holds a NoneType",
    ),
    "masked": (
        lambda X: np.ma.masked_greater(X, 0),
        r"masked array in which \d+ of 5544 values are masked.*filled",
    ),
    "list of masked": (
        lambda X: list(np.ma.masked_greater(X, 0)),
        "X is a masked array in which",
    ),
    "ragged list": (
        lambda X: [X[0], X[1][:, :-1]],
        r"differ in shape: entry 0 has shape \(3, 14, 11\), entry 1 \(3, 13, 11\)",
    ),
    "ragged objects": (lambda X: ragged_objects(), "entries differ in shape"),
    "float16 overflow": (
        lambda X: (X * 1e6).clip(-1e6, 1e6).astype(np.float16),
        "float16 and holds infinity, since float16 ends at 65504",
    ),
    "float16 tensor overflow": (
        lambda X: torch.from_numpy(1e6 * X).half(),
        "float16 and holds infinity",
    ),
    "sparse tensor": (sparse, "tensor of layout torch.sparse_coo.*expected a dense tensor"),
    "tensor without data": (
        lambda X: torch.from_numpy(X.copy()).to("meta"),
        "on the device 'meta'",
    ),
    "nothing": (lambda X: None, "X is a NoneType"),
    "dict": (lambda X: {"T1": X}, "X is a dict"),
    "a string": (lambda X: "scan.nii.gz", "X holds text"),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_fit_and_score(case):
    make, message = REFUSED[case]
    X, y = make_slices()
    bad = make(X)
    fitted = pca().fit(X, y)
    steps = [IntensityNormalizer(), SliceResizer(8), BrainCropper(1).fit(X)]
    calls = [
        pca().fit,
        fitted.score_samples,
        fitted.predict,
        SliceDetector(pca()).fit,
        FlipAveragedDetector(pca()).fit,
        FlipAveragedDetector(pca()).fit(X, y).score_samples,
        ConformalDetector(pca()).fit,
        *(step.transform for step in steps),
        lambda X: plot_montage(X, y, slices=[9]),
        lambda X: set_offset_by_f1(fitted, X, y),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=message):
            call(bad)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("case", ["complex", "text", "masked", "nothing"])
def test_refused_as_labels_maps_and_images_of_a_volume(case):
    make = REFUSED[case][0]
    X, y = make_slices()
    fitted, bad = pca().fit(X, y), make(X)[:, 0] if case != "nothing" else None
    for call in (
        lambda: fitted.score(X, bad),
        lambda: pixel_roc_auc_score(y, bad),
        lambda: anomaly_map(bad),
        lambda: MedianFilter().fit(bad),
        lambda: write_maps(bad, make_stack(1), "never"),
        lambda: ArrayVolume(make(X), patient="p", contrasts=("T1", "T2", "FLAIR")),
    ):
        with pytest.raises(ValueError, match="holds|masked|is a NoneType"):
            call()


def test_tensors_of_a_type_that_numpy_does_not_know():
    X, _ = make_slices()
    X = whole(X).clip(-100, 100)
    tensor = torch.from_numpy(X).to(torch.bfloat16)
    found = as_slices(tensor)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, tensor.float().numpy())


def test_arrays_and_stacks_are_not_copied(tmp_path):
    X, _ = make_slices()
    assert as_slices(X) is X
    assert np.shares_memory(as_slices(torch.from_numpy(X)), X)
    stack = make_stack(1)
    assert as_slices(stack) is stack
    assert as_slices(np.ma.array(X)).base is X


# -- labels that a stack brings -----------------------------------------------------------


@pytest.mark.parametrize("kind", detectors())
@pytest.mark.parametrize("memory", [1024, 0])
def test_a_labelled_stack_with_anomalies_needs_y(kind, memory):
    stack = make_stack()
    detector = detectors()[kind]
    message = r"2 of the 6 slices of volume 'p\d' \(the first is z = 4\).*y=stack.y"
    with sklearn.config_context(working_memory=memory or 1e-3):
        with pytest.raises(ValueError, match=message):
            clone(detector).fit(stack)
        expected = clone(detector).fit(stack, stack.y).score_samples(stack)
        for normal in (stack.normal(), stack[(stack.y != 1).all(axis=(1, 2))]):
            found = clone(detector).fit(normal).score_samples(stack)
            np.testing.assert_allclose(found, expected, rtol=1e-6)
        everything = clone(detector).fit(stack.without_labels())
    bare = SliceStack.from_volumes(
        [
            ArrayVolume(v.read()[0], patient=v.patient, contrasts=v.contrasts)
            for v in stack.volumes
        ]
    )
    np.testing.assert_array_equal(
        everything.score_samples(stack), clone(detector).fit(bare).score_samples(stack)
    )


def test_a_failed_fit_is_not_half_a_fit():
    stack = make_stack()
    detector = pca()
    with pytest.raises(ValueError, match="y is None"):
        detector.fit(stack)
    assert not hasattr(detector, "contrasts_")
    with pytest.raises(ValueError, match="y is None"):
        detector.fit_predict(stack)


def test_volumes_and_a_frozen_detector_are_looked_at_too():
    stack = make_stack()
    trained = pca().fit(stack, stack.y)
    with pytest.raises(ValueError, match="y is None"):
        VolumeDetector(pca()).fit(volumes_of(stack))
    with pytest.raises(ValueError, match="y is None"):
        FlipAveragedDetector(FrozenEstimator(trained)).fit(stack)
    with pytest.raises(ValueError, match="y is None"):
        ConformalDetector(FrozenEstimator(trained), contamination=0.3).fit(stack)


def test_a_y_that_is_given_speaks_for_the_stack():
    """Such as labels of slices that call a lesion of a few pixels normal."""
    stack = make_stack()
    normal = np.zeros_like(stack.y)
    np.testing.assert_array_equal(
        IntensityDetector().fit(stack, normal).score_samples(stack),
        IntensityDetector().fit(stack.without_labels()).score_samples(stack),
    )
    assert SliceDetector(pca()).fit(stack, np.ones(len(stack), int)).offset_ < 0


@pytest.mark.parametrize("memory", [1024, 1e-3])
def test_labels_cost_no_reading(memory, monkeypatch):
    volumes = make_stack().normal().volumes
    stack = SliceStack.from_volumes(volumes)[[0, 1, 2, 6, 7, 12]]
    reads = []
    original = ArraySource.decode
    monkeypatch.setattr(
        ArraySource,
        "decode",
        lambda self, labels: reads.append(self.name) or original(self, labels),
    )
    with sklearn.config_context(working_memory=memory):
        IntensityDetector().fit(stack)
    assert reads == ["p0", "p1", "p2"]


# -- scikit-learn's searches --------------------------------------------------------------


@pytest.mark.parametrize("form", ["stack", "tensor", "list"])
def test_searches_and_folds(form):
    stack = make_stack()
    X, y = stack.load()
    given = {"stack": stack, "tensor": torch.from_numpy(X.copy()), "list": list(X)}[form]
    pipeline = make_pipeline(IntensityNormalizer(), pca())
    search = GridSearchCV(
        pipeline,
        {"pcadetector__n_components": [1, 2]},
        cv=GroupKFold(3),
        error_score="raise",
    ).fit(given, y, groups=stack.groups)
    assert 0.5 < search.best_score_ <= 1
    maps = cross_val_predict(pca(), given, y, groups=stack.groups, cv=GroupKFold(3))
    assert maps.shape == y.shape
    with pytest.raises(ValueError, match="y is None"):
        cross_val_predict(pca(), stack, groups=stack.groups, cv=GroupKFold(3))


@pytest.mark.parametrize("asked", [True, False])
def test_groups_may_be_routed_to_the_normaliser_of_a_stack(asked):
    """Patients, of which the stack knows the volumes: they change nothing."""
    stack = make_stack()
    plain = make_pipeline(IntensityNormalizer(), pca())
    grid = {"pcadetector__n_components": [1, 2]}
    options = {"cv": GroupKFold(3), "error_score": "raise", "scoring": roc_auc_scorer}
    expected = GridSearchCV(plain, grid, **options).fit(stack, stack.y, groups=stack.groups)
    with sklearn.config_context(enable_metadata_routing=True):
        normaliser = IntensityNormalizer().set_transform_request(groups=asked)
        search = GridSearchCV(make_pipeline(normaliser, pca()), grid, **options)
        search.fit(stack, stack.y, groups=stack.groups)
    assert search.best_score_ == pytest.approx(expected.best_score_)
