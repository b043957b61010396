"""Detection of whole slices and volumes, with scikit-learn's own tools."""

import doctest
import importlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedGroupKFold,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.utils import _safe_indexing
from test_adm import Recorder
from test_contract import make_slices

from skadm import ADMDetector, IntensityDetector, SliceDetector, VolumeDetector
from skadm.data import ArrayVolume, SliceStack
from skadm.image_level import (
    anomaly_average_precision,
    slice_labels,
    volume_labels,
    volumes_of,
)
from skadm.pooling import LargestComponent, Pooling, Quantile, TopKMean
from skadm.preprocessing import IntensityNormalizer, SliceResizer

CONTRASTS = ("T1", "T2", "FLAIR")


class Spy(IntensityDetector):
    """Notes which slices it is trained on, by their first pixel."""

    seen: list = []

    def fit(self, X, y=None):
        assert y is None
        type(self).seen.append(np.asarray(X)[:, 0, 0, 0].astype(int).tolist())
        return super().fit(X, y)


@pytest.fixture
def spy():
    Spy.seen = []
    return Spy()


def make_labelled(n_slices=30, seed=0):
    """Slices in random order, a third of them with a lesion that is not easy to see."""
    X, y = make_slices(n_slices, seed=seed)
    X[:, -1][y == 1] -= 2.5
    order = np.random.default_rng(seed).permutation(n_slices)
    return X[order], y[order]


def named(X):
    """The slices, with their number in the first pixel."""
    X = X.copy()
    X[:, 0, 0, 0] = np.arange(1, len(X) + 1)
    return X


def make_volume(seed, n_slices=6, ill=False, size=(14, 11), patient=None, name=None):
    X, y = make_slices(3 * n_slices, 3, *size, seed=seed)
    part = slice(-n_slices, None) if ill else slice(n_slices)  # the last third is ill
    return ArrayVolume(
        X[part], y[part], patient=patient or f"p{seed}", name=name, contrasts=CONTRASTS
    )


def make_volumes(n_volumes=9):
    """Stacks of 2 to 6 slices; every third volume is ill."""
    volumes = [make_volume(i, n_slices=2 + i % 5, ill=i % 3 == 0) for i in range(n_volumes)]
    return [SliceStack.from_volumes([volume]) for volume in volumes]


def masks_of(volumes):
    return [volume.y for volume in volumes]


def pooled_by_hand(detector, X, q=0.01):
    maps, brain = detector.decision_function(X), (np.asarray(X) != 0).any(axis=1)
    return np.array([np.quantile(m[b], q) for m, b in zip(maps, brain)])


# -- slices -------------------------------------------------------------------------------


def test_scores_are_pooled_maps():
    X, y = make_labelled()
    detector = SliceDetector(IntensityDetector(sigma=1), contamination=0.1)
    detector.fit(X, slice_labels(y))
    normal = X[slice_labels(y) == 1]
    apart = IntensityDetector(sigma=1).fit(normal)
    expected = pooled_by_hand(apart, X)
    np.testing.assert_allclose(detector.score_samples(X), expected, rtol=1e-6)
    offset = np.quantile(pooled_by_hand(apart, normal), 0.1)
    assert detector.offset_ == pytest.approx(offset)
    np.testing.assert_allclose(
        detector.decision_function(X), expected - offset, rtol=1e-5, atol=1e-6
    )
    labels = detector.predict(X)
    np.testing.assert_array_equal(labels, np.where(expected < offset, -1, 1))
    assert set(labels) == {-1, 1}
    assert detector.n_features_in_ == 3


def test_higher_is_more_normal():
    X, y = make_labelled()
    labels = slice_labels(y)
    detector = SliceDetector(IntensityDetector(sigma=1)).fit(X, labels)
    scores = detector.score_samples(X)
    assert scores[labels == 1].mean() > scores[labels == -1].mean()
    assert 0.6 < roc_auc_score(labels, detector.decision_function(X)) < 1
    assert detector.score(X, labels) == pytest.approx(roc_auc_score(labels, scores))
    assert detector.score(X, y) == pytest.approx(detector.score(X, labels))


