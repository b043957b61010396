"""Ensembles over seeds against NumPy; flips; what both hand on to their detector."""

from contextlib import suppress

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline

from skadm import (
    ConformalDetector,
    DAEDetector,
    EnsembleDetector,
    EraserDetector,
    FlipAveragedDetector,
    IntensityDetector,
    IntensityShiftWarning,
    PCADetector,
    PostprocessedDetector,
    SliceDetector,
    VolumeDetector,
    load,
    save,
)
from skadm.cohort import score_cohort
from skadm.data import ArrayVolume, SliceStack, make_phantom
from skadm.evaluation import evaluate_split
from skadm.image_level import slice_labels, volumes_of
from skadm.metrics import best_f1_threshold
from skadm.model_selection import set_offset_by_f1
from skadm.postprocessing import GaussianSmoother
from skadm.preprocessing import IntensityNormalizer, SliceResizer

STACK = IntensityNormalizer().transform(
    make_phantom(n_patients=3, n_slices=6, size=24, random_state=0)
)
NORMAL = ~(STACK.y == 1).any(axis=(1, 2))


def tiny(**parameters):
    """A network of a second."""
    return DAEDetector(**{"width": 4, "max_epochs": 1, "random_state": 7, **parameters})


@pytest.fixture(scope="module")
def ensemble():
    return EnsembleDetector(tiny(), n_detectors=3, random_state=1).fit(STACK, STACK.y)


def standardized(ensemble, X):
    """Independent: whole arrays, float64."""
    X = np.asarray(X)
    normal = np.asarray(STACK)[NORMAL]
    brain = (normal != 0).any(axis=1)
    found = []
    for each in ensemble.detectors_:
        scores = each.score_samples(normal).astype(np.float64)[brain]
        found.append(
            (each.score_samples(X).astype(np.float64) - scores.mean()) / scores.std()
        )
    return np.stack(found)


def test_score_is_the_mean_and_uncertainty_the_spread_of_standardized_scores(ensemble):
    brain = (np.asarray(STACK) != 0).any(axis=1)
    members = standardized(ensemble, STACK)
    maps = ensemble.score_samples(STACK)
    np.testing.assert_allclose(maps[brain], members.mean(axis=0)[brain], atol=1e-3)
    spread = ensemble.uncertainty(STACK)
    assert spread.dtype == maps.dtype
    expected = members.std(axis=0, ddof=1)
    np.testing.assert_allclose(spread[brain], expected[brain], atol=1e-3)
    assert not spread[~brain].any()
    own = maps[NORMAL][brain[NORMAL]]
    assert abs(own.mean()) < 1e-3  # in the unit of the docstring
    assert ensemble.offset_ == pytest.approx(np.quantile(own, 0.01), abs=1e-5)
    assert (maps[~brain] == np.float32(ensemble.background_score_)).all()
    assert ensemble.background_score_ == own.max()


def test_members_differ_by_their_seed_alone_and_come_back_with_it(ensemble):
    seeds = [each.random_state for each in ensemble.detectors_]
    assert len(set(seeds)) == 3
    again = EnsembleDetector(tiny(), n_detectors=3, random_state=1).fit(STACK, STACK.y)
    assert [each.random_state for each in again.detectors_] == seeds
    np.testing.assert_array_equal(again.score_samples(STACK), ensemble.score_samples(STACK))
    alone = tiny(random_state=seeds[1]).fit(STACK, STACK.y)
    np.testing.assert_array_equal(
        alone.score_samples(STACK), ensemble.detectors_[1].score_samples(STACK)
    )
    assert (ensemble.uncertainty(STACK) > 0).any()


def test_a_seed_inside_another_detector_is_found():
    inner = PostprocessedDetector(tiny(), GaussianSmoother(0.0, sigma_through=1.0))
    found = EnsembleDetector(inner, n_detectors=2, random_state=0).fit(STACK, STACK.y)
    first, second = (each.detector_.random_state for each in found.detectors_)
    assert first != second
    # Through slices: a patient is scored as if it were alone.
    one = STACK[STACK.groups == "phantom-001"]
    places = np.flatnonzero(STACK.groups == "phantom-001")
    np.testing.assert_allclose(
        found.uncertainty(STACK)[places], found.uncertainty(one), atol=1e-6
    )


