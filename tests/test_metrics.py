"""Metrics against scikit-learn, brute force and hand-made cases."""

import math
import pickle
import warnings

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.base import BaseEstimator
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skadm.metrics import (
    anomaly_map,
    average_precision_scorer,
    best_dice_score,
    best_f1_threshold,
    per_patient,
    pixel_average_precision_score,
    pixel_precision_recall_curve,
    pixel_roc_auc_score,
    pixel_roc_curve,
    pixel_scores_at_threshold,
    roc_auc_by_lesion_size,
    roc_auc_scorer,
)

pytestmark = pytest.mark.numerical

ALL_METRICS = [
    pixel_roc_auc_score,
    pixel_average_precision_score,
    best_dice_score,
    best_f1_threshold,
    pixel_roc_curve,
    pixel_precision_recall_curve,
    lambda y, scores: pixel_scores_at_threshold(y, scores, 0.0),
    lambda y, scores: per_patient(pixel_roc_auc_score, y, scores, np.zeros(len(y))),
    roc_auc_by_lesion_size,
]


def example(seed=0, shape=(6, 9, 7), dtype=np.float32, ties=False, rate=0.2):
    """Labels with all three values, and normality scores that are lower in the lesion."""
    rng = np.random.default_rng(seed)
    y = (rng.random(shape) < rate).astype(np.int8)
    y[rng.random(shape) < 0.3] = -1
    scores = rng.normal(size=shape) - 1.0 * (y == 1)
    if ties:
        scores = np.round(scores)
    return y, scores.astype(dtype)


def evaluated(y, scores):
    """Labels and anomaly scores as scikit-learn wants them."""
    keep = y >= 0
    return y[keep], -scores[keep]


cases = pytest.mark.parametrize(
    ("shape", "dtype", "ties", "rate"),
    [
        ((400,), np.float64, False, 0.2),
        ((6, 9, 7), np.float32, False, 0.1),
        ((6, 9, 7), np.float32, True, 0.2),
        ((2, 3, 10, 9), np.float64, True, 0.7),
        ((3, 10, 9), np.float16, False, 0.9),
        ((3, 10, 9), np.int32, True, 0.3),
    ],
)

# A few hundred pixels with few values (heavy ties) or with any finite float32 at all.
labelled_scores = (
    st.integers(2, 120)
    .flatmap(
        lambda n: st.tuples(
            hnp.arrays(np.int8, n, elements=st.integers(-1, 1)),
            st.one_of(
                hnp.arrays(np.float32, n, elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0])),
                hnp.arrays(
                    np.float32,
                    n,
                    elements=st.floats(allow_nan=False, allow_infinity=False, width=32),
                ),
            ),
        )
    )
    .filter(lambda pair: (pair[0] == 0).any() and (pair[0] == 1).any())
)


def brute_force_best_f1(y, scores):
    """Best F1 over all thresholds, and the smallest flagged set that reaches it."""
    labels, values = y[y >= 0], scores[y >= 0]
    best, best_set = -1.0, None
    for value in np.unique(values):
        flagged = values <= value
        f1 = 2 * (flagged & (labels == 1)).sum() / (flagged.sum() + (labels == 1).sum())
        if f1 > best:
            best, best_set = f1, flagged
    return best, best_set


@cases
def test_areas_equal_sklearn(shape, dtype, ties, rate):
    y, scores = example(1, shape, dtype, ties, rate)
    labels, anomaly = evaluated(y, scores.astype(np.float64))
    auc, ap = pixel_roc_auc_score(y, scores), pixel_average_precision_score(y, scores)
    assert auc == pytest.approx(reference.roc_auc_score(labels, anomaly), abs=1e-12)
    assert ap == pytest.approx(
        reference.average_precision_score(labels, anomaly), abs=1e-12
    )