def test_cross_val_score_is_that_by_hand():
    X, y = make_labelled()
    labels, folds = slice_labels(y), StratifiedKFold(3)
    detector = SliceDetector(IntensityDetector(sigma=1), Quantile(0.05))
    expected, precision, anomalies = [], [], []
    for train, test in folds.split(X, labels):
        apart = IntensityDetector(sigma=1).fit(X[train][labels[train] == 1])
        normality = pooled_by_hand(apart, X[test], 0.05)
        expected.append(roc_auc_score(labels[test] == -1, -normality))
        precision.append(average_precision_score(labels[test], normality))
        anomalies.append(average_precision_score(labels[test] == -1, -normality))
    assert 0.5 < np.mean(expected) < 1

    def scores(scoring):
        return cross_val_score(detector, X, labels, scoring=scoring, cv=folds)

    np.testing.assert_allclose(scores("roc_auc"), expected)
    np.testing.assert_allclose(scores(None), expected)
    np.testing.assert_allclose(scores("average_precision"), precision)
    np.testing.assert_allclose(scores(anomaly_average_precision), anomalies)
    assert not np.allclose(precision, anomalies)


def test_grid_search():
    X, y = make_labelled()
    labels, folds = slice_labels(y), StratifiedKFold(3)
    grid = [
        {"pooling": [TopKMean(5), LargestComponent()]},
        {"pooling__q": [0.01, 0.2], "detector__sigma": [0, 1]},
    ]
    detector = SliceDetector(IntensityDetector(), Quantile())
    search = GridSearchCV(detector, grid, scoring="roc_auc", cv=folds).fit(X, labels)
    means = search.cv_results_["mean_test_score"]
    assert np.isfinite(means).all()
    assert len(set(means)) > 2
    for parameters, mean in zip(search.cv_results_["params"], means):
        one = clone(detector).set_params(**parameters)
        again = cross_val_score(one, X, labels, scoring="roc_auc", cv=folds)
        assert again.mean() == pytest.approx(mean)
    chosen = search.cv_results_["params"][np.argmax(means)]
    expected = clone(detector).set_params(**chosen).fit(X, labels).score_samples(X)
    np.testing.assert_array_equal(search.score_samples(X), expected)


def test_stack_with_patients_kept_together():
    stack = SliceStack.from_volumes(
        [make_volume(i, n_slices=8, ill=i % 2 == 0) for i in range(6)]
    )
    labels = slice_labels(stack.y)
    detector = SliceDetector(IntensityDetector(prior={"FLAIR": 1}))
    scores = cross_val_score(
        detector,
        stack,
        labels,
        groups=stack.groups,
        scoring="roc_auc",
        cv=StratifiedGroupKFold(3),
    )
    assert (scores > 0.8).all()
    from_arrays = SliceDetector(IntensityDetector(prior={2: 1})).fit(stack.X, labels)
    np.testing.assert_array_equal(
        detector.fit(stack, labels).score_samples(stack), from_arrays.score_samples(stack.X)
    )
    np.testing.assert_array_equal(
        from_arrays.score_samples(list(stack.X)), from_arrays.score_samples(stack.X)
    )


def test_contrasts_are_compared():
    stack = SliceStack.from_volumes([make_volume(0)])
    swapped = ArrayVolume(stack.X, patient="p", contrasts=("T2", "T1", "FLAIR"))
    detector = SliceDetector(IntensityDetector()).fit(stack)
    with pytest.raises(
        ValueError, match=r"\('T2', 'T1', 'FLAIR'\).*on which .* was fitted"
    ):
        detector.predict(SliceStack.from_volumes([swapped]))


