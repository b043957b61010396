"""t-tests against SciPy; the bootstrap against drawing patients and measuring anew."""

import numpy as np
import pytest
from scipy.stats import ttest_rel

from skadm.evaluation import bootstrap_patients, paired_t_tests
from skadm.evaluation._bootstrap import _STATISTICS, _f1
from skadm.metrics import (
    best_dice_score,
    pixel_average_precision_score,
    pixel_roc_auc_score,
    pixel_scores_at_threshold,
)

METRICS = {
    "auc": pixel_roc_auc_score,
    "ap": pixel_average_precision_score,
    "dice": best_dice_score,
}


def draw(seed=0, n_patients=7, n_slices=3, side=8, decimals=2):
    """Patients of different difficulty, two of them without anomaly; scores with ties."""
    rng = np.random.default_rng(seed)
    shape = (n_patients * n_slices, side, side)
    y = (rng.uniform(size=shape) < 0.2).astype(np.int8)
    y[rng.uniform(size=shape) < 0.1] = -1
    groups = np.repeat([f"p{i}" for i in range(n_patients)], n_slices)
    for healthy in ("p1", "p4"):
        y[groups == healthy] = np.minimum(y[groups == healthy], 0)
    shift = np.repeat(rng.uniform(0.2, 2, n_patients), n_slices)[:, None, None]
    scores = np.round(rng.normal(size=shape) - shift * (y == 1), decimals)
    return y, scores, groups


def parted_of(y, scores, groups):
    return [
        tuple(scores[groups == name][y[groups == name] == label] for label in (1, 0))
        for name in np.unique(groups)
    ]


@pytest.mark.parametrize("metric", [*METRICS, "f1"])
def test_a_draw_is_that_of_the_drawn_patients(metric):
    y, scores, groups = draw()
    names = np.unique(groups)
    rng = np.random.default_rng(1)
    weights = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=8)
    parted = parted_of(y, scores, groups)
    statistic = _STATISTICS.get(metric, lambda *known: _f1(*known, -1.0))
    found = statistic(parted, weights.astype(float))
    for own, value in zip(weights, found):
        drawn = np.concatenate(
            [np.flatnonzero(groups == n) for n, w in zip(names, own) for _ in range(w)]
        )
        if metric == "f1":
            expected = pixel_scores_at_threshold(y[drawn], scores[drawn], -1.0)["f1"]
        else:
            expected = METRICS[metric](y[drawn], scores[drawn])
        assert value == pytest.approx(expected, abs=1e-12)


def test_many_pixels_need_no_more_thresholds():
    y, scores, groups = draw(side=40, decimals=12)
    assert (y == 1).sum() > 3000
    for metric in ("ap", "dice"):
        (value,) = _STATISTICS[metric](parted_of(y, scores, groups), np.ones((1, 7)))
        assert value == pytest.approx(METRICS[metric](y, scores), abs=2e-3)


def test_rows_of_methods_and_seeds():
    y, scores, groups = draw()
    _, other, _ = draw(3)
    rows = bootstrap_patients(
        y,
        {"ADM": [scores, other], "DAE": scores},
        groups,
        thresholds={"ADM": [-1.0, -0.5], "DAE": -1.0},
        metrics=("auc",),
        n_resamples=300,
    )
    assert [(row["method"], row["metric"]) for row in rows] == [
        ("ADM", "auc"),
        ("ADM", "f1"),
        ("DAE", "auc"),
        ("DAE", "f1"),
    ]
    aucs = [pixel_roc_auc_score(y, each) for each in (scores, other)]
    assert rows[0]["estimate"] == pytest.approx(np.mean(aucs))
    assert np.isnan(rows[0]["difference"])
    assert rows[2]["difference"] == pytest.approx(aucs[0] - np.mean(aucs))
    f1s = [
        pixel_scores_at_threshold(y, each, limit)["f1"]
        for each, limit in ((scores, -1.0), (other, -0.5))
    ]
    assert rows[1]["estimate"] == pytest.approx(np.mean(f1s))
    for row in rows:
        assert row["low"] < row["estimate"] < row["high"]
        assert (row["n_patients"], row["n_with_anomaly"]) == (7, 5)
    again = bootstrap_patients(
        y, {"ADM": [scores, other]}, groups, metrics=("auc",), n_resamples=300
    )
    assert (again[0]["low"], again[0]["high"]) == (rows[0]["low"], rows[0]["high"])


