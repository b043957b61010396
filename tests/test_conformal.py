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

from skadm import ConformalDetector, IntensityDetector, PCADetector, SliceDetector
from skadm.conformal import Calibration, CandidateLesions
from skadm.data import make_phantom
from skadm.preprocessing import IntensityNormalizer


def draw(rng, n_patients=5, most=12, decimals=1):
    """Scores of patients with different numbers of items, with ties."""
    sizes = rng.integers(1, most, size=n_patients)
    groups = np.repeat(np.arange(n_patients), sizes)
    return np.round(rng.normal(size=len(groups)), decimals), groups


def brute_p(score, scores, groups):
    shares = [(scores[groups == name] <= score).mean() for name in np.unique(groups)]
    return (1 + sum(shares)) / (len(shares) + 1)


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
        detector.candidate_lesions(stack)


def test_a_trained_detector_is_calibrated_with_all_patients(stack):
    trained = IntensityDetector().fit(stack[:12], stack.y[:12])
    detector = ConformalDetector(FrozenEstimator(trained), contamination=0.2)
    detector.fit(stack[12:], stack.y[12:])
    assert len(detector.calibration_groups_) == 6
    without = clone(detector).fit(stack.X[12:], stack.y[12:])
    normal = ~(stack.y[12:] == 1).any(axis=(1, 2))
    assert without.calibration_.n_groups == normal.sum()


def test_too_few_patients_are_told_before_any_training(stack):
    class Untrainable(IntensityDetector):
        def fit(self, X, y=None):
            raise AssertionError("trained")

    detector = ConformalDetector(Untrainable(), contamination=0.05)
    with pytest.raises(ValueError, match="4 units to calibrate on"):
        detector.fit(stack, stack.y)
    with pytest.raises(ValueError, match="1 patient with normal slices"):
        detector.fit(stack[:6])
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


def test_no_candidates_where_nothing_is_flagged():
    assert CandidateLesions(np.ones((4, 5, 5))).find(np.ones((2, 5, 5))) == []


def test_candidates_of_a_detector(stack):
    trained = IntensityDetector(contamination=0.05).fit(stack[:12], stack.y[:12])
    detector = ConformalDetector(FrozenEstimator(trained), contamination=0.2)
    detector.fit(stack[12:], stack.y[12:])
    normal = np.flatnonzero(~(stack.y == 1).any(axis=(1, 2)))
    candidates = detector.candidate_lesions(stack[normal[normal >= 12]])
    found = candidates.find(detector.decision_function(stack), fdr=0.5)
    union = np.zeros(stack.y.shape, bool)
    for each in found:
        union[each.slice] |= each.mask
    np.testing.assert_array_equal(union, detector.predict(stack) == -1)
