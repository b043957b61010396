"""The contract that every wrapper of a detector keeps, alone and around another wrapper."""

import functools
import pickle
import warnings

import numpy as np
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from test_adm import Recorder
from test_contract import EVERY_DETECTOR, make_slices, tiny

import skadm.wrappers
from skadm import (
    ConformalDetector,
    EnsembleDetector,
    FlipAveragedDetector,
    PCADetector,
    PostprocessedDetector,
    SliceDetector,
    VolumeDetector,
    load,
    save,
)
from skadm._pipelines import scored_unit
from skadm.data import ArrayVolume, SliceStack, Volume
from skadm.data._sources import Source
from skadm.image_level import slice_labels, volume_labels, volumes_of
from skadm.model_selection import set_offset_by_f1
from skadm.pooling import Quantile
from skadm.postprocessing import GaussianSmoother
from skadm.preprocessing import SliceResizer

SHAPE = (14, 12)

# Wrappers of maps, by name; each takes a detector.
AROUND_PIXELS = {
    "Ensemble": lambda inner: EnsembleDetector(inner, n_detectors=2, random_state=0),
    "Flips": FlipAveragedDetector,
    "Filtered": lambda inner: PostprocessedDetector(inner, GaussianSmoother(1.0)),
    "Through": lambda inner: PostprocessedDetector(
        inner, [("smooth", GaussianSmoother(0.5, sigma_through=1.0))]
    ),
    "Conformal": lambda inner: ConformalDetector(inner, contamination=0.5, random_state=0),
    "Pipeline": lambda inner: make_pipeline(SliceResizer(SHAPE), inner),
}
AROUND_ALL = AROUND_PIXELS | {
    "Slices": lambda inner: SliceDetector(inner, Quantile(0.05)),
    "Volumes": lambda inner: VolumeDetector(inner, Quantile(0.05)),
}
# Each wrapper outside and inside, and each pair that has to agree on something: volumes,
# patients, labels or the size of slices.
NAMES = [
    ("Ensemble", "Filtered"),
    ("Ensemble", "Conformal"),
    ("Flips", "Ensemble"),
    ("Flips", "Through"),
    ("Flips", "Pipeline"),
    ("Filtered", "Conformal"),
    ("Through", "Flips"),
    ("Conformal", "Flips"),
    ("Conformal", "Through"),
    ("Conformal", "Slices"),
    ("Slices", "Ensemble"),
    ("Slices", "Through"),
    ("Slices", "Pipeline"),
    ("Volumes", "Conformal"),
    ("Volumes", "Through"),
]


def pca(**parameters):
    return PCADetector(random_state=0, max_samples=300, n_components=1, **parameters)


def make_wrapper(name, detector=None):
    outer, inner = name
    return AROUND_ALL[outer](AROUND_ALL[inner](pca() if detector is None else detector))


# Each wrapper once outside; the other pairs where there is time.
QUICK = [
    ("Ensemble", "Filtered"),
    ("Flips", "Through"),
    ("Conformal", "Flips"),
    ("Slices", "Pipeline"),
    ("Volumes", "Through"),
]


@pytest.fixture(
    params=[
        pytest.param(
            name,
            marks=[] if name in QUICK else pytest.mark.slow,
            id=f"{name[0]}({name[1]}(PCA))",
        )
        for name in NAMES
    ]
)
def name(request):
    return request.param


@pytest.fixture
def wrapper(name):
    return make_wrapper(name)


@functools.cache
def trained(name):
    """A trained wrapper in a pickle: for all tests that do not need to train it."""
    wrapper = make_wrapper(name)
    return pickle.dumps(wrapper.fit(*data_for(wrapper)[:2]))


@pytest.fixture
def fitted(name):
    """Trained on `STACK`."""
    return pickle.loads(trained(name))


class Counted(Source):
    """A volume that counts how often it is decoded."""

    def __init__(self, source):
        vars(self).update(vars(source.outline), arrays=source, reads=[])

    def decode(self, labels):
        self.reads.append(labels)
        return self.arrays.decode(labels)


