"""Poolings, against loops and hand-made maps."""

import doctest
import pickle

import numpy as np
import pytest
from sklearn.base import clone

from skadm import pooling
from skadm.pooling import LargestComponent, Pooling, Quantile, TopKMean

ALL = [Quantile(), TopKMean(), LargestComponent()]
SHAPES = [(9, 7), (4, 9, 7)]


def make_map(shape, seed=0):
    """Noise, with the most anomalous values outside the brain."""
    rng = np.random.default_rng(seed)
    brain = rng.random(shape) < 0.6
    decision = rng.normal(size=shape).astype(np.float32)
    decision[~brain] -= 100
    return decision, brain


def in_brain(decision, brain):
    """Values of the brain in ascending order, by a loop."""
    values = [
        float(value)
        for value, inside in zip(decision.ravel().tolist(), brain.ravel().tolist())
        if inside
    ]
    return sorted(values)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("q", [0, 0.01, 0.3, 0.5, 1])
def test_quantile(shape, q):
    decision, brain = make_map(shape)
    values = in_brain(decision, brain)
    place = q * (len(values) - 1)
    below = int(place)
    above = min(below + 1, len(values) - 1)
    expected = values[below] + (place - below) * (values[above] - values[below])
    assert Quantile(q=q)(decision, brain) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("k", [1, 2, 10, 10_000])
def test_top_k_mean(shape, k):
    decision, brain = make_map(shape)
    values = in_brain(decision, brain)[:k]
    expected = sum(values) / len(values)
    assert TopKMean(k=k)(decision, brain) == pytest.approx(expected, rel=1e-12)


def regions(anomalous, connectivity):
    """Sizes of the connected regions, by flood fill."""
    left = set(map(tuple, np.argwhere(anomalous).tolist()))
    sizes = []
    while left:
        front, size = [left.pop()], 0
        while front:
            pixel = front.pop()
            size += 1
            near = [
                other
                for other in left
                if max(abs(a - b) for a, b in zip(pixel, other)) == 1
                and sum(a != b for a, b in zip(pixel, other)) <= connectivity
            ]
            left -= set(near)
            front += near
        sizes.append(size)
    return sizes


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("connectivity", [1, 2, 3])
def test_largest_component(shape, connectivity):
    decision, brain = make_map(shape, seed=1)
    expected = -max(regions((decision < 0) & brain, connectivity))
    assert LargestComponent(connectivity)(decision, brain) == expected


def test_largest_component_in_a_slice():
    decision = np.array(
        [
            [-1, -1, 1, 1, -9],
            [1, 1, -1, 1, -9],
            [1, 1, 0, 1, -9],
            [-1, 1, 1, 1, -9],
        ]
    )
    brain = np.ones(decision.shape, bool)
    brain[:, -1] = False  # the largest region is not in the brain
    assert LargestComponent()(decision, brain) == -2
    assert LargestComponent(connectivity=2)(decision, brain) == -3
    assert LargestComponent(connectivity=3)(decision, brain) == -3
    assert LargestComponent()(decision + 1, brain) == 0  # the threshold itself is normal


def test_largest_component_runs_through_slices():
    decision = np.ones((3, 3, 3))
    decision[0, 1, 1] = decision[1, 1, 1] = -1
    decision[2, 1, 2] = -1  # shares an edge
    brain = np.ones(decision.shape, bool)
    assert LargestComponent(connectivity=1)(decision, brain) == -2
    assert LargestComponent(connectivity=2)(decision, brain) == -3
    decision[2, 1, 2], decision[2, 2, 2] = 1, -1  # shares a corner
    assert LargestComponent(connectivity=2)(decision, brain) == -2
    assert LargestComponent(connectivity=3)(decision, brain) == -3


@pytest.mark.parametrize("pooling", ALL, ids=str)
def test_higher_is_more_normal(pooling):
    decision, brain = make_map((20, 20))
    lesion = decision.copy()
    lesion[5:12, 5:12] -= 5
    assert pooling(lesion, brain) < pooling(decision, brain)
    assert isinstance(pooling(decision, brain), float)


@pytest.mark.parametrize("pooling", ALL, ids=str)
def test_absurd_scores(pooling):
    most = np.finfo(np.float32).max
    decision = np.array([[-most, -most, most]], np.float32)
    with np.errstate(all="raise"):
        assert np.isfinite(pooling(decision, np.ones((1, 3), bool)))


@pytest.mark.parametrize("pooling", ALL, ids=str)
def test_bad_maps(pooling):
    with pytest.raises(ValueError, match="brain has no pixel"):
        pooling(np.zeros((2, 2)), np.zeros((2, 2), bool))
    with pytest.raises(ValueError, match=r"shape \(2, 2\) and brain \(2, 3\)"):
        pooling(np.zeros((2, 2)), np.ones((2, 3), bool))
    with pytest.raises(ValueError, match=r"expected equal shapes, \(H, W\)"):
        pooling(np.zeros(2), np.ones(2, bool))


@pytest.mark.parametrize(
    ("pooling", "name"),
    [
        (Quantile(q=1.5), "'q' parameter of Quantile"),
        (Quantile(q="low"), "'q' parameter of Quantile"),
        (TopKMean(k=0), "'k' parameter of TopKMean"),
        (TopKMean(k=2.5), "'k' parameter of TopKMean"),
        (LargestComponent(connectivity=4), "'connectivity' parameter of LargestComponent"),
    ],
)
def test_bad_parameters(pooling, name):
    with pytest.raises(ValueError, match=name):
        pooling.check()
    with pytest.raises(ValueError, match=name):
        pooling(np.zeros((2, 2)), np.ones((2, 2), bool))


def test_pooling_of_ones_own():
    class Mean(Pooling):
        def _pool(self, decision, brain):
            return decision[brain].mean()

    class Nothing(Pooling):
        def _pool(self, decision, brain):
            return np.nan

    decision, brain = make_map((5, 5))
    assert Mean()(decision, brain) == pytest.approx(np.mean(in_brain(decision, brain)))
    with pytest.raises(ValueError, match=r"Nothing\(\) returned nan"):
        Nothing()(decision, brain)


@pytest.mark.parametrize("pooling", ALL, ids=str)
def test_estimator(pooling):
    decision, brain = make_map((9, 7))
    for copy in (clone(pooling), pickle.loads(pickle.dumps(pooling))):
        assert copy.get_params() == pooling.get_params()
        assert copy(decision, brain) == pooling(decision, brain)


def test_examples():
    results = doctest.testmod(pooling)
    assert results.attempted > 0
    assert results.failed == 0
