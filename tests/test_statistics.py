"""t-tests and their intervals against SciPy, a formula, and simulated patients."""

import numpy as np
import pytest
from scipy import stats
from scipy.stats import ttest_rel

from skadm.evaluation import paired_t_tests
from skadm.evaluation._t_test import COVERAGE, coverage


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


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_interval_is_that_of_student(confidence):
    values = {"ADM": [0.9, 0.92, 0.95, 0.7], "DAE": [0.8, 0.85, 0.84, 0.8]}
    (found,) = paired_t_tests(
        rows_of(values, "patient"), metrics=("auc",), confidence=confidence
    )
    differences = np.subtract(values["DAE"], values["ADM"])
    half = stats.t.ppf(0.5 + confidence / 2, 3) * stats.sem(differences)
    assert found["difference"] == pytest.approx(differences.mean())
    expected = (differences.mean() - half, differences.mean() + half)
    assert (found["low"], found["high"]) == pytest.approx(expected)


def test_interval_is_of_patients_means_over_seeds():
    rng = np.random.default_rng(0)
    values = {name: rng.uniform(size=(2, 5)) for name in ("ADM", "DAE")}
    rows = [
        row | {"seed": seed}
        for seed in range(2)
        for row in rows_of({name: own[seed] for name, own in values.items()}, "patient")
    ]
    (found,) = paired_t_tests(rows, metrics=("auc",))
    means = {name: own.mean(axis=0) for name, own in values.items()}
    expected = ttest_rel(means["DAE"], means["ADM"]).confidence_interval(0.95)
    assert found["n"] == 5
    assert (found["low"], found["high"]) == pytest.approx(tuple(expected))


def test_patients_without_an_anomaly_do_not_count():
    """Their F1 is 0 for every method, a difference of 0 that says nothing."""
    rows = [
        {"method": method, "split": "test", "seed": None, "patient": patient}
        | {"auc": np.nan if patient == "healthy" else 0.9}
        | {"f1": 0.0 if patient == "healthy" else 0.1 * len(patient) * factor}
        for method, factor in (("ADM", 1), ("DAE", 2))
        for patient in ("a", "bb", "cccc", "healthy")
    ]
    (found,) = paired_t_tests(rows, metrics=("f1",))
    assert found["n"] == 3
    assert found["difference"] == pytest.approx(0.7 / 3)


# -- how often intervals hold the truth --------------------------------------------------


def differences_of(kind, rng, shape):
    """Differences with mean 0; exponential ones are more skewed than those of AP."""
    return rng.normal(size=shape) if kind == "normal" else rng.exponential(size=shape) - 1


def share_that_holds_0(low, high):
    return np.mean((np.asarray(low) <= 0) & (np.asarray(high) >= 0))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["normal", "skewed"])
def test_intervals_over_six_patients_cover_what_they_say(kind):
    """Intervals between the percentiles of a bootstrap do not: they cover 80 to 86 %."""
    rng = np.random.default_rng(0)
    n, n_trials = 6, 800
    drawn = differences_of(kind, rng, (n_trials, n))
    intervals = []
    for own in drawn:
        rows = rows_of({"ADM": np.zeros(n), "DAE": own}, "patient")
        (found,) = paired_t_tests(rows, metrics=("auc",))
        intervals.append((found["low"], found["high"]))
    nominal = COVERAGE[n][1 if kind == "normal" else 0] / 100
    tolerance = 0.03
    assert abs(share_that_holds_0(*np.transpose(intervals)) - nominal) < tolerance
    means = drawn @ rng.multinomial(n, np.full(n, 1 / n), size=1000).T / n
    percentile = share_that_holds_0(*np.quantile(means, [0.025, 0.975], axis=1))
    assert percentile < nominal - tolerance


@pytest.mark.parametrize("n", sorted(COVERAGE))
def test_coverage_that_is_stated(n):
    rng = np.random.default_rng(n)
    for kind, stated in zip(("skewed", "normal"), COVERAGE[n], strict=True):
        drawn = differences_of(kind, rng, (20_000, n))
        half = stats.t.ppf(0.975, n - 1) * stats.sem(drawn, axis=1)
        mean = drawn.mean(axis=1)
        found = share_that_holds_0(mean - half, mean + half)
        assert found == pytest.approx(stated / 100, abs=0.025)


def test_coverage_in_words():
    assert coverage(6) == coverage(11) == "{} to {} %".format(*COVERAGE[6])
    assert coverage(500) == coverage(20)
    assert coverage(2) == coverage(4)


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
    with pytest.raises(ValueError, match="reference is 'ADM'"):
        paired_t_tests(rows_of({"DAE": [0.8]}), metrics=("auc",))
    both = rows_of({"ADM": [0.8]}) + rows_of({"ADM": [0.8]}, split="validation")
    with pytest.raises(ValueError, match="expected one split"):
        paired_t_tests(both, metrics=("auc",))
