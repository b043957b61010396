"""Far too much of a brain is flagged: when scoring says so, and where it is kept."""

import json
import pickle
import re
import warnings

import numpy as np
import pytest
import sklearn
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

import skadm
from skadm import (
    EnsembleDetector,
    FlaggedShareWarning,
    FlipAveragedDetector,
    IntensityDetector,
    PCADetector,
)
from skadm._reference import ScoreReference
from skadm.cohort import score_cohort
from skadm.data import ArrayVolume, SliceStack
from skadm.preprocessing import IntensityNormalizer

CONTRASTS = ("T2", "FLAIR")


def make_volume(patient, seed, shift=0.0, lesion=0.0, n_slices=3):
    """Slices of 20 x 20 brain pixels of normal intensities; a lesion in some rows."""
    rng = np.random.default_rng(seed)
    X = np.zeros((n_slices, 2, 24, 24))
    X[:, :, 2:22, 2:22] = rng.normal(shift, 1, size=(n_slices, 2, 20, 20))
    y = np.where((X != 0).any(axis=1), 0, -1)
    rows = round(20 * lesion)
    X[:, :, 2 : 2 + rows, 2:22] += 9
    y[:, 2 : 2 + rows, 2:22] = 1
    return ArrayVolume(X, y, patient=patient, contrasts=CONTRASTS)


def make_stack(*volumes):
    return SliceStack.from_volumes(volumes)


@pytest.fixture(scope="module")
def home():
    return make_stack(*(make_volume(f"home{i}", i) for i in range(4)))


@pytest.fixture(scope="module")
def far():
    return make_stack(make_volume("near", 9), make_volume("far", 8, shift=2.5))


@pytest.fixture
def detector(home):
    return IntensityDetector().fit(home, home.y)


def heard(function, *arguments):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function(*arguments)
    return [w.message for w in caught if w.category is FlaggedShareWarning]


def share(detector, stack, name):
    own = stack[stack.volume_ids == name]
    maps, brain = detector.score_samples(own), (own.X != 0).any(axis=1)
    return (maps[brain] < detector.offset_).mean()


def test_what_is_expected_is_a_share_of_each_training_patient():
    rng = np.random.default_rng(0)
    counts = np.array([40, 25, 60, 30, 45])
    patients = np.array(["b", "a", "b", "c", "a"])
    scores = rng.normal(size=counts.sum()).astype(np.float32)
    owner = np.repeat(patients, counts)
    reference = ScoreReference.of(scores, counts, patients)
    for threshold in reference.thresholds[::10]:
        shares = [(scores[owner == name] < threshold).mean() for name in "abc"]
        expected = np.quantile(shares, [0.1, 0.9])
        assert reference.expected(threshold) == pytest.approx(expected[1], abs=1e-12)
        at = np.flatnonzero(reference.thresholds == threshold)[0]
        np.testing.assert_allclose(reference.shares[:, at], expected, atol=1e-12)
    assert reference.n_patients == 3
    assert reference.expected(scores.min() - 1) == pytest.approx(0)
    assert reference.expected(scores.max() + 1) == pytest.approx(1)
    together = ScoreReference.of(scores, counts)
    middle = together.thresholds[50]
    assert together.expected(middle) == pytest.approx((scores < middle).mean())


def test_the_reference_does_not_depend_on_what_is_in_memory(home):
    found = [IntensityDetector().fit(home, home.y).training_scores_]
    with sklearn.config_context(working_memory=1e-3):
        found.append(IntensityDetector().fit(home, home.y).training_scores_)
    np.testing.assert_array_equal(found[0].thresholds, found[1].thresholds)
    np.testing.assert_array_equal(found[0].shares, found[1].shares)
    # Slices with an anomaly, and those without brain, are not in it.
    ill, empty = make_volume("ill", 7, lesion=0.5), np.zeros((2, 2, 24, 24))
    void = ArrayVolume(empty, np.full((2, 24, 24), -1), patient="v", contrasts=CONTRASTS)
    more = make_stack(ill, *home.volumes[:2], void, *home.volumes[2:])
    other = IntensityDetector().fit(more, more.y).training_scores_
    np.testing.assert_array_equal(found[0].shares, other.shares)


def test_a_volume_far_from_home_is_named(detector, home, far):
    assert heard(detector.predict, home) == []
    for method in (detector.score_samples, detector.decision_function, detector.predict):
        (warning,) = heard(method, far)
        assert warning.volume == "far"
        assert warning.share == pytest.approx(share(detector, far, "far"))
        assert warning.expected == pytest.approx(0.01, abs=0.01)
        assert f"{warning.share:.0%} of the brain of 'far' is flagged" in str(warning)
        assert "unlike the training" in str(warning)
    (warning,) = heard(detector.score_samples, far.X[3:])
    assert warning.volume is None
    assert len(
        heard(detector.score, far, make_volume("", 0, lesion=0.5, n_slices=6).read()[1])
    )