@pytest.mark.parametrize(
    "detector", [IntensityDetector(), FrozenEstimator(IntensityDetector())]
)
def test_a_detector_without_a_seed_is_refused_before_anything_is_trained(detector):
    with pytest.raises(ValueError, match="has no random_state"):
        EnsembleDetector(detector).fit(STACK, STACK.y)


@pytest.mark.parametrize("n_detectors", [1, 0, 2.5])
def test_one_detector_is_no_ensemble(n_detectors):
    with pytest.raises(ValueError, match="n_detectors"):
        EnsembleDetector(tiny(), n_detectors=n_detectors).fit(STACK, STACK.y)


def test_a_failed_fit_leaves_the_ensemble_as_it_was(ensemble):
    before = ensemble.score_samples(STACK)
    with pytest.raises(ValueError, match="no normal slice"):
        ensemble.fit(STACK, np.ones_like(STACK.y))
    np.testing.assert_array_equal(ensemble.score_samples(STACK), before)


def test_files_pipelines_searches_and_thresholds(ensemble, tmp_path):
    save(ensemble, tmp_path / "model.skadm")
    loaded = load(tmp_path / "model.skadm")
    np.testing.assert_array_equal(loaded.uncertainty(STACK), ensemble.uncertainty(STACK))
    assert loaded.contrasts_ == STACK.contrasts
    assert loaded.n_features_in_ == 4
    search = GridSearchCV(
        EnsembleDetector(PCADetector(random_state=0, max_samples=500), n_detectors=2),
        {"detector__n_components": [1, 2]},
        cv=GroupKFold(3),
    ).fit(STACK, STACK.y, groups=STACK.groups)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    offset = clone(ensemble).fit(STACK, STACK.y)
    set_offset_by_f1(offset, STACK[~NORMAL], STACK.y[~NORMAL])
    assert offset.offset_ != ensemble.offset_
    assert set(np.unique(offset.predict(STACK))) == {-1, 1}


def test_a_cohort_gets_maps_of_the_uncertainty(ensemble, tmp_path):
    found = score_cohort(ensemble, STACK, tmp_path, kinds=["anomaly", "uncertainty"])
    assert not found.failures
    assert {path.name.split("_")[-1] for path in found.files} == {
        "anomaly.nii.gz",
        "uncertainty.nii.gz",
    }
    assert all(path.exists() for path in found.files)
    single = ensemble.detectors_[0]
    with pytest.raises(ValueError, match="DAEDetector, which has no uncertainty"):
        score_cohort(single, STACK, tmp_path, kinds=["uncertainty"], existing="replace")


def test_the_map_of_a_mirrored_slice_is_the_mirrored_map():
    detector = FlipAveragedDetector(tiny(precision="float32")).fit(STACK, STACK.y)
    X = np.asarray(STACK)
    maps, mirrored = detector.score_samples(X), detector.score_samples(X[..., ::-1])
    np.testing.assert_allclose(mirrored[..., ::-1], maps, atol=1e-5)
    alone = detector.detector_
    both = (
        alone.score_samples(X) + alone.score_samples(X[..., ::-1].copy())[..., ::-1]
    ) / 2
    brain = (X != 0).any(axis=1)
    np.testing.assert_allclose(maps[brain], both[brain], rtol=1e-6)
    # A network is not symmetric of its own accord, or this test could not fail.
    single = alone.score_samples(X[..., ::-1].copy())[..., ::-1]
    assert np.abs(single - alone.score_samples(X))[brain].max() > 1e-3
    # A stack is scored as an array is, and its names are looked at.
    np.testing.assert_allclose(detector.score_samples(STACK), maps, atol=1e-6)
    swapped = make_phantom(n_patients=1, n_slices=4, size=24, contrasts=("T2", "T1"))
    with pytest.raises(ValueError, match="features"):
        detector.score_samples(swapped)


def eraser():
    """A detector that looks at abnormal slices."""
    return EraserDetector(prior="learned", width=4, max_epochs=1, random_state=0)


def axis_of(detector):
    while not isinstance(detector, EraserDetector):
        detector = getattr(detector, "detector_", None) or detector[-1]
    return detector.axis_