def test_last_step_of_a_pipeline():
    stack = SliceStack.from_volumes([make_volume(i, ill=i == 0) for i in range(4)])
    labels = slice_labels(stack.y)
    detector = SliceDetector(IntensityDetector(sigma=1))
    pipeline = make_pipeline(IntensityNormalizer(), detector).fit(stack, labels)
    normalised = IntensityNormalizer().fit_transform(stack)
    expected = clone(detector).fit(normalised, labels).decision_function(normalised)
    np.testing.assert_array_equal(pipeline.decision_function(stack), expected)
    assert pipeline.score(stack, labels) == pytest.approx(roc_auc_score(labels, expected))
    np.testing.assert_array_equal(
        clone(pipeline).fit_predict(stack, labels), pipeline.predict(stack)
    )


@pytest.mark.parametrize("as_stack", [True, False])
def test_around_a_pipeline(as_stack):
    """The brain is that of the slices that the last step sees, here resized ones."""
    stack = SliceStack.from_volumes([make_volume(i, ill=i == 0) for i in range(4)])
    X, labels = stack if as_stack else stack.X, slice_labels(stack.y)
    steps = make_pipeline(IntensityNormalizer(), SliceResizer(8))
    pipeline = make_pipeline(*clone(steps), IntensityDetector())
    detector = SliceDetector(make_pipeline(pipeline)).fit(X, labels)
    resized = np.asarray(steps.fit_transform(X))
    apart = IntensityDetector().fit(resized[labels == 1])
    np.testing.assert_allclose(
        detector.score_samples(X), pooled_by_hand(apart, resized), rtol=1e-5
    )


def test_a_network():
    X, y = make_slices()
    tiny = ADMDetector(
        width=4,
        n_blocks=1,
        n_components=2,
        max_epochs=1,
        random_state=0,
        precision="float32",
    )
    detector = SliceDetector(tiny, TopKMean(10)).fit(X, slice_labels(y))
    again = SliceDetector(tiny, TopKMean(10)).fit(X, y)
    scores = detector.score_samples(X)
    assert np.isfinite(scores).all()
    assert len(set(scores)) == len(X)
    np.testing.assert_array_equal(again.score_samples(X), scores)
    copy = pickle.loads(pickle.dumps(detector))
    np.testing.assert_allclose(copy.score_samples(X), scores, rtol=1e-5)
    assert b"torch" not in pickle.dumps(detector)


# -- who is trained on --------------------------------------------------------------------


def test_abnormal_slices_never_reach_the_detector(spy):
    X, y = make_labelled()
    X, labels = named(X), slice_labels(y)
    normal = (np.flatnonzero(labels == 1) + 1).tolist()
    SliceDetector(spy).fit(X, labels)
    SliceDetector(spy).fit(X, y)
    SliceDetector(spy).fit_predict(X, labels)
    assert spy.seen == [normal] * 3
    SliceDetector(spy).fit(X)
    assert spy.seen[3] == list(range(1, 31))


def test_folds_train_on_normal_slices_only(spy):
    X, y = make_labelled()
    X, labels = named(X), slice_labels(y)
    folds = StratifiedKFold(3)
    GridSearchCV(SliceDetector(spy), {"detector__sigma": [1]}, cv=folds).fit(X, labels)
    expected = [
        [i + 1 for i in train if labels[i] == 1] for train, _ in folds.split(X, labels)
    ]
    refit = [i + 1 for i in range(30) if labels[i] == 1]
    assert spy.seen == [*expected, refit]


def test_masks_are_as_good_as_labels():
    X, y = make_labelled()
    detector = SliceDetector(IntensityDetector())
    by_labels = clone(detector).fit(X, slice_labels(y))
    for masks in (y, y == 1, y.astype(float)):
        by_masks = clone(detector).fit(X, masks)
        np.testing.assert_array_equal(by_masks.score_samples(X), by_labels.score_samples(X))
        assert by_masks.offset_ == by_labels.offset_