@pytest.mark.parametrize(("lesion", "n_warnings"), [(0.05, 0), (0.15, 0), (0.3, 1)])
def test_lesions_are_no_reason_to_warn(detector, lesion, n_warnings):
    stack = make_stack(make_volume("ill", 5, lesion=lesion))
    assert len(heard(detector.predict, stack)) == n_warnings


@pytest.mark.parametrize("scale", [0.1, 2.5])
def test_scores_that_are_not_distributed_as_in_the_training(detector, home, scale):
    """Neither flags more than lesions make up: all are too normal, or too few are."""
    volume = make_volume("other", 6)
    images, labels = volume.read()
    other = ArrayVolume(scale * images, labels, patient="other", contrasts=CONTRASTS)
    detector.offset_ = float(np.quantile(detector.score_samples(home), 1e-3))
    (warning,) = heard(detector.predict, make_stack(other))
    assert warning.share < 0.16
    found = re.match(
        r"(\d+)% of the brain of 'other' scores below (\S+); expected (\d+)% to (\d+)%",
        str(warning),
    )
    said, threshold, low, high = map(float, found.groups())
    maps, brain = detector.score_samples(make_stack(other)), (images != 0).any(axis=1)
    assert (maps[brain] < threshold).mean() == pytest.approx(said / 100, abs=0.02)
    normal = detector.score_samples(home)[(home.X != 0).any(axis=1)] < threshold
    assert low / 100 == pytest.approx(0.84 * normal.mean(), abs=0.03)
    assert high / 100 == pytest.approx(0.84 * normal.mean() + 0.16, abs=0.03)
    # Two patients say too little about how much patients differ.
    detector.set_params(contamination=1e-3).fit(make_stack(*home.volumes[:2]))
    assert heard(detector.predict, make_stack(other)) == []


def test_the_expectation_follows_the_threshold(detector, home, far):
    detector.offset_ = float(np.quantile(detector.score_samples(home), 0.05))
    (warning,) = heard(detector.predict, far)
    shares = [share(detector, home, f"home{i}") for i in range(4)]
    assert warning.expected == pytest.approx(np.quantile(shares, 0.9), abs=0.01)
    # A threshold that flags much of the normal brain is the reason itself.
    detector.offset_ = 0.0
    assert "The threshold does not separate" in str(heard(detector.predict, home)[0])


def test_few_pixels_and_earlier_models_are_silent(detector, far):
    assert heard(detector.predict, far[3:5]) == []
    del detector.training_scores_
    assert heard(detector.predict, far) == []


def test_files_and_pickles_keep_it(detector, far, tmp_path):
    skadm.save(detector, tmp_path / "model.skadm")
    for copy in (
        skadm.load(tmp_path / "model.skadm"),
        pickle.loads(pickle.dumps(detector)),
    ):
        assert len(heard(copy.predict, far)) == 1


def test_wrappers_warn_once(home, far, detector):
    parts = PCADetector(n_components=1, max_samples=500)
    for composed in (
        FlipAveragedDetector(FrozenEstimator(detector)),
        EnsembleDetector(parts, n_detectors=2, random_state=0),
    ):
        composed.fit(home, home.y)
        composed.offset_ = composed.background_score_
        for each in (detector, *getattr(composed, "detectors_", ())):
            each.offset_ = each.background_score_
        (warning, _) = heard(composed.predict, far)
        expected = composed.training_scores_.expected(composed.offset_)
        assert warning.expected == pytest.approx(expected)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_scores_of_a_cohort_tell_it(detector, far, tmp_path, n_jobs):
    with pytest.warns(FlaggedShareWarning, match="^far: .* of the brain of 'far'"):
        found = score_cohort(detector, far, tmp_path, n_jobs=n_jobs)
    assert list(found.warned) == ["far"]
    record = json.loads((tmp_path / "far_warnings.json").read_text())
    assert record["flagged_share"] == pytest.approx(share(detector, far, "far"))
    expected = detector.training_scores_.expected(detector.offset_)
    assert record["expected_share"] == pytest.approx(expected)
    assert set(found.warned["far"]) == set(record["warnings"])
    assert not (tmp_path / "near_warnings.json").exists()
    # Scored again by a model that knows such scans, there is nothing to be warned of.
    score_cohort(IntensityDetector().fit(far, far.y), far, tmp_path, existing="replace")
    assert not list(tmp_path.glob("*.json"))


def test_the_page_of_a_patient_shows_the_warning(detector, far, home):
    pytest.importorskip("jinja2")
    pytest.importorskip("PIL")
    from skadm.report import examine

    model = make_pipeline(IntensityNormalizer(), detector)
    detector.offset_ = float(np.quantile(detector.score_samples(home), 0.4))
    with pytest.warns(FlaggedShareWarning, match="^far: "):
        report = examine(far.volumes[1], model)
    assert any("of the brain of 'far' is flagged" in note for note in report.summary.notes)