def test_abnormal_slices_reach_a_detector_that_looks_at_them():
    alone = eraser().fit(STACK, STACK.y).axis_
    for outer in (
        FlipAveragedDetector(eraser()),
        FlipAveragedDetector(PostprocessedDetector(eraser(), GaussianSmoother(1.0))),
        SliceDetector(eraser()),
        SliceDetector(make_pipeline(eraser())),
    ):
        np.testing.assert_allclose(axis_of(outer.fit(STACK, STACK.y)), alone, atol=1e-6)
    # Labels of slices say as much as masks.
    labelled = SliceDetector(eraser()).fit(STACK, slice_labels(STACK.y))
    np.testing.assert_allclose(axis_of(labelled), alone, atol=1e-6)


def test_abnormal_slices_of_the_patients_that_train_reach_a_conformal_detector():
    outer = ConformalDetector(eraser(), contamination=0.5, random_state=0)
    outer.fit(STACK, STACK.y)
    training = ~np.isin(STACK.groups, outer.calibration_groups_)
    alone = eraser().fit(STACK[training], STACK.y[training])
    np.testing.assert_allclose(axis_of(outer), alone.axis_, atol=1e-6)


def test_all_slices_of_an_abnormal_volume_are_looked_at():
    volumes = volumes_of(STACK)
    outer = VolumeDetector(eraser()).fit(volumes, [1, -1, 1])
    marks = np.zeros(STACK.y.shape, np.int8)
    marks[STACK.groups == volumes[1].groups[0]] = 1
    alone = eraser().fit(STACK, marks)
    np.testing.assert_allclose(axis_of(outer), alone.axis_, atol=1e-6)


def through(detector, sigma=2.0):
    return PostprocessedDetector(detector, GaussianSmoother(0.0, sigma_through=sigma))


def test_thresholds_are_of_the_maps_that_whole_volumes_get():
    detector = through(IntensityDetector()).fit(STACK, STACK.y)
    maps, brain = detector.score_samples(STACK), (np.asarray(STACK) != 0).any(axis=1)
    own = maps[NORMAL][brain[NORMAL]]
    assert detector.offset_ == pytest.approx(np.quantile(own, 0.01))
    assert detector.background_score_ == own.max()
    set_offset_by_f1(detector, STACK, STACK.y, abnormal_only=True)
    truth = np.where(brain, STACK.y, -1)
    truth[NORMAL] = -1
    assert detector.offset_ == best_f1_threshold(truth, maps)
    # On abnormal slices alone it would be another.
    alone = clone(detector).fit(STACK, STACK.y)
    set_offset_by_f1(alone, STACK[~NORMAL], STACK.y[~NORMAL])
    assert alone.offset_ != detector.offset_
    # Where nothing looks through slices, it is the same.
    plain = IntensityDetector().fit(STACK, STACK.y)
    expected = set_offset_by_f1(
        clone(plain).fit(STACK, STACK.y), STACK[~NORMAL], STACK.y[~NORMAL]
    )
    assert (
        set_offset_by_f1(plain, STACK, STACK.y, abnormal_only=True).offset_
        == expected.offset_
    )


def test_protocol_sets_thresholds_on_the_maps_that_whole_volumes_get():
    train = STACK.groups != "phantom-002"
    found = evaluate_split(
        {"through": through(IntensityDetector())}, STACK, train=train, test=~train
    )
    detector = found.detectors["through"]
    maps = detector.score_samples(STACK)
    np.testing.assert_array_equal(found.maps["through"], maps[~train])
    np.testing.assert_array_equal(found.validation_maps["through"], maps[train & ~NORMAL])


def test_volumes_of_a_patient_are_not_smoothed_into_each_other():
    X = np.asarray(STACK)[:6]
    first, second = (
        ArrayVolume(X * factor, patient="p", name=name, contrasts=STACK.contrasts)
        for factor, name in ((1, "first"), (3, "second"))
    )
    both = SliceStack.from_volumes([first, second])
    detector = through(IntensityDetector()).fit(both)
    alone = detector.score_samples(SliceStack.from_volumes([second]))
    np.testing.assert_array_equal(detector.score_samples(both)[6:], alone)
    # Nor does the order of the slices matter.
    order = np.random.default_rng(0).permutation(12)
    shuffled = detector.score_samples(both[order])
    np.testing.assert_array_equal(shuffled, detector.score_samples(both)[order])
    pooled = SliceDetector(through(IntensityDetector())).fit(both)
    assert pooled.score_samples(both)[6:] == pytest.approx(
        pooled.score_samples(SliceStack.from_volumes([second]))
    )