def bad_labels():
    _, y = make_labelled()
    labels = slice_labels(y)
    return {
        "0 and 1": ((labels == -1).astype(int), r"\+1 \(normal\) and -1.*found \[0, 1\]"),
        "0 alone": (np.zeros(30), r"found \[0.0\]"),
        "bool": (labels == -1, r"found \[False, True\].*numpy.where\(y == 1, -1, 1\)"),
        "text": (np.where(labels == 1, "normal", "ill"), "y holds text"),
        "nan": (np.where(labels == 1, 1, np.nan), r"found \[1.0, nan\]"),
        "length": (
            labels[:-1],
            r"y has shape \(29,\); expected \(30,\), one label per",
        ),
        "2-D": (labels[:, None], r"y has shape \(30, 1\)"),
        "size of masks": (y[:, :-1], r"shape \(30, 14, 11\).*got \(30, 13, 11\)"),
        "values of masks": (y + 1, r"found \[2\]"),
        "all ill": (np.full(30, -1), "y labels all 30 slices as anomalies"),
        "all masks ill": (np.ones_like(y), "y labels all 30 slices as anomalies"),
    }


@pytest.mark.parametrize("case", bad_labels())
def test_bad_labels_are_refused(case, spy):
    labels, message = bad_labels()[case]
    with pytest.raises(ValueError, match=message):
        SliceDetector(spy).fit(make_labelled()[0], labels)
    assert not spy.seen


def test_labels_upside_down_are_refused_by_every_score():
    X, y = make_labelled()
    wrong = (slice_labels(y) == -1).astype(int)
    detector = SliceDetector(IntensityDetector())
    with pytest.raises(ValueError, match=r"\+1 \(normal\) and -1 \(anomaly\)"):
        cross_val_score(detector, X, wrong, scoring="roc_auc", cv=StratifiedKFold(3))
    detector.fit(X, slice_labels(y))
    for score in (detector.score, lambda *data: anomaly_average_precision(detector, *data)):
        with pytest.raises(ValueError, match=r"\+1 \(normal\) and -1 \(anomaly\)"):
            score(X, wrong)


# -- threshold and background -------------------------------------------------------------


@pytest.mark.parametrize("contamination", [0.1, 0.5])
def test_contamination(contamination):
    X, y = make_labelled(60)
    detector = SliceDetector(IntensityDetector(), contamination=contamination).fit(X, y)
    normal = X[slice_labels(y) == 1]
    assert (detector.predict(normal) == -1).mean() == pytest.approx(contamination)


def test_slices_without_brain():
    X, y = make_labelled()
    labels = slice_labels(y)
    detector = SliceDetector(IntensityDetector(), contamination=0.5).fit(X, labels)
    highest = detector.score_samples(X[labels == 1]).max()
    mixed = np.concatenate([X[:2], np.zeros_like(X[:1]), X[2:4]])
    scores = detector.score_samples(mixed)
    assert scores[2] == highest == detector.background_score_
    np.testing.assert_array_equal(scores[[0, 1, 3, 4]], detector.score_samples(X[:4]))
    empty = np.zeros_like(X[:3])
    assert (detector.score_samples(empty) == highest).all()
    assert (detector.predict(empty) == 1).all()
    # They are trained on as little as any background.
    more = clone(detector).fit(np.concatenate([X, empty]), np.append(labels, [1, 1, 1]))
    assert more.offset_ == detector.offset_
    detector.offset_ = highest + 1  # as if a threshold were that high
    assert (detector.predict(mixed) == [-1, -1, 1, -1, -1]).all()
    assert detector.decision_function(empty).tolist() == [0, 0, 0]