@pytest.mark.slow
@given(labelled_scores)
@settings(max_examples=150, deadline=None)
def test_areas_and_threshold_on_any_data(pair):
    y, scores = pair
    labels, anomaly = evaluated(y, scores)
    auc, ap = pixel_roc_auc_score(y, scores), pixel_average_precision_score(y, scores)
    assert auc == pytest.approx(reference.roc_auc_score(labels, anomaly), abs=1e-12)
    assert ap == pytest.approx(
        reference.average_precision_score(labels, anomaly), abs=1e-12
    )
    best, best_set = brute_force_best_f1(y, scores)
    threshold = best_f1_threshold(y, scores)
    # The comparison in float32 and the sign of the float32 difference give that very set.
    np.testing.assert_array_equal(scores[y >= 0] < threshold, best_set)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(scores[y >= 0] - threshold < 0, best_set)
    assert best_dice_score(y, scores) == pytest.approx(best, abs=1e-15)


def test_chunks_give_the_same_as_one_piece(monkeypatch):
    import skadm.metrics._pixels as pixels
    import skadm.metrics._ranking as ranking

    y, scores = example(2, ties=True)

    def all_numbers():
        at_zero = pixel_scores_at_threshold(y, scores, 0.0).values()
        return [*(metric(y, scores) for metric in ALL_METRICS[:4]), *at_zero]

    whole = all_numbers()
    monkeypatch.setattr(pixels, "CHUNK", 7)
    monkeypatch.setattr(ranking, "CHUNK", 5)
    assert all_numbers() == pytest.approx(whole, abs=1e-14)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("n_scores", [2, 3, 1000])
def test_threads_sort_as_one_does(monkeypatch, n_threads, n_scores):
    import skadm.metrics._pixels as pixels

    monkeypatch.setattr(pixels, "_WORTH_THREADS", 0)
    scores = np.random.default_rng(0).normal(size=n_scores).round(1).astype(np.float32)
    scores[-1] = np.nan  # last, where the check for finite scores looks
    expected = np.sort(scores)
    pixels.sort_in_place(scores, n_threads)
    np.testing.assert_array_equal(scores, expected)


@pytest.mark.parametrize(("allowed", "expected"), [("3", 3), ("2,4", 2), ("0", 7), ("", 7)])
def test_threads_are_as_many_as_allowed(monkeypatch, allowed, expected):
    import skadm.metrics._pixels as pixels

    monkeypatch.setattr("joblib.cpu_count", lambda: 7)
    monkeypatch.setenv("OMP_NUM_THREADS", allowed)
    assert pixels.number_of_threads() == expected


def test_perfect_reversed_and_constant_scores():
    y = np.array([[1, 1, 0], [0, 0, -1]])
    scores = np.array([[0.0, 0.1, 1.0], [2.0, 3.0, -9.0]])
    assert pixel_roc_auc_score(y, scores) == pytest.approx(1.0)
    assert pixel_average_precision_score(y, scores) == pytest.approx(1.0)
    assert pixel_roc_auc_score(y, -scores) == pytest.approx(0.0)
    assert pixel_roc_auc_score(y, np.zeros((2, 3))) == pytest.approx(0.5)
    assert pixel_average_precision_score(y, np.zeros((2, 3))) == pytest.approx(0.4)
    assert best_dice_score(y, scores) == pytest.approx(1.0)
    assert best_f1_threshold(y, scores) == pytest.approx(0.55)


def test_arguments_are_left_alone():
    y, scores = example(3)
    before = y.copy(), scores.copy()
    for metric in ALL_METRICS:
        metric(y, scores)
    np.testing.assert_array_equal(y, before[0])
    np.testing.assert_array_equal(scores, before[1])


def test_lists_and_transposed_arrays():
    y, scores = example(4)
    auc = pytest.approx(pixel_roc_auc_score(y, scores))
    assert pixel_roc_auc_score(y.T, scores.T) == auc
    assert pixel_roc_auc_score(y.tolist(), scores.tolist()) == auc
    assert pixel_roc_auc_score(y[::-1].astype(float), scores[::-1]) == auc


def test_ignored_pixels_may_hold_anything():
    y, scores = example(5)
    filled = np.where(y == -1, np.nan, scores)
    for metric in ALL_METRICS[:4]:
        assert metric(y, filled) == pytest.approx(metric(y, scores))


def test_anomaly_map_turns_the_sign():
    np.testing.assert_array_equal(anomaly_map([[1.0, -2.0]]), [[-1.0, 2.0]])


# --- curves


def just_above(values, dtype):
    """Next numbers of `dtype`, except that minus infinity stays."""
    values = values.astype(dtype)
    return np.where(np.isinf(values), values, np.nextafter(values, dtype.type(np.inf)))


