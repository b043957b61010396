"""How often 95 % intervals over a few patients contain the true difference of two methods.

All patients are synthetic. The scores of the normal and of the anomalous pixels of a
patient are normally distributed with standard deviation 1. Patients differ in the share of
anomalous pixels, in the level of all scores, and in the distance between the two means,
which is smaller for the second method. This gives each patient's difference in average
precision (AP). The more the loss of the second method varies over patients, the more
skewed are the differences. Normally distributed differences are simulated as well.

Intervals of the mean of the patients' differences: t, and the BCa and percentile bootstrap
(`scipy.stats`). Interval of the difference in AP of pooled pixels: percentile bootstrap.

    python -m benchmarks interval_coverage

Prints the tables and writes coverage.csv, skewness.csv and run.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.lib.options import positive, read_options

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVEL = 0.95
POPULATION = 50_000  # patients, whose mean difference is the true one
LIMITS = np.linspace(-5, 9, 113)  # thresholds of pooled pixels


class Kind(NamedTuple):
    """Difference between two methods, and how much it varies over patients."""

    lead: float  # mean difference of the separations, in standard deviations of scores
    spread: float  # standard deviation of that over patients; gamma distributed


KINDS = {"skewed": Kind(0.5, 0.35), "strongly skewed": Kind(0.5, 0.5)}


class Patients(NamedTuple):
    """Synthetic patients; arrays of shape (n_patients,)."""

    share: NDArray  # of their pixels that are anomalous
    level: NDArray  # what is added to all their scores
    separation: NDArray  # of anomalous from normal scores, first method
    lag: NDArray  # by how much that of the second method is smaller


def draw(rng: np.random.Generator, n: int, kind: Kind) -> Patients:
    """Draw patients."""
    return Patients(
        np.clip(np.exp(rng.normal(np.log(0.03), 1, n)), 0.001, 0.4),
        rng.normal(0, 0.3, n),
        rng.normal(2.5, 0.8, n),
        rng.gamma((kind.lead / kind.spread) ** 2, kind.spread**2 / kind.lead, n),
    )


def average_precision(share: NDArray, separation: NDArray) -> NDArray:
    """Compute the AP of each patient in the limit of many pixels."""
    from scipy.stats import norm

    recall = (np.arange(200) + 0.5) / 200
    false = norm.cdf(norm.ppf(recall) - separation[:, None])
    true = share[:, None] * recall
    return (true / (true + (1 - share[:, None]) * false)).mean(axis=1)


def pooled_average_precision(patients: Patients, lag: NDArray, weights: NDArray) -> NDArray:
    """Compute the AP of all pixels pooled, for each row of patient weights."""
    from scipy.stats import norm

    beyond = patients.level[:, None] - LIMITS[::-1]
    separation = (patients.separation - lag)[:, None]
    true = weights @ (patients.share[:, None] * norm.cdf(beyond + separation))
    false = weights @ ((1 - patients.share[:, None]) * norm.cdf(beyond))
    area = np.trapezoid(true / (true + false), true, axis=1)
    return area / (weights @ patients.share)


def pooled_difference(patients: Patients, weights: NDArray) -> NDArray:
    """Compute the difference of two methods in the AP of all pixels pooled."""
    return pooled_average_precision(
        patients, np.zeros_like(patients.lag), weights
    ) - pooled_average_precision(patients, patients.lag, weights)


def covered(low: NDArray, high: NDArray, truth: float) -> float:
    """Return the share of intervals that contain the truth; undefined ones do not."""
    return float(np.mean((low <= truth) & (truth <= high)))


def coverage_of_mean(
    differences: NDArray, truth: float, n_resamples: int, rng: np.random.Generator
) -> dict[str, float]:
    """Compute the coverage of intervals of a mean; differences have shape (n_trials, n).

    The bootstrap is slow and uses a tenth of the trials.
    """
    from scipy.stats import bootstrap, ttest_1samp

    t = ttest_1samp(differences, 0, axis=1).confidence_interval(LEVEL)
    coverage = {"t": covered(t.low, t.high, truth)}
    for method in ("BCa", "percentile"):
        interval = bootstrap(
            (differences[::10],),
            np.mean,
            axis=1,
            n_resamples=n_resamples,
            batch=50,
            method=method,
            confidence_level=LEVEL,
            rng=rng,
        ).confidence_interval
        coverage[method] = covered(interval.low, interval.high, truth)
    return coverage


def coverage_of_pooled(
    kind: Kind,
    truth: float,
    n: int,
    n_trials: int,
    n_resamples: int,
    rng: np.random.Generator,
) -> float:
    """Compute the coverage of the percentile bootstrap of the pooled AP difference."""
    tail = (1 - LEVEL) / 2
    ends = []
    for _ in range(n_trials):
        weights = rng.multinomial(n, np.full(n, 1 / n), size=n_resamples).astype(float)
        differences = pooled_difference(draw(rng, n, kind), weights)
        ends.append(np.quantile(differences, [tail, 1 - tail]))
    low, high = np.transpose(ends)
    return covered(low, high, truth)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--patients",
        type=positive,
        nargs="+",
        default=[2, 4, 6, 12, 16, 20],
        help="numbers",
    )
    parser.add_argument(
        "--trials",
        type=positive,
        default=20_000,
        help="number of t intervals; the bootstrap uses a tenth",
    )
    parser.add_argument(
        "--resamples", type=positive, default=1000, help="resamples of a bootstrap"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the simulation."""
    options = read_options(__name__, argv)
    from scipy.stats import skew

    from benchmarks.lib.page import Page

    text = "Synthetic patients, drawn with seed 0."
    page = Page(options, "Coverage of intervals over patients", text)
    rng = np.random.default_rng(0)
    rows, shapes = [], []
    for name in ("normal", *KINDS):
        if name == "normal":
            population = rng.normal(0.1, 0.15, POPULATION)
        else:
            patients = draw(rng, POPULATION, KINDS[name])
            first = average_precision(patients.share, patients.separation)
            second = average_precision(patients.share, patients.separation - patients.lag)
            population = first - second
            (pooled,) = pooled_difference(patients, np.ones((1, POPULATION)))
        truth = float(population.mean())
        shape = {"mean": truth, "sd": float(population.std()), "skewness": skew(population)}
        shapes.append({"differences": name} | {k: float(v) for k, v in shape.items()})
        for n in options.patients:
            drawn = rng.choice(population, (options.trials, n))
            row = {"differences": name, "patients": n}
            row |= coverage_of_mean(drawn, truth, options.resamples, rng)
            if name in KINDS:
                row["percentile, pooled AP"] = coverage_of_pooled(
                    KINDS[name], pooled, n, options.trials // 10, options.resamples, rng
                )
            rows.append(row)
    page.table("skewness", shapes, "Differences of the population")
    page.table("coverage", rows, "Coverage of 95 % intervals of the mean difference")
    page.close()