# -- estimators ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [SliceDetector, VolumeDetector])
def test_parameters(kind):
    inner, pooling = IntensityDetector(sigma=1), Quantile(0.2)
    detector = kind(inner, pooling, contamination=0.1)
    assert detector.detector is inner
    assert detector.pooling is pooling
    names = {"detector", "pooling", "contamination", "pooling__q", "detector__sigma"}
    assert names <= detector.get_params().keys()
    copy = clone(detector)
    assert copy.pooling is not pooling
    assert copy.get_params()["pooling__q"] == 0.2
    assert copy.get_params()["detector__sigma"] == 1
    assert kind(inner).pooling is None
    assert kind(inner).__sklearn_tags__().estimator_type == "outlier_detector"


def test_constructor_arguments_stay():
    X, y = make_labelled()
    inner, pooling = IntensityDetector(), Quantile(0.2)
    detector = SliceDetector(inner, pooling).fit(X, y)
    assert detector.detector is inner
    assert not hasattr(inner, "offset_")
    assert detector.pooling_ is not pooling
    default = SliceDetector(inner).fit(X, y)
    assert default.pooling is None
    assert default.pooling_.get_params() == {"q": 0.01}
    assert default.pooling_ is not SliceDetector(inner).fit(X, y).pooling_


def test_pickle():
    X, y = make_labelled()
    volumes = make_volumes()
    for detector, data in (
        (SliceDetector(IntensityDetector()).fit(X, y), X),
        (VolumeDetector(IntensityDetector()).fit(volumes, masks_of(volumes)), volumes),
    ):
        copy = pickle.loads(pickle.dumps(detector))
        np.testing.assert_array_equal(
            copy.decision_function(data), detector.decision_function(data)
        )


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"contamination": 0.7}, "'contamination' parameter of SliceDetector"),
        ({"pooling": "max"}, "'pooling' parameter of SliceDetector"),
        ({"pooling": Quantile}, "'pooling' parameter of SliceDetector"),
        ({"pooling": Quantile(2)}, "'q' parameter of Quantile"),
        ({"detector": "ADM"}, "'detector' parameter of SliceDetector"),
    ],
)
def test_bad_parameters(spy, parameters, message):
    X, _ = make_labelled()
    with pytest.raises(ValueError, match=message):
        SliceDetector(spy).set_params(**parameters).fit(X)
    assert not spy.seen


def test_parameters_of_the_detector_are_checked():
    with pytest.raises(ValueError, match="'sigma' parameter of IntensityDetector"):
        SliceDetector(IntensityDetector(sigma=-1)).fit(make_labelled()[0])


def test_bad_slices():
    X, y = make_labelled()
    detector = SliceDetector(IntensityDetector())
    with pytest.raises(NotFittedError):
        detector.predict(X)
    with pytest.raises(ValueError, match=r"4 dimensions .*got 3: shape \(3, 14, 11\)"):
        detector.fit(X[0])
    with pytest.raises(ValueError, match="contains NaN"):
        detector.fit(X * np.nan)
    with pytest.raises(ValueError, match="no brain pixel in the 30 slices"):
        detector.fit(np.zeros_like(X))
    detector.fit(X, y)
    with pytest.raises(ValueError, match=r"X has 2 features.*\(n_slices, 3, H, W\)"):
        detector.predict(X[:, :2])
    with pytest.raises(ValueError, match="minimum of 1 is required"):
        detector.predict(X[:0])
    nested = SliceDetector(SliceDetector(IntensityDetector()))
    with pytest.raises(ValueError, match="SliceDetector scores slices;.*scores pixels"):
        nested.fit(X)


def test_callbacks_reach_the_detector():
    class Everywhere(Recorder):
        max_propagation_depth = None

    X, y = make_slices()
    tiny = ADMDetector(width=4, n_blocks=1, n_components=2, max_epochs=1)
    recorder = Everywhere()
    detector = SliceDetector(tiny).set_callbacks(recorder).fit(X, y)
    assert recorder.tasks.count("epoch") == 2
    assert recorder.tasks[0] == "setup"
    assert recorder.tasks[-2:] == ["fit", "teardown"]
    assert not hasattr(detector.detector_, "_skl_callbacks")
    recorder.tasks.clear()
    make_pipeline(IntensityNormalizer(), SliceDetector(tiny)).set_callbacks(recorder).fit(X)
    assert recorder.tasks.count("epoch") == 2