@cases
def test_full_curves_equal_sklearn(shape, dtype, ties, rate):
    y, scores = example(6, shape, dtype, ties, rate)
    labels, anomaly = evaluated(y, scores.astype(np.float64))
    fpr, tpr, thresholds = pixel_roc_curve(y, scores, max_points=None)
    expected = reference.roc_curve(labels, anomaly)
    np.testing.assert_allclose(fpr, expected[0], atol=1e-12)
    np.testing.assert_allclose(tpr, expected[1], atol=1e-12)
    np.testing.assert_array_equal(thresholds, just_above(-expected[2], thresholds.dtype))
    precision, recall, limits = pixel_precision_recall_curve(y, scores, max_points=None)
    expected = reference.precision_recall_curve(labels, anomaly)
    np.testing.assert_allclose(precision, expected[0], atol=1e-12)
    np.testing.assert_allclose(recall, expected[1], atol=1e-12)
    np.testing.assert_array_equal(limits, just_above(-expected[2], limits.dtype))


@pytest.mark.parametrize("max_points", [None, 30])
@pytest.mark.parametrize("ties", [False, True])
def test_curve_thresholds_give_the_curve_points(max_points, ties):
    y, scores = example(7, ties=ties)
    points = zip(*pixel_roc_curve(y, scores, max_points))
    for fpr, tpr, threshold in points:
        found = pixel_scores_at_threshold(y, scores, threshold)
        assert (1 - found["specificity"], found["recall"]) == pytest.approx((fpr, tpr))
    points = zip(*pixel_precision_recall_curve(y, scores, max_points))
    for precision, recall, threshold in points:
        found = pixel_scores_at_threshold(y, scores, threshold)
        assert (found["precision"], found["recall"]) == pytest.approx((precision, recall))


def assert_thinned(y, scores, max_points, tolerance):
    """Check ends, order, number of points and areas of the thinned curves."""
    fpr, tpr, thresholds = pixel_roc_curve(y, scores, max_points)
    assert len(fpr) == len(tpr) == len(thresholds) <= max_points
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert thresholds[0] == -np.inf
    for values in (fpr, tpr, thresholds):
        assert (values[1:] >= values[:-1]).all()
    auc = reference.auc(fpr, tpr)
    assert auc == pytest.approx(pixel_roc_auc_score(y, scores), abs=tolerance)

    precision, recall, thresholds = pixel_precision_recall_curve(y, scores, max_points)
    assert len(precision) == len(recall) == len(thresholds) + 1 <= max_points
    assert (precision[-1], recall[0], recall[-1]) == (1, 1, 0)
    assert precision[0] == pytest.approx((y == 1).sum() / (y >= 0).sum())
    assert (np.diff(recall) <= 0).all()
    assert (np.diff(thresholds) < 0).all()
    ap = -np.sum(np.diff(recall) * precision[:-1])
    assert ap == pytest.approx(pixel_average_precision_score(y, scores), abs=tolerance)


@pytest.mark.parametrize("rate", [0.0005, 0.05, 0.9])
@pytest.mark.parametrize("kind", ["smooth", "ties", "block", "random"])
def test_thinned_curves_keep_ends_order_and_area(kind, rate):
    rng = np.random.default_rng(8)
    y = (rng.random(200_000) < rate).astype(np.int8)
    scores = rng.normal(size=y.size).astype(np.float32) - 1.5 * (y == 1)
    if kind == "ties":
        scores = np.round(scores, 1)
    elif kind == "block":  # half of the pixels share one score
        scores[::2] = 0.1
    elif kind == "random":
        scores = rng.random(y.size)
    assert_thinned(y, scores, 1000, 1e-3)


def test_thinned_roc_area_keeps_its_bound_on_a_staircase():
    # Alternating runs of the two labels: the curve with the most to lose by thinning.
    y = np.tile(np.repeat([1, 0], 100), 260).astype(np.int8)
    scores = np.arange(y.size, dtype=np.float32)
    for max_points in (10, 100, 1000):
        fpr, tpr, _ = pixel_roc_curve(y, scores, max_points)
        error = reference.auc(fpr, tpr) - pixel_roc_auc_score(y, scores)
        assert abs(error) < 1 / (max_points - 1)