def test_the_same_method_differs_by_nothing_and_a_better_one_by_more():
    y, scores, groups = draw()
    better = scores - 0.5 * (y == 1)
    rows = bootstrap_patients(
        y, {"ADM": scores, "same": scores, "better": better}, groups, metrics=("auc",)
    )
    same, better = rows[1:]
    assert same["difference_low"] == pytest.approx(0, abs=1e-12)
    assert same["difference_high"] == pytest.approx(0, abs=1e-12)
    assert better["difference_low"] > 0


def test_intervals_cover_the_mean_of_other_patients():
    """Patients differ; pixels of one do not tell. Nine of ten intervals must cover."""
    rng = np.random.default_rng(0)
    covered = 0
    n_trials, n_patients, side = 40, 20, 12
    truth = None
    for trial in range(n_trials + 1):
        n = 2000 if trial == 0 else n_patients
        y = (rng.uniform(size=(n, side, side)) < 0.3).astype(np.int8)
        shift = rng.normal(1, 0.8, size=n)[:, None, None]
        scores = rng.normal(size=y.shape) - shift * y
        if trial == 0:
            truth = pixel_roc_auc_score(y, scores)
            continue
        (row,) = bootstrap_patients(
            y, {"ADM": scores}, np.arange(n), metrics=("auc",), n_resamples=300
        )
        covered += row["low"] <= truth <= row["high"]
    assert covered >= 0.8 * n_trials


def test_too_few_patients_and_wrong_input():
    y, scores, groups = draw(n_patients=4)
    with pytest.warns(UserWarning, match="only 3 patients"):
        bootstrap_patients(y[:9], {"ADM": scores[:9]}, ["a", "b", "c"] * 3)
    with pytest.raises(ValueError, match="1 of 2 patients have an anomaly"):
        bootstrap_patients(y[:6], {"ADM": scores[:6]}, groups[:6])
    with pytest.raises(ValueError, match="no scores of 'DAE'"):
        bootstrap_patients(y, {"ADM": scores}, groups, reference="DAE")
    with pytest.raises(ValueError, match=r"metrics \['hope'\] are not known"):
        bootstrap_patients(y, {"ADM": scores}, groups, metrics=("hope",))
    with pytest.raises(ValueError, match="scores of 'ADM' have shape"):
        bootstrap_patients(y, {"ADM": scores[:, :4]}, groups)


def rows_of(values, unit="seed", split="test"):
    """Rows with the AUC alone, from method to values in the order of the unit."""
    return [
        {"method": method, "split": split, "seed": None, unit: key, "auc": value}
        for method, own in values.items()
        for key, value in enumerate(own)
    ]


@pytest.mark.parametrize("unit", ["seed", "patient"])
def test_t_test_is_that_of_scipy(unit):
    values = {"ADM": [0.9, 0.92, 0.95], "DAE": [0.8, 0.85, 0.84], "PCA": [0.9, 0.93, 0.91]}
    found = paired_t_tests(rows_of(values, unit), metrics=("auc",))
    p = []
    for row in found:
        result = ttest_rel(values[row["method"]], values["ADM"])
        assert (row["t"], row["p"]) == pytest.approx((result.statistic, result.pvalue))
        assert row["n"] == 3
        p.append(result.pvalue)
    small, large = sorted(p)
    assert sorted(row["p_holm"] for row in found) == pytest.approx(
        [min(1, 2 * small), min(1, max(2 * small, large))]
    )


def test_a_method_without_seeds_is_compared_with_each():
    rows = rows_of({"ADM": [0.9, 0.92, 0.95]})
    rows.append({"method": "FLAIR", "split": "test", "seed": None, "auc": 0.8})
    (found,) = paired_t_tests(rows, metrics=("auc",))
    result = ttest_rel([0.8] * 3, [0.9, 0.92, 0.95])
    assert (found["n"], found["t"]) == (3, pytest.approx(result.statistic))


def test_what_cannot_be_tested():
    (found,) = paired_t_tests(rows_of({"ADM": [0.9], "DAE": [0.8]}), metrics=("auc",))
    assert found["difference"] == pytest.approx(-0.1)
    assert np.isnan([found["p"], found["p_holm"]]).all()
    with pytest.raises(ValueError, match="no row of 'ADM'"):
        paired_t_tests(rows_of({"DAE": [0.8]}), metrics=("auc",))
    both = rows_of({"ADM": [0.8]}) + rows_of({"ADM": [0.8]}, split="validation")
    with pytest.raises(ValueError, match="expected one split"):
        paired_t_tests(both, metrics=("auc",))