def test_import_is_cheap():
    code = (
        "import sys, skadm.pooling; from skadm import SliceDetector, VolumeDetector; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "name",
    [
        "image_level._labels",
        "image_level._volumes_of",
        "wrappers._slice_scores",
        "wrappers._volume_scores",
    ],
)
def test_examples(name):
    results = doctest.testmod(importlib.import_module(f"skadm.{name}"))
    assert results.attempted > 0
    assert results.failed == 0


# -- labels and volumes -------------------------------------------------------------------


def test_slice_labels():
    _, y = make_labelled()
    expected = [-1 if (mask == 1).sum() else 1 for mask in y]
    assert slice_labels(y).tolist() == expected
    assert slice_labels(y == 1).tolist() == expected
    with pytest.raises(ValueError, match=r"masks have shape \(14, 11\)"):
        slice_labels(y[0])
    with pytest.raises(ValueError, match=r"found \[2\]"):
        slice_labels(y + 1)


def test_volume_labels():
    volumes = make_volumes()
    expected = [-1 if i % 3 == 0 else 1 for i in range(9)]
    assert volume_labels(masks_of(volumes)).tolist() == expected


def test_volumes_of():
    stack = SliceStack.from_volumes(
        [
            make_volume(0, n_slices=3, patient="A", name="A-1"),
            make_volume(1, n_slices=5, patient="B", name="B-1"),
            make_volume(2, n_slices=4, patient="A", name="A-2"),
        ]
    )
    order = np.random.default_rng(1).permutation(12)
    volumes = volumes_of(stack[order])
    first = list(dict.fromkeys(stack.volume_ids[order].tolist()))
    assert [volume.volume_ids[0] for volume in volumes] == first
    assert {volume.volume_ids[0]: volume.groups[0] for volume in volumes} == {
        "A-1": "A",
        "B-1": "B",
        "A-2": "A",
    }
    for volume in volumes:
        expected = stack.X[stack.volume_ids == volume.volume_ids[0]]
        np.testing.assert_array_equal(volume.X, expected)


# -- detection of volumes -----------------------------------------------------------------


def volumes_by_hand(train, test, q=0.05):
    detector = IntensityDetector(sigma=1)
    detector.fit(np.concatenate([volume.X for volume in train]))
    pooled = []
    for volume in test:
        maps, brain = detector.decision_function(volume.X), (volume.X != 0).any(axis=1)
        pooled.append(np.quantile(maps[brain], q))
    return np.array(pooled)


@pytest.mark.parametrize("as_stacks", [True, False])
def test_ragged_volumes_in_cross_validation(as_stacks):
    volumes = make_volumes(15)
    labels, folds = volume_labels(masks_of(volumes)), StratifiedKFold(3)
    X = volumes if as_stacks else [volume.X for volume in volumes]
    assert len({len(volume) for volume in X}) > 2
    detector = VolumeDetector(IntensityDetector(sigma=1), Quantile(0.05))
    expected = []
    for train, test in folds.split(volumes, labels):
        normal = [volumes[i] for i in train if labels[i] == 1]
        normality = volumes_by_hand(normal, _safe_indexing(volumes, test))
        expected.append(roc_auc_score(labels[test] == -1, -normality))
        fitted = clone(detector).fit(_safe_indexing(X, train), labels[train])
        np.testing.assert_allclose(
            fitted.score_samples(_safe_indexing(X, test)), normality, rtol=1e-6
        )
        training = volumes_by_hand(normal, normal)
        assert fitted.offset_ == pytest.approx(np.quantile(training, 0.01))
    scores = cross_val_score(detector, X, labels, scoring="roc_auc", cv=folds)
    np.testing.assert_allclose(scores, expected)
    search = GridSearchCV(
        detector,
        {"pooling": [TopKMean(9), LargestComponent()]},
        scoring="roc_auc",
        cv=folds,
    ).fit(X, labels)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_abnormal_volumes_never_reach_the_detector(spy):
    X = [named(volume.X) + 10 * i for i, volume in enumerate(make_volumes(6))]
    masks = masks_of(make_volumes(6))
    normal = [1, 2, 4, 5]
    expected = [int(n) for i in normal for n in X[i][:, 0, 0, 0]]
    VolumeDetector(spy).fit(X, volume_labels(masks))
    VolumeDetector(spy).fit(X, masks)
    assert spy.seen == [expected] * 2