def test_few_points_are_kept_within_the_limit():
    y, scores = example(9, (2000,))
    for max_points in (4, 5, 11):
        assert_thinned(y, scores, max_points, 1 / 3)
    with pytest.raises(ValueError, match="max_points must be at least 4 or None, got 3"):
        pixel_roc_curve(y, scores, 3)


# --- thresholds


@cases
def test_best_threshold_is_the_best_of_all(shape, dtype, ties, rate):
    y, scores = example(10, shape, dtype, ties, rate)
    threshold = best_f1_threshold(y, scores)
    assert isinstance(threshold, float)
    best, best_set = brute_force_best_f1(y, scores)
    np.testing.assert_array_equal(scores[y >= 0] < threshold, best_set)
    found = pixel_scores_at_threshold(y, scores, threshold)
    assert found["f1"] == pytest.approx(best, abs=1e-15)
    assert best_dice_score(y, scores) == pytest.approx(best, abs=1e-15)


def test_best_threshold_between_neighbouring_numbers():
    low = np.float32(1.0)
    high = np.nextafter(low, np.float32(2))
    assert best_f1_threshold([1, 0], np.array([low, high])) == high
    assert best_f1_threshold([1, 0], np.array([-3e38, 3e38], np.float32)) == pytest.approx(
        0.0
    )
    assert best_f1_threshold([1, 0], [-1.7e308, 1.7e308]) == pytest.approx(0.0)
    # All flagged: just above the highest score.
    assert best_f1_threshold([0, 1, 1], np.array([0, 1, 1], np.float32)) == high


def test_best_threshold_flags_the_fewest_among_equals():
    # {0} has F1 2/3, and so has {0, 1, 2, 3}.
    assert best_f1_threshold([1, 0, 0, 1], [0.0, 1.0, 2.0, 3.0]) == pytest.approx(0.5)


@cases
def test_scores_at_threshold_equal_sklearn(shape, dtype, ties, rate):
    y, scores = example(11, shape, dtype, ties, rate)
    labels, values = y[y >= 0], scores[y >= 0]
    flagged = values < -0.5
    found = pixel_scores_at_threshold(y, scores, -0.5)
    assert found == pytest.approx(
        {
            "precision": reference.precision_score(labels, flagged),
            "recall": reference.recall_score(labels, flagged),
            "f1": reference.f1_score(labels, flagged),
            "dice": reference.f1_score(labels, flagged),
            "specificity": reference.recall_score(labels, flagged, pos_label=0),
        }
    )


def test_zero_division_is_zero_unless_asked():
    nothing_flagged = pixel_scores_at_threshold([0, 1], [1.0, 1.0], 0.0)
    assert nothing_flagged["precision"] == pytest.approx(0)
    assert nothing_flagged["f1"] == pytest.approx(0)
    asked = pixel_scores_at_threshold([0, 0], [1.0, 1.0], 0.0, zero_division=np.nan)
    assert math.isnan(asked["precision"])
    assert math.isnan(asked["recall"])
    assert math.isnan(asked["dice"])
    assert asked["specificity"] == pytest.approx(1.0)


def test_a_threshold_of_nan_is_refused():
    with pytest.raises(ValueError, match="threshold is NaN"):
        pixel_scores_at_threshold([0, 1], [1.0, 0.0], math.nan)


# --- groups


def test_per_patient_equals_sklearn_and_is_nan_without_lesion():
    y, scores = example(12, (8, 6, 6))
    groups = np.array(["b", "b", "a", "a", "c", "c", "d", "d"])
    y[groups == "c"] = np.minimum(y[groups == "c"], 0)  # no anomaly
    y[groups == "d"] = -1  # nothing evaluated
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = per_patient(pixel_roc_auc_score, y, scores, groups)
    assert list(found) == ["b", "a", "c", "d"]
    for patient in "ab":
        expected = reference.roc_auc_score(
            *evaluated(y[groups == patient], scores[groups == patient])
        )
        assert found[patient] == pytest.approx(expected, abs=1e-12)
    assert math.isnan(found["c"])
    assert math.isnan(found["d"])