@pytest.mark.parametrize(
    "wrapped", [through(tiny()), EnsembleDetector(through(tiny()), n_detectors=2)]
)
def test_an_array_is_refused_before_training_where_slices_are_looked_through(wrapped):
    with pytest.raises(ValueError, match="uses neighbouring slices.*Pass a SliceStack"):
        clone(wrapped).fit(np.asarray(STACK))


def test_scores_of_huge_intensities_stay_finite(ensemble):
    flipped = FlipAveragedDetector(tiny()).fit(STACK, STACK.y)
    huge = np.clip(np.asarray(STACK) * np.float32(1e38), -3e38, 3e38)
    for scored in (ensemble.score_samples, ensemble.uncertainty, flipped.score_samples):
        with pytest.warns(IntensityShiftWarning):
            maps = scored(huge)
        assert np.isfinite(maps).all()


def test_an_ensemble_without_randomness_warns():
    with pytest.warns(UserWarning, match="the seed has almost no effect on a PCADetector"):
        EnsembleDetector(PCADetector(), n_detectors=2, random_state=0).fit(STACK, STACK.y)


def test_no_slice_is_told():
    with pytest.raises(ValueError, match="sample|slice"):
        EnsembleDetector(tiny(), n_detectors=2).fit(STACK[:0])


def test_a_mapped_array_is_scored_chunk_by_chunk(ensemble, tmp_path, monkeypatch):
    X = np.asarray(STACK)
    mapped = np.memmap(tmp_path / "slices", X.dtype, "w+", shape=X.shape)
    mapped[:] = X
    whole = ensemble.score_samples(X)
    monkeypatch.setattr("skadm._disk.CHUNK_BYTES", 5 * X[:1].nbytes)
    out = np.memmap(tmp_path / "maps", np.float32, "w+", shape=whole.shape)
    sizes = []
    scored = DAEDetector.score_samples
    monkeypatch.setattr(
        DAEDetector,
        "score_samples",
        lambda self, X: sizes.append(len(X)) or scored(self, X),
    )
    np.testing.assert_allclose(ensemble.score_samples(mapped, out=out), whole, atol=1e-5)
    assert max(sizes) == 5


def test_a_pipeline_that_resizes_gets_the_abnormal_slices():
    resized = make_pipeline(SliceResizer(16), eraser())
    outer = SliceDetector(resized).fit(STACK, slice_labels(STACK.y))
    small = SliceResizer(16).fit_transform(STACK)
    marks = np.zeros((len(STACK), 16, 16), np.int8)
    marks[~NORMAL] = 1
    np.testing.assert_allclose(axis_of(outer), eraser().fit(small, marks).axis_, atol=1e-6)


def test_a_conformal_draw_without_an_abnormal_patient_is_told():
    normal = STACK.groups == "phantom-000"
    labels = np.where(normal[:, None, None], 0, STACK.y)
    labels[STACK.groups == "phantom-001"] = np.minimum(
        0, labels[STACK.groups == "phantom-001"]
    )
    fitted = []
    for seed in range(6):
        outer = ConformalDetector(eraser(), contamination=0.5, random_state=seed)
        with suppress(ValueError):
            fitted.append(outer.fit(STACK, labels))
    assert 0 < len(fitted) < 6
    assert all("phantom-002" not in each.calibration_groups_ for each in fitted)
    failing = next(
        seed for seed in range(6) if seed not in {f.random_state for f in fitted}
    )
    outer = ConformalDetector(eraser(), contamination=0.5, random_state=failing)
    with pytest.raises(ValueError, match=r"the training patients \(phantom-00\d"):
        outer.fit(STACK, labels)


def test_a_threshold_without_an_anomaly_is_refused():
    detector = IntensityDetector().fit(STACK, STACK.y)
    with pytest.raises(ValueError, match="none of the 18 slices has an anomaly"):
        set_offset_by_f1(detector, STACK, np.zeros_like(STACK.y), abnormal_only=True)