def test_regions_run_through_the_slices_of_a_volume():
    X = np.ones((3, 1, 5, 5), np.float32)
    ill = X.copy()
    ill[:, 0, 1:3, 1:3] = 9
    detector = VolumeDetector(IntensityDetector(), LargestComponent()).fit([X, X])
    assert detector.score_samples([X, ill]).tolist() == [0, -12]
    slices = SliceDetector(IntensityDetector(), LargestComponent()).fit(X)
    assert slices.score_samples(ill).tolist() == [-4, -4, -4]


def test_statistics_of_whole_volumes_within_the_detector():
    """A Pipeline inside sees stacks of volumes, in the training too."""
    volumes = make_volumes()
    masks = masks_of(volumes)
    inside = VolumeDetector(make_pipeline(IntensityNormalizer(), IntensityDetector()))
    before = [IntensityNormalizer().fit_transform(volume) for volume in volumes]
    outside = VolumeDetector(IntensityDetector()).fit(before, masks)
    inside.fit(volumes, masks)
    np.testing.assert_array_equal(
        inside.score_samples(volumes), outside.score_samples(before)
    )
    assert inside.offset_ == outside.offset_


def test_volumes_of_several_sizes():
    sizes = [(14, 11), (12, 16), (14, 11)]
    volumes = [
        SliceStack.from_volumes([make_volume(i, size=size)]) for i, size in enumerate(sizes)
    ]
    arrays = [volume.X for volume in volumes]
    detector = VolumeDetector(IntensityDetector())
    with pytest.raises(
        ValueError, match=r"volume 1 of the training has .*\(3, 12, 16\).*SliceResizer"
    ):
        detector.fit(arrays)
    with pytest.raises(ValueError, match=r"'p1 .*' are \(12, 16\).*SliceResizer"):
        detector.fit(volumes)
    # Where nothing is put together, sizes may differ.
    assert detector.fit(arrays[:1]).score_samples(arrays).shape == (3,)
    resizing = make_pipeline(SliceResizer(10), IntensityDetector())
    assert VolumeDetector(resizing).fit(volumes).score_samples(volumes).shape == (3,)


def test_entries_that_share_a_volume(spy):
    """Halves of one volume, and one volume twice, as a bootstrap has it."""
    X = named(make_volumes(5)[4].X)
    stack = SliceStack.from_volumes([ArrayVolume(X, patient="p", contrasts=CONTRASTS)])
    VolumeDetector(spy).fit([stack[3:], stack[:3], stack[3:]])
    assert spy.seen == [[4, 5, 6, 1, 2, 3, 4, 5, 6]]
    # Another scan of that name, with a mask: what was read apart has not to agree.
    VolumeDetector(spy).fit([stack, SliceStack.from_volumes([make_volume(1, patient="p")])])
    assert len(spy.seen[1]) == 12
    swapped = ArrayVolume(X, patient="q", contrasts=("T2", "T1", "FLAIR"))
    with pytest.raises(ValueError, match=r"'q \(volume 1 of the training\)' has contrasts"):
        VolumeDetector(spy).fit([stack, SliceStack.from_volumes([swapped])])