def test_per_patient_needs_one_group_for_each_slice():
    y, scores = example(13, (4, 5, 5))
    message = r"groups have shape \(3,\) and y has shape \(4, 5, 5\)"
    with pytest.raises(ValueError, match=message):
        per_patient(pixel_roc_auc_score, y, scores, ["a", "a", "b"])


def test_roc_auc_by_lesion_size():
    y = np.zeros((5, 10, 10), dtype=np.int8)
    scores = np.random.default_rng(14).normal(size=y.shape)
    for index, size in enumerate([0, 3, 10, 11, 50]):
        y[index].flat[:size] = 1
    rows = roc_auc_by_lesion_size(y, scores, edges=(0, 10, 20, 30))
    each = [reference.roc_auc_score(y[i].ravel(), -scores[i].ravel()) for i in (1, 2, 3)]
    assert [row["n_slices"] for row in rows] == [2, 1, 0]
    assert rows[0]["mean"] == pytest.approx(np.mean(each[:2]))
    assert rows[0]["std"] == pytest.approx(np.std(each[:2]))
    assert rows[1]["mean"] == pytest.approx(each[2])
    assert (rows[1]["low"], rows[1]["high"]) == (10, 20)
    assert math.isnan(rows[2]["mean"])
    assert len(roc_auc_by_lesion_size(y, scores)) == 8
    with pytest.raises(ValueError, match="at least two ascending numbers"):
        roc_auc_by_lesion_size(y, scores, edges=(0, 20, 10))


# --- errors


@pytest.mark.parametrize("metric", ALL_METRICS)
def test_bad_input_is_refused(metric):
    y, scores = example(15)
    with pytest.raises(ValueError, match=r"\(6, 9, 7\), but scores have shape \(5, 9, 7\)"):
        metric(y, scores[:5])
    with pytest.raises(ValueError, match=r"other than -1, 0 and 1: 2, 4\."):
        metric(np.where(y == 1, 4, np.where(y == -1, 2, y)), scores)
    with pytest.raises(ValueError, match="only ignored pixels"):
        metric(np.full_like(y, -1), scores)
    with pytest.raises(ValueError, match="scores holds complex numbers"):
        metric(y, scores.astype(np.complex64))


@pytest.mark.parametrize("metric", ALL_METRICS)
def test_non_finite_scores_are_counted_and_refused(metric):
    y, scores = np.zeros((2, 4, 4), dtype=np.int8), np.zeros((2, 4, 4))
    y[:, 0] = 1
    y[:, 1] = -1
    scores[0, 0, 0], scores[0, 2, 0], scores[0, 3, 3] = np.nan, np.inf, -np.inf
    scores[0, 1, 1] = np.nan  # ignored, so not counted
    with pytest.raises(ValueError, match="scores hold 3 non-finite values"):
        metric(y, scores)


def test_labels_of_none_and_of_nan_are_refused():
    with pytest.raises(ValueError, match="y is None; expected pixel labels"):
        pixel_roc_auc_score(None, np.zeros(3))
    with pytest.raises(ValueError, match="other than -1, 0 and 1: nan"):
        pixel_roc_auc_score([0, 1, np.nan], np.zeros(3))


@pytest.mark.parametrize(
    "metric", [pixel_roc_auc_score, pixel_average_precision_score, best_dice_score]
)
@pytest.mark.parametrize(
    ("y", "missing"),
    [([0, 0, -1], r"no anomalous pixel"), ([1, 1, -1], r"no normal pixel")],
)
def test_undefined_metrics_are_nan_with_a_warning(metric, y, missing):
    with pytest.warns(UndefinedMetricWarning, match=missing + ".* 2 evaluated pixels"):
        assert math.isnan(metric(y, np.zeros(3)))


def test_thresholds_and_curves_need_both_labels():
    with pytest.raises(
        ValueError, match=r"threshold needs normal and anomalous pixels.*no anomalous pixel"
    ):
        best_f1_threshold([0, 0], [1.0, 2.0])
    with pytest.raises(
        ValueError,
        match=r"the ROC curve needs normal and anomalous pixels.*no normal pixel",
    ):
        pixel_roc_curve([1, 1], [1.0, 2.0])
    with pytest.raises(
        ValueError, match="the precision-recall curve needs normal and anomalous pixels"
    ):
        pixel_precision_recall_curve([0, 0], [1.0, 2.0])