def make_stack(n_patients=7):
    """Six slices of each patient; of three patients, two in the middle have a lesion.

    The corner of every slice is a brain pixel that tells its number.
    """
    volumes = []
    for patient in range(n_patients):
        X, y = make_slices(9, 3, *SHAPE, seed=patient)
        order = [0, 1, 6, 7, 2, 3] if patient < 3 else [0, 1, 2, 3, 4, 5]
        X, y = X[order].copy(), y[order].copy()
        X[:, 0, 0, 0] = (6 * patient + np.arange(1, 7)) / 1000
        y[:, 0, 0] = 0
        volume = ArrayVolume(X, y, patient=f"p{patient}", contrasts=("T1", "T2", "FLAIR"))
        volumes.append(Volume(Counted(volume.source)))
    return SliceStack.from_volumes(volumes)


STACK = make_stack()
Y = STACK.y
NORMAL = np.flatnonzero(~(Y == 1).any(axis=(1, 2)))


def data_for(detector, stack=None):
    """X, y and groups as a detector takes them."""
    stack = STACK if stack is None else stack
    if scored_unit(detector) != "volume":
        return stack, Y, stack.groups
    volumes = volumes_of(stack)
    masks = [Y[stack.groups == volume.groups[0]] for volume in volumes]
    return volumes, masks, [volume.groups[0] for volume in volumes]


def shape_for(detector):
    whole = {"pixel": Y.shape, "slice": Y.shape[:1], "volume": (len(STACK.volumes),)}
    return whole[scored_unit(detector)]


def same(first, second):
    np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-6)


def test_every_wrapper_is_tested():
    made = {type(make_wrapper(name)) for name in NAMES}
    public = {getattr(skadm.wrappers, each) for each in skadm.wrappers.__all__}
    assert made == public


# -- scores -------------------------------------------------------------------------------


def test_scores_threshold_and_labels(wrapper, fitted):
    X, y, _ = data_for(wrapper)
    scores, decision = fitted.score_samples(X), fitted.decision_function(X)
    labels = fitted.predict(X)
    assert scores.shape == decision.shape == labels.shape == shape_for(wrapper)
    pixels = scored_unit(wrapper) == "pixel"
    assert scores.dtype == (np.float32 if pixels else np.float64)
    assert labels.dtype == np.int8
    assert np.isfinite(scores).all()
    shown = Y >= 0 if pixels else np.ones(scores.shape, bool)
    same(decision[shown], (scores - scores.dtype.type(fitted.offset_))[shown])
    np.testing.assert_array_equal(labels == -1, decision < 0)
    assert (scores[~shown] == scores.dtype.type(fitted.background_score_)).all()
    assert (labels[~shown] == 1).all()
    assert fitted.contrasts_ == ("T1", "T2", "FLAIR")
    assert fitted.n_features_in_ == 3
    assert fitted.score(X, y) > 0.6
    if pixels:
        out = np.zeros_like(scores)
        assert fitted.score_samples(X, out=out) is out
        np.testing.assert_array_equal(out, scores)


def test_no_brain_is_normal(wrapper, fitted):
    empty = np.zeros((6, 3, *SHAPE), np.float32)
    volume = ArrayVolume(empty, patient="empty", contrasts=STACK.contrasts)
    unseen = SliceStack.from_volumes([volume])
    unseen = [unseen] if scored_unit(wrapper) == "volume" else unseen
    fitted.offset_ = fitted.background_score_ + 1  # as if a threshold were that high
    assert (fitted.predict(unseen) == 1).all()
    background = fitted.score_samples(unseen)
    assert (background == background.dtype.type(fitted.background_score_)).all()


def test_scores_do_not_depend_on_what_is_scored_together(wrapper, fitted):
    X, _, _ = data_for(wrapper)
    together = fitted.decision_function(X)
    if scored_unit(wrapper) == "volume":
        same(np.concatenate([fitted.decision_function([each]) for each in X]), together)
        return
    for patient in ("p0", "p5"):
        own = STACK.groups == patient
        same(fitted.decision_function(STACK[own]), together[own])
    order = np.random.default_rng(0).permutation(len(STACK))
    same(fitted.decision_function(STACK[order]), together[order])