def test_volumes_without_brain():
    volumes = [volume.X for volume in make_volumes()]
    labels = volume_labels(masks_of(make_volumes()))
    detector = VolumeDetector(IntensityDetector()).fit(volumes, labels)
    empty = np.zeros_like(volumes[0])
    assert detector.score_samples([empty, volumes[1]])[0] == detector.background_score_
    assert detector.predict([empty]).tolist() == [1]


def test_volumes_in_one_array():
    X = np.stack([make_volume(i).read()[0] for i in range(3)])
    detector = VolumeDetector(IntensityDetector()).fit(X)
    np.testing.assert_array_equal(detector.score_samples(X), detector.score_samples([*X]))


def test_bad_volumes():
    volumes = make_volumes()
    arrays = [volume.X for volume in volumes]
    labels, masks = volume_labels(masks_of(volumes)), masks_of(volumes)
    detector = VolumeDetector(IntensityDetector())
    with pytest.raises(NotFittedError):
        detector.predict(volumes)
    for stack in (volumes[0], arrays[0]):
        with pytest.raises(ValueError, match="one stack of slices.*volumes_of"):
            detector.fit(stack)
    with pytest.raises(ValueError, match="X holds no volume"):
        detector.fit([])
    with pytest.raises(ValueError, match="volume 1: X must have 4 dimensions"):
        detector.fit([arrays[0], arrays[1][0]])
    with pytest.raises(ValueError, match="volume 1: it has no slice"):
        detector.fit([arrays[0], arrays[1][:0]])
    with pytest.raises(ValueError, match=r"y has shape \(8,\); expected \(9,\).*volume"):
        detector.fit(volumes, labels[:-1])
    with pytest.raises(ValueError, match=r"found \[0, 1\]"):
        detector.fit(volumes, (labels == -1).astype(int))
    with pytest.raises(ValueError, match="y labels all 9 volumes as anomalies"):
        detector.fit(volumes, np.full(9, -1))
    with pytest.raises(ValueError, match="y holds 8 masks; expected 9"):
        detector.fit(volumes, masks[:-1])
    with pytest.raises(
        ValueError, match=r"volume 1: y must have shape .*got \(2, 14, 11\)"
    ):
        detector.fit(volumes, [masks[0], masks[1][:-1], *masks[2:]])
    detector.fit(volumes, labels)
    with pytest.raises(ValueError, match="volume 1: X has 2 features"):
        detector.predict([arrays[0], arrays[1][:, :2]])


def test_custom_pooling():
    class Mean(Pooling):
        def _pool(self, decision, brain):
            return decision[brain].mean()

    volumes = make_volumes()
    detector = VolumeDetector(IntensityDetector(), Mean()).fit(
        volumes, volume_labels(masks_of(volumes))
    )
    maps = detector.detector_.decision_function(volumes[2])
    expected = maps[(volumes[2].X != 0).any(axis=1)].mean(dtype=np.float64)
    assert detector.score_samples(volumes)[2] == pytest.approx(expected)


@pytest.mark.parametrize("y", [None, 3])
def test_a_score_needs_labels(y):
    volumes = make_volumes()
    truth = volume_labels(masks_of(volumes))
    detector = VolumeDetector(IntensityDetector()).fit(volumes, truth)
    with pytest.raises(ValueError, match=rf"y is {y}; expected a label .* for each volume"):
        detector.score(volumes, y)
    X, _ = make_slices()
    with pytest.raises(ValueError, match="for each slice"):
        SliceDetector(IntensityDetector()).fit(X).score(X, y)


def test_nan_is_not_taken_for_normal():
    decision = np.full((3, 3), np.nan)
    with pytest.raises(ValueError, match="holds NaN"):
        LargestComponent()(decision, np.ones((3, 3), bool))
