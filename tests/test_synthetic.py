"""Artificial lesions: what they change, and what they must not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skadm._brain import brain_mask
from skadm.data import make_phantom
from skadm.preprocessing import IntensityNormalizer
from skadm.synthetic import ContrastInconsistency, IntensityShift, paste_lesions
from skadm.synthetic._kinds import KINDS


@pytest.fixture(scope="module")
def normal():
    """Normal slices, one of them with hardly any brain, and one without."""
    made = make_phantom(n_patients=2, n_slices=10, size=48, random_state=0)
    X, y = IntensityNormalizer().fit_transform(made).load()
    X = X[~(y == 1).any(axis=(1, 2))]
    small = np.zeros_like(X[:2])
    small[0, :, 10:14, 10:14] = 1.0
    return np.concatenate([X, small])


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31))
@pytest.mark.slow
def test_labels_tell_what_changed(normal, name, seed):
    before = normal.copy()
    X, y = paste_lesions(normal, KINDS[name], random_state=seed)
    np.testing.assert_array_equal(normal, before)
    assert (X.dtype, y.dtype) == (np.float32, np.int8)
    brain = brain_mask(normal)
    np.testing.assert_array_equal(brain_mask(X), brain)
    assert np.isfinite(X).all()
    assert (y[~brain] == -1).all()
    change = np.abs(X - normal)
    assert not change.max(axis=1)[y == 0].any()
    for number in np.flatnonzero((y == 1).any(axis=(1, 2))):
        spread = normal[number][:, brain[number]].std(axis=1)[:, None, None]
        largest = (change[number] / spread).max(axis=0)
        assert largest[y[number] == 1].min() >= 0.2 - 1e-5
        assert largest[(y[number] == -1) & brain[number]].max(initial=0) < 0.2
        # A lesion is one place, not the whole brain.
        assert (y[number] == 1).sum() < 0.4 * brain[number].sum()
    # Too little brain: as it was.
    np.testing.assert_array_equal(X[-2:], normal[-2:])


@pytest.mark.parametrize("name", KINDS)
def test_most_slices_get_a_lesion(normal, name):
    _, y = paste_lesions(normal, KINDS[name], random_state=0)
    large = brain_mask(normal).sum(axis=(1, 2)) >= 100
    assert (y[large] == 1).any(axis=(1, 2)).mean() > 0.8


def test_seed_decides_and_slices_do_not_disturb_each_other(normal):
    kind = IntensityShift()
    first, again, other = (
        paste_lesions(normal, kind, random_state=seed)[0] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    fewer, _ = paste_lesions(normal[:5], kind, random_state=0)
    np.testing.assert_array_equal(fewer, first[:5])


def test_shifts_have_no_preferred_direction(normal):
    slices = np.repeat(normal[2:6], 30, axis=0)
    X, y = paste_lesions(slices, IntensityShift(), random_state=0)
    means = [
        (after - before)[k][inside].mean()
        for after, before, inside in zip(X, slices, y == 1)
        if inside.any()
        for k in range(len(after))
        if np.abs(after - before)[k][inside].max() > 0.2
    ]
    assert 0.4 < np.mean(np.array(means) > 0) < 0.6


def test_some_contrasts_stay_where_they_disagree(normal):
    X, y = paste_lesions(normal, ContrastInconsistency(), random_state=0)
    for after, before, labels in zip(X, normal, y):
        if (labels == 1).any():
            changed = (after != before).any(axis=(1, 2))
            assert 1 <= changed.sum() < len(changed)
    with pytest.raises(ValueError, match="expects 2 or more"):
        paste_lesions(normal[:, :1], ContrastInconsistency())


def test_sizes_are_relative_to_the_brain(normal):
    small, large = (
        (paste_lesions(normal, IntensityShift((2, 2)), radius=radius, random_state=0)[1])
        for radius in ((0.12, 0.12), (0.25, 0.25))
    )
    brain = brain_mask(normal).sum(axis=(1, 2))
    chosen = (small == 1).any(axis=(1, 2)) & (brain > 500)
    for y, radius in ((small, 0.12), (large, 0.25)):
        share = (y[chosen] == 1).sum(axis=(1, 2)) / brain[chosen]
        # A disk, lumpy, and cut off where it meets the border.
        assert 0.3 * np.pi * radius**2 < np.median(share) < 1.6 * np.pi * radius**2