# -- training -----------------------------------------------------------------------------


@pytest.fixture
def trained_on(monkeypatch):
    """Numbers of the slices of every training of a PCA."""
    seen = []
    original = PCADetector._fit

    def spy(self, X):
        corner = X[:, 0, 0, 0] * 1000
        seen.append(np.rint(corner).astype(int) - 1)
        return original(self, X)

    monkeypatch.setattr(PCADetector, "_fit", spy)
    return seen


def normal_slices_of(wrapper):
    """Numbers of the slices that may be trained on."""
    if scored_unit(wrapper) != "volume":
        return set(NORMAL.tolist())
    return set(np.flatnonzero(~np.isin(STACK.groups, ["p0", "p1", "p2"])).tolist())


@pytest.mark.slow
def test_no_training_sees_a_lesion(wrapper, trained_on):
    X, y, groups = data_for(wrapper)
    labels = y
    if scored_unit(wrapper) == "slice":
        labels = slice_labels(y)
    elif scored_unit(wrapper) == "volume":
        labels = volume_labels(y)
    predicted = clone(wrapper).fit_predict(X, y)
    np.testing.assert_array_equal(predicted, clone(wrapper).fit(X, labels).predict(X))
    found = cross_val_predict(wrapper, X, labels, cv=GroupKFold(2), groups=groups)
    assert found.shape == predicted.shape
    search = GridSearchCV(
        wrapper, {"contamination": [0.4, 0.5]}, cv=GroupKFold(2), error_score="raise"
    )
    search.fit(X, labels, groups=groups)
    assert len(trained_on) >= 2 + 2 + 5
    allowed = normal_slices_of(wrapper)
    for numbers in trained_on:
        assert set(numbers.tolist()) <= allowed
    calibrated = "Conformal" in repr(wrapper)
    if not calibrated:  # which trains on half of the patients
        assert set(trained_on[0].tolist()) == allowed


def test_the_threshold_does_not_depend_on_lesions(wrapper, fitted):
    if "through" in repr(wrapper):
        pytest.skip("neighbours of lesions are smoothed with them")
    X, _, _ = data_for(wrapper)
    volumes = []
    for volume in STACK.volumes:
        images, labels = volume.read()
        images = images.copy()
        ill = (labels == 1).any(axis=(1, 2))
        images[ill, :, 1:] *= 5
        volumes.append(
            ArrayVolume(images, labels, patient=volume.patient, contrasts=volume.contrasts)
        )
    changed, y, _ = data_for(wrapper, SliceStack.from_volumes(volumes))
    again = clone(wrapper).fit(changed, y)
    assert again.offset_ == fitted.offset_
    assert again.background_score_ == fitted.background_score_
    np.testing.assert_array_equal(again.score_samples(X), fitted.score_samples(X))


def test_without_masks_all_is_taken_for_normal(wrapper):
    volumes = [
        ArrayVolume(volume.read()[0], patient=volume.patient, contrasts=volume.contrasts)
        for volume in STACK.volumes
    ]
    X, y, _ = data_for(wrapper, SliceStack.from_volumes(volumes))
    without = clone(wrapper).fit(X)
    healthy = [np.minimum(mask, 0) for mask in y]
    if scored_unit(wrapper) != "volume":
        healthy = np.stack(healthy)
    same(without.score_samples(X), clone(wrapper).fit(X, healthy).score_samples(X))
    with pytest.raises(ValueError, match="y "):
        without.score(X, None)


def test_same_seed_same_scores_and_nothing_global_is_touched(wrapper, fitted):
    X, y, _ = data_for(wrapper)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    again = wrapper.fit(X, y)
    np.testing.assert_array_equal(fitted.score_samples(X), again.score_samples(X))
    assert fitted.offset_ == again.offset_
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])
    assert torch.equal(torch.get_rng_state(), before[1])