# --- scorers


class Brightness(BaseEstimator):
    """A detector that calls bright pixels of one contrast abnormal."""

    def __init__(self, contrast=0):
        self.contrast = contrast

    def fit(self, X, y=None):
        self.offset_ = -1.0
        return self

    def score_samples(self, X):
        return -np.asarray(X)[:, self.contrast]

    def predict(self, X):
        return np.where(self.score_samples(X) < self.offset_, -1, 1)


class Stack:
    """A stack that knows its patients, as far as a scorer cares."""

    def __init__(self, X, groups):
        self.X, self.groups = X, groups

    def __array__(self, dtype=None, copy=None):
        return self.X

    def __len__(self):
        return len(self.X)


@pytest.fixture
def slices():
    y, scores = example(16, (6, 9, 7))
    noise = np.random.default_rng(17).normal(size=y.shape)
    return np.stack([noise, -scores], axis=1).astype(np.float32), y


def test_scorers_equal_the_metrics(slices):
    X, y = slices
    detector = Brightness(1).fit(X)
    labels, anomaly = evaluated(y, -X[:, 1])
    assert roc_auc_scorer(detector, X, y) == pytest.approx(
        reference.roc_auc_score(labels, anomaly), abs=1e-12
    )
    assert average_precision_scorer(detector, X, y) == pytest.approx(
        reference.average_precision_score(labels, anomaly), abs=1e-12
    )


def test_scorers_in_a_grid_search_over_a_pipeline(slices):
    X, y = slices
    search = GridSearchCV(
        make_pipeline(FunctionTransformer(), Brightness()),
        {"brightness__contrast": [0, 1]},
        scoring={"auc": roc_auc_scorer, "ap": average_precision_scorer},
        refit="auc",
        cv=3,
    ).fit(X, y)
    assert search.best_params_ == {"brightness__contrast": 1}
    for name in ("auc", "ap"):
        assert np.isfinite(search.cv_results_[f"mean_test_{name}"]).all()


def test_scorers_pickle_and_name_themselves(slices):
    X, y = slices
    for scorer in (roc_auc_scorer, average_precision_scorer):
        detector = Brightness(1).fit(X)
        copy = pickle.loads(pickle.dumps(scorer))
        assert copy(detector, X, y) == scorer(detector, X, y)
    assert repr(roc_auc_scorer) == "<pixel scorer: ROC AUC>"


@pytest.mark.parametrize("scorer", [roc_auc_scorer, average_precision_scorer])
def test_scorers_without_labels_or_anomalies(scorer, slices):
    X, y = slices
    detector = Brightness(1).fit(X)
    with pytest.raises(ValueError, match="y is None"):
        scorer(detector, X)
    normal = np.minimum(y, 0)
    with pytest.warns(
        UndefinedMetricWarning, match="a fold of 6 slices: y holds no anomalous"
    ):
        assert math.isnan(scorer(detector, X, normal))
    stack = Stack(X, np.array(["p1"] * 3 + ["p2"] * 3))
    with pytest.warns(UndefinedMetricWarning, match=r"6 slices \(patients: p1, p2\)"):
        assert math.isnan(scorer(detector, stack, normal))
    with pytest.warns(UndefinedMetricWarning, match="no normal pixel"):
        assert math.isnan(scorer(detector, X, np.ones_like(y)))


def test_many_patients_are_cut_short_in_the_warning(slices):
    X, _ = slices
    stack = Stack(np.repeat(X, 2, axis=0), np.array([f"p{i}" for i in range(12)]))
    with pytest.warns(UndefinedMetricWarning, match=r"p6, p7, \.\.\.\)"):
        roc_auc_scorer(Brightness(1).fit(X), stack, np.zeros((12, 9, 7)))


def test_only_the_fold_without_anomalies_is_nan(slices):
    X, y = slices
    y[:2] = np.minimum(y[:2], 0)
    groups = np.repeat([0, 1, 2], 2)
    with pytest.warns(UndefinedMetricWarning, match="a fold of 2 slices"):
        found = cross_val_score(
            Brightness(1), X, y, groups=groups, cv=GroupKFold(3), scoring=roc_auc_scorer
        )
    assert np.isnan(found).sum() == 1
