"""Conformal thresholds against the definition, and their guarantee by simulation."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control
from skimage.measure import label
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline

from skadm import (
    ConformalDetector,
    IntensityDetector,
    PCADetector,
    PostprocessedDetector,
    SliceDetector,
    load,
    save,
)
from skadm.cohort import score_cohort
from skadm.conformal import Calibration, CandidateLesions
from skadm.data import make_phantom
from skadm.image_level import slice_labels
from skadm.postprocessing import GaussianSmoother
from skadm.preprocessing import IntensityNormalizer


def draw(rng, n_patients=5, most=12, decimals=1):
    """Scores of patients with different numbers of items, with ties."""
    sizes = rng.integers(1, most, size=n_patients)
    groups = np.repeat(np.arange(n_patients), sizes)
    return np.round(rng.normal(size=len(groups)), decimals), groups


def brute_p(score, scores, groups):
    shares = [(scores[groups == name] <= score).mean() for name in np.unique(groups)]
    return (1 + sum(shares)) / (len(shares) + 1)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.17, 0.25, 0.5, 0.9]))
def test_p_values_and_threshold_are_those_of_the_definition(seed, alpha):
    rng = np.random.default_rng(seed)
    scores, groups = draw(rng)
    calibration = Calibration(scores, groups)
    new = np.round(rng.normal(scale=1.5, size=40), 1)
    found = calibration.p_values(new)
    np.testing.assert_allclose(found, [brute_p(s, scores, groups) for s in new])
    threshold = calibration.threshold(alpha)
    every = np.concatenate([new, scores])
    p = np.array([brute_p(s, scores, groups) for s in every])
    below = every < threshold
    assert (p[below] <= alpha + 1e-9).all()
    # A score that is not flagged would have broken the rate, or is above all flagged.
    assert not below.all()
    assert ((p > alpha) | below | (every >= threshold))[~below].all()
    assert p[every >= threshold].min() > alpha - 1e-9


def test_each_item_is_a_unit_without_groups():
    scores = np.array([3.0, 1.0, 2.0, 4.0])
    calibration = Calibration(scores)
    np.testing.assert_allclose(calibration.p_values([0, 1, 2.5, 9]), [0.2, 0.4, 0.6, 1.0])
    assert calibration.threshold(0.2) == 1.0
    assert calibration.threshold(0.4) == 2.0


@pytest.mark.parametrize("n_items", [21, 39, 58])
def test_no_p_value_is_above_one(n_items):
    """Shares of a 21st, summed up, are more than 1."""
    calibration = Calibration(np.arange(n_items), np.zeros(n_items))
    assert calibration.p_values([n_items]).tolist() == [1.0]


def test_a_rate_that_cannot_be_held_is_refused():
    calibration = Calibration([0.0, 1.0, 2.0], ["a", "a", "b"])
    with pytest.raises(ValueError, match=r"rate of 0\.05 .* 2 units .* expected 19 units"):
        calibration.threshold(0.05)
    assert calibration.threshold(1 / 3) == 0.0
    with pytest.raises(ValueError, match="finite"):
        Calibration([np.nan])
    with pytest.raises(ValueError, match="groups have shape"):
        Calibration([1.0], ["a", "b"])
    with pytest.raises(ValueError, match="below 1"):
        calibration.threshold(1.0)


def realised(rng, calibrate, n_trials=400, n_patients=9, n_items=50):
    """Mean rate of a new patient over many calibrations, and its standard error."""
    rates = []
    for _ in range(n_trials):
        shift = rng.normal(scale=1.0, size=n_patients + 1)[:, None]  # patients differ
        scores = shift + rng.normal(size=(n_patients + 1, n_items))
        rates.append((scores[-1] < calibrate(scores[:-1])).mean())
    return np.mean(rates), np.std(rates) / np.sqrt(n_trials)


@pytest.mark.parametrize("alpha", [0.1, 0.3])
def test_the_rate_is_held_on_new_patients(alpha):
    def threshold(scores):
        groups = np.repeat(np.arange(len(scores)), scores.shape[1])
        return Calibration(scores.ravel(), groups).threshold(alpha)

    mean, error = realised(np.random.default_rng(0), threshold)
    assert alpha - 1 / 10 - 3 * error <= mean <= alpha + 3 * error


@pytest.mark.slow
def test_pooled_items_do_not_hold_it():
    """What the hierarchy is for: few patients, many items each."""
    mean, error = realised(
        np.random.default_rng(0), lambda scores: np.quantile(scores, 0.1), 2000, 4
    )
    assert mean > 0.1 + 3 * error


# -- the detector -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stack():
    made = make_phantom(n_patients=8, n_slices=6, size=32, random_state=0)
    return IntensityNormalizer().fit_transform(made)


@pytest.mark.slow
def test_detector_of_pixels(stack):
    detector = ConformalDetector(
        PCADetector(random_state=0), contamination=0.25, random_state=0
    ).fit(stack, stack.y)
    assert len(detector.calibration_groups_) == 4
    normal = ~(stack.y == 1).any(axis=(1, 2))
    calibrating = np.isin(stack.groups, detector.calibration_groups_)
    inner = PCADetector(random_state=0).fit(stack[normal & ~calibrating])
    np.testing.assert_array_equal(detector.score_samples(stack), inner.score_samples(stack))
    brain = stack.y >= 0
    scores = inner.score_samples(stack)
    used = [
        scores[own][brain[own]]
        for own in (
            normal & (stack.groups == name) for name in detector.calibration_groups_
        )
    ]
    held = (sum((own < detector.offset_).mean() for own in used) + 1) / 5
    assert 0.24 < held <= 0.25
    flagged = detector.predict(stack) == -1
    np.testing.assert_array_equal(flagged, (scores < detector.offset_) & brain)
    p = detector.p_values(stack)
    assert (p[~brain] == 1).all()
    np.testing.assert_array_equal(flagged, (p <= 0.25 + 1e-12) & brain)
    assert detector.n_features_in_ == len(stack.contrasts)
    copy = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(copy.p_values(stack), p)
    assert clone(detector).get_params()["contamination"] == 0.25


@pytest.mark.slow
def test_detector_of_slices(stack):
    detector = ConformalDetector(
        SliceDetector(IntensityDetector()), contamination=0.3, random_state=0
    ).fit(stack, stack.y)
    assert detector.p_values(stack).shape == detector.predict(stack).shape == (len(stack),)
    normal = ~(stack.y == 1).any(axis=(1, 2))
    flagged = detector.predict(stack) == -1
    shares = [
        flagged[normal & (stack.groups == name)].mean()
        for name in detector.calibration_groups_
    ]
    assert (sum(shares) + 1) / (len(shares) + 1) <= 0.3 + 1e-12
    with pytest.raises(ValueError, match="detector of pixels"):
        detector.candidate_lesions(stack.X)


def test_a_trained_detector_is_calibrated_with_all_patients(stack):
    trained = IntensityDetector().fit(stack[:12], stack.y[:12])
    detector = ConformalDetector(FrozenEstimator(trained), contamination=0.2)
    detector.fit(stack[12:], stack.y[12:])
    assert len(detector.calibration_groups_) == 6
    without = clone(detector).fit(stack.X[12:], stack.y[12:])
    normal = ~(stack.y[12:] == 1).any(axis=(1, 2))
    assert without.calibration_.n_groups == normal.sum()


def test_too_few_patients_raise_before_training(stack):
    class Untrainable(IntensityDetector):
        def fit(self, X, y=None):
            raise AssertionError("trained")

    detector = ConformalDetector(Untrainable(), contamination=0.05)
    with pytest.raises(ValueError, match="4 units to calibrate on"):
        detector.fit(stack, stack.y)
    with pytest.raises(ValueError, match="1 patient has normal slices"):
        detector.fit(stack[:6], stack.y[:6])
    with pytest.raises(ValueError, match="groups have shape"):
        detector.fit(stack.X, groups=["a"])
    with pytest.raises(ValueError, match="'contamination' parameter"):
        ConformalDetector(IntensityDetector(), contamination=0).fit(stack)


# -- candidates ---------------------------------------------------------------------------


def test_candidates_are_components_with_their_strength():
    rng = np.random.default_rng(0)
    normal = rng.normal(2, 1, size=(40, 12, 12))
    found = CandidateLesions(normal)

    def strengths(maps):
        regions = label(maps < 0, connectivity=2)
        return [-maps[regions == i].sum() for i in range(1, regions.max() + 1)]

    new = rng.normal(3, 1, size=(3, 12, 12))
    new[1, 3:7, 3:7] = -4.0
    candidates = found.find(new, fdr=0.3)
    expected = sorted((s for own in new for s in strengths(own)), reverse=True)
    np.testing.assert_allclose([each.strength for each in candidates], expected)
    strongest = np.array([max(strengths(own), default=0) for own in normal])
    p = [(1 + (strongest >= s).sum()) / 41 for s in expected]
    np.testing.assert_allclose([each.p_value for each in candidates], p)
    rejected = false_discovery_control(p) <= 0.3
    assert [each.rejected for each in candidates] == rejected.tolist()
    first = candidates[0]
    assert first.slice == 1
    assert first.mask[3:7, 3:7].all()
    assert first.rejected


def test_candidates_of_regions_are_their_parts_in_slices():
    normal = np.ones((3, 8, 8))
    normal[0, 0, 0], normal[1, 0, 0] = -3, -1
    found = CandidateLesions(normal)
    decision = np.ones((2, 8, 8))
    decision[0, 2, 1:7] = -1.0  # one component of two regions
    decision[1, 2, 1:3] = -2.0
    regions = np.zeros(decision.shape, int)
    regions[0, 2, 1:5], regions[0, 2, 5:7], regions[1, 2, 1:3] = 3, 7, 3
    candidates = found.find(decision, regions=regions)
    parts = [(c.slice, int(regions[c.slice][c.mask][0]), c.strength) for c in candidates]
    assert sorted(parts) == [(0, 3, 4.0), (0, 7, 2.0), (1, 3, 4.0)]
    # Of three slices, none has a candidate of 4, and one has one of 2.
    assert sorted(c.p_value for c in candidates) == pytest.approx([1 / 4, 1 / 4, 2 / 4])
    (whole, other) = found.find(decision)
    assert (whole.strength, other.strength) == (6.0, 4.0)


def test_regions_must_be_of_the_decision_function():
    found = CandidateLesions(np.ones((2, 4, 4)))
    decision = np.full((1, 4, 4), -1.0)
    decision[0, 0, 0] = 1
    with pytest.raises(ValueError, match=r"regions have shape \(2, 4, 4\); expected"):
        found.find(decision, regions=np.ones((2, 4, 4), int))
    with pytest.raises(ValueError, match="regions hold 1 pixels that are not flagged"):
        found.find(decision, regions=np.ones((1, 4, 4), int))


def test_no_candidates_where_nothing_is_flagged():
    assert CandidateLesions(np.ones((4, 5, 5))).find(np.ones((2, 5, 5))) == []


def test_candidates_of_a_detector(stack):
    trained = IntensityDetector(contamination=0.05).fit(stack[:12], stack.y[:12])
    detector = ConformalDetector(FrozenEstimator(trained), contamination=0.25)
    calibrating, others = stack[12:30], stack[30:]
    detector.fit(calibrating, calibrating.y)
    candidates = detector.candidate_lesions(others, others.y)
    assert candidates.n_groups == 3
    found = candidates.find(detector.decision_function(stack), fdr=0.5)
    union = np.zeros(stack.y.shape, bool)
    for each in found:
        union[each.slice] |= each.mask
    np.testing.assert_array_equal(union, detector.predict(stack) == -1)


def test_candidates_need_patients_without_a_part_in_the_detector(stack):
    detector = ConformalDetector(PCADetector(), contamination=0.4, random_state=0)
    detector.fit(stack[:24], stack.y[:24])
    names = [*detector.training_groups_, *detector.calibration_groups_]
    assert sorted(names) == sorted(set(stack.groups[:24]))
    for name in names:
        own = stack.groups == name
        with pytest.raises(
            ValueError, match=f"{name} were used to train or calibrate the detector"
        ):
            detector.candidate_lesions(stack[own], stack.y[own])
        with pytest.raises(
            ValueError, match=f"{name} were used to train or calibrate the detector"
        ):
            detector.candidate_lesions(stack.X[own], groups=stack.groups[own])
    assert detector.candidate_lesions(stack[24:], stack.y[24:]).n_groups == 4


# -- detectors that look through slices ---------------------------------------------------


def through():
    smoother = GaussianSmoother(0.0, sigma_through=2.0)
    return PostprocessedDetector(IntensityDetector(), smoother)


@pytest.mark.slow
def test_normal_slices_calibrate_as_they_are_scored_later(stack):
    """The lesion slices beside them are there: without them the threshold is another."""
    trained = through().fit(stack[:12], stack.y[:12])
    X, y, groups = stack[12:], stack.y[12:], stack.groups[12:]
    detector = ConformalDetector(FrozenEstimator(trained), contamination=0.25).fit(X, y)
    brain, normal = y >= 0, ~(y == 1).any(axis=(1, 2))
    assert not normal.all()

    def threshold(maps, rows):
        rows = np.flatnonzero(rows)
        owners = np.broadcast_to(groups[rows][:, None, None], maps.shape)
        shown = brain[rows]
        return Calibration(maps[shown], owners[shown]).threshold(0.25)

    whole = trained.score_samples(X)[normal]
    assert detector.offset_ == threshold(whole, normal)
    assert detector.offset_ != threshold(trained.score_samples(X[normal]), normal)
    # So are candidates.
    half = ConformalDetector(FrozenEstimator(trained), contamination=0.4)
    half.fit(stack[12:30], stack.y[12:30])
    X, y = stack[30:], stack.y[30:]
    ill = (y == 1).any(axis=(1, 2))
    expected = CandidateLesions(half.decision_function(X)[~ill], X.groups[~ill])
    found = half.candidate_lesions(X, y)
    maps = half.decision_function(X)
    np.testing.assert_array_equal(
        [each.p_value for each in found.find(maps)],
        [each.p_value for each in expected.find(maps)],
    )


# -- searches -----------------------------------------------------------------------------


def search():
    return GridSearchCV(
        PCADetector(random_state=0), {"n_components": [1, 2]}, cv=GroupKFold(2)
    )


@pytest.mark.slow
def test_patients_that_calibrate_have_no_part_in_a_search(stack, monkeypatch):
    detector = ConformalDetector(search(), contamination=0.25, random_state=0)
    seen = set()
    for name in ("fit", "score"):
        original = getattr(PCADetector, name)

        def noted(self, X, y=None, original=original):
            seen.update(X.groups.tolist())
            return original(self, X, y)

        monkeypatch.setattr(PCADetector, name, noted)
    detector.fit(stack, stack.y)
    calibrates = np.isin(stack.groups, detector.calibration_groups_)
    assert len(detector.calibration_groups_) == 4
    assert seen == set(stack.groups[~calibrates]) == set(detector.training_groups_)
    by_hand = search().fit(
        stack[~calibrates], stack.y[~calibrates], groups=stack.groups[~calibrates]
    )
    frozen = FrozenEstimator(by_hand.best_estimator_)
    expected = ConformalDetector(frozen, contamination=0.25)
    expected.fit(stack[calibrates], stack.y[calibrates])
    assert detector.offset_ == expected.offset_
    np.testing.assert_array_equal(detector.predict(stack), expected.predict(stack))
    assert detector.detector_.get_params() == by_hand.best_estimator_.get_params()
    assert detector.contrasts_ == stack.contrasts


@pytest.mark.slow
def test_a_tuned_detector_is_saved_without_its_search(stack, tmp_path):
    detector = ConformalDetector(search(), contamination=0.25, random_state=0)
    detector.fit(stack, stack.y)
    with pytest.raises(TypeError, match="GridSearchCV"):
        save(detector, tmp_path / "model")
    detector.set_params(detector=FrozenEstimator(detector.detector_))
    save(detector, tmp_path / "model")
    loaded = load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.p_values(stack), detector.p_values(stack))


# -- what else takes detectors ------------------------------------------------------------


def test_a_cohort_is_scored(stack, tmp_path):
    detector = ConformalDetector(PCADetector(), contamination=0.25, random_state=0)
    model = make_pipeline(IntensityNormalizer(), detector).fit(stack, stack.y)
    some = stack[stack.groups == "phantom-000"]
    found = score_cohort(model, some, tmp_path, kinds=["anomaly", "segmentation"])
    assert not found.failures
    assert len(found.files) == 2
    of_slices = ConformalDetector(
        SliceDetector(PCADetector()), contamination=0.25, random_state=0
    ).fit(stack, stack.y)
    with pytest.raises(ValueError, match="expected a pixel detector"):
        score_cohort(of_slices, some, tmp_path)


@pytest.mark.slow
def test_labels_of_slices_are_as_good_as_masks(stack):
    detector = ConformalDetector(
        SliceDetector(PCADetector(random_state=0)), contamination=0.25, random_state=0
    )
    labels = slice_labels(stack.y)
    by_labels, by_masks = clone(detector).fit(stack, labels), detector.fit(stack, stack.y)
    assert by_labels.offset_ == by_masks.offset_
    auc = roc_auc_score(labels, by_masks.decision_function(stack))
    assert by_masks.score(stack, labels) == pytest.approx(auc)
    assert by_masks.score(stack, stack.y) == pytest.approx(auc)