def test_a_failed_fit_leaves_the_wrapper_as_it_was(fitted, monkeypatch):
    X, y, _ = data_for(fitted)
    expected = fitted.score_samples(X)
    with monkeypatch.context() as patch:

        def interrupted(self, X):
            raise KeyboardInterrupt

        patch.setattr(PCADetector, "_fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fitted.fit(X, y)
    np.testing.assert_array_equal(fitted.score_samples(X), expected)


def test_wrong_input(wrapper, fitted):
    X, y, _ = data_for(wrapper)
    with pytest.raises(NotFittedError):
        clone(wrapper).predict(X)
    with pytest.raises(ValueError, match="y|mask"):
        clone(wrapper).fit(X, y[:-1])
    ill = [np.ones_like(mask) for mask in y]
    with pytest.raises(ValueError, match="no normal slice left|y labels all"):
        clone(wrapper).fit(X, ill if scored_unit(wrapper) == "volume" else np.stack(ill))
    with pytest.raises(ValueError, match="'contamination' parameter"):
        clone(wrapper).set_params(contamination=1.5).fit(X, y)
    fewer = SliceStack.from_volumes(
        [ArrayVolume(STACK.X[:6, :2], patient="p", contrasts=("T1", "T2"))]
    )
    with pytest.raises(ValueError, match="2 (features|contrasts)"):
        fitted.predict([fewer] if scored_unit(wrapper) == "volume" else fewer)


# -- estimators ---------------------------------------------------------------------------


def test_parameters_copies_and_files(wrapper, tmp_path):
    X, y, _ = data_for(wrapper)
    before = {key: repr(value) for key, value in wrapper.get_params().items()}
    inner = next(key for key in before if key.endswith("n_components"))
    fitted = wrapper.fit(X, y)
    assert {key: repr(value) for key, value in wrapper.get_params().items()} == before
    expected = fitted.decision_function(X)
    save(fitted, tmp_path / "model")
    for copy in (load(tmp_path / "model"), pickle.loads(pickle.dumps(fitted))):
        np.testing.assert_array_equal(copy.decision_function(X), expected)
        assert copy.get_params().keys() == before.keys()
        assert copy.contrasts_ == fitted.contrasts_
    again = clone(fitted).set_params(**{inner: 2})
    assert again.get_params()[inner] == 2
    assert not hasattr(again, "offset_")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "n_trainings"),
    [
        (("Ensemble", "Filtered"), 2),
        (("Flips", "Conformal"), 1),
        (("Conformal", "Flips"), 1),
        (("Filtered", "Ensemble"), 2),
        (("Slices", "Pipeline"), 1),
        (("Volumes", "Flips"), 1),
    ],
)
def test_callbacks_reach_the_network(name, n_trainings):
    class Everywhere(Recorder):
        max_propagation_depth = None

    recorder = Everywhere()
    wrapper = make_wrapper(name, tiny("ADMDetector", max_epochs=1))
    X, y, _ = data_for(wrapper)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        wrapper.set_callbacks(recorder).fit(X, y)
    assert recorder.tasks.count("epoch") == 2 * n_trainings  # of two stages


def test_a_trained_detector_is_wrapped_without_training(name, trained_on):
    outer, inner = name
    if outer == "Ensemble":
        pytest.skip("an ensemble needs seeds")
    trained = AROUND_ALL[inner](pca()).fit(STACK, Y)
    expected = trained.score_samples(STACK)
    trained_on.clear()
    wrapper = AROUND_ALL[outer](FrozenEstimator(trained))
    X, y, _ = data_for(wrapper)
    wrapper.fit(X, y).predict(X)
    assert not trained_on
    np.testing.assert_array_equal(trained.score_samples(STACK), expected)


# -- reading ------------------------------------------------------------------------------


def reads(stack):
    counts = [len(volume.source.reads) for volume in stack.volumes]
    for volume in stack.volumes:
        volume.source.reads.clear()
    return counts


@pytest.mark.parametrize("detector", EVERY_DETECTOR)
def test_a_detector_decodes_each_volume_once(detector):
    stack = make_stack()
    fitted = tiny(detector).fit(stack, Y)
    assert reads(stack) == [1] * 7
    for method in (fitted.score_samples, fitted.decision_function, fitted.predict):
        method(stack)
        assert reads(stack) == [1] * 7
    fitted.score(stack, Y)
    assert reads(stack) == [1] * 7
    set_offset_by_f1(make_pipeline(fitted), stack, Y)
    assert reads(stack) == [1] * 7


def test_a_wrapper_decodes_each_volume_once(wrapper):
    stack = make_stack()
    X, y, _ = data_for(wrapper, stack)
    fitted = wrapper.fit(X, y)
    assert reads(stack) == [1] * 7
    methods = [fitted.score_samples, fitted.decision_function, fitted.predict]
    methods += [
        getattr(fitted, n) for n in ("p_values", "uncertainty") if hasattr(fitted, n)
    ]
    for method in methods:
        method(X)
        assert reads(stack) == [1] * 7
    fitted.score(X, y)
    assert reads(stack) == [1] * 7


@pytest.mark.slow
def test_a_search_decodes_each_volume_once_for_every_fit_and_score():
    for detector in (pca(), make_wrapper(("Filtered", "Flips"))):
        stack = make_stack()
        grid = {"contamination": [0.1, 0.2]}
        GridSearchCV(detector, grid, cv=GroupKFold(3)).fit(stack, Y, groups=stack.groups)
        # Two candidates: two fits and one score each; and the fit on all.
        assert reads(stack) == [2 * (2 + 1) + 1] * 7


@pytest.mark.parametrize(
    ("name", "n_reads"),
    [
        (("Flips",), 2),  # the training, and the threshold
        (("Filtered",), 2),
        (("Ensemble",), 3),  # two trainings
        (("Slices",), 2),
        (("Volumes",), 2),
        (("Conformal",), 1),  # patients train or calibrate
        (("Flips", "Filtered"), 3),  # a threshold each
    ],
)
def test_volumes_larger_than_memory_are_read_for_each_pass(name, n_reads):
    def make():
        detector = pca()
        for each in reversed(name):
            detector = AROUND_ALL[each](detector)
        return detector

    stack = make_stack()
    X, y, _ = data_for(make(), stack)
    if name == ("Volumes",):
        y = [np.minimum(mask, 0) for mask in y]  # others are not read at all
    within = make().fit(X, y).decision_function(X)
    reads(stack)
    with sklearn.config_context(working_memory=0.01):
        fitted = make().fit(X, y)
        assert reads(stack) == [n_reads] * 7
        np.testing.assert_array_equal(fitted.decision_function(X), within)
        assert reads(stack) == [1] * 7


# -- what cannot be wrapped ---------------------------------------------------------------


@pytest.mark.parametrize(
    "outer", [each for each in AROUND_ALL if each not in ("Pipeline", "Conformal")]
)
@pytest.mark.parametrize("inner", ["Slices", "Volumes"])
def test_scores_of_images_are_not_wrapped_as_maps(outer, inner, trained_on):
    wrapper = make_wrapper((outer, inner))
    with pytest.raises(ValueError, match=f"scores {inner.lower()}; .* scores pixels"):
        wrapper.fit(*data_for(wrapper)[:2])
    assert not trained_on


def test_what_else_is_refused_before_training(trained_on):
    with pytest.raises(
        ValueError, match="VolumeDetector scores volumes; .* scores pixels or slices"
    ):
        make_wrapper(("Conformal", "Volumes")).fit(STACK, Y)
    search = GridSearchCV(pca(), {"n_components": [1, 2]})
    with pytest.raises(ValueError, match="Search over the wrapper"):
        FlipAveragedDetector(search).fit(STACK, Y)
    assert not trained_on


def test_steps_that_resize_are_told_to_go_before():
    resizing = make_pipeline(SliceResizer(8), pca())
    with pytest.raises(ValueError, match=r"\(4, 8, 8\).*before the wrapper"):
        FlipAveragedDetector(resizing).fit(STACK, Y)
