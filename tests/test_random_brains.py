"""Random brains: anatomy, sequences and corruptions, against independent computations."""

import numpy as np
import pytest
from scipy import ndimage

from skadm.data import make_random_brains
from skadm.data._corruptions import coarsen, coarsening, corrupt, cut
from skadm.data._sequences import SEQUENCES, Tissues, _flair, _spin_echo, draw_sequence
from skadm.data._tissue import Variation, build_anatomy

FLUID, CORTEX, WHITE = 0, 1, 4
SMALL = {"n_slices": 4, "size": 32}


def signals_of(name, n_draws=200):
    """Signals of fluid, cortex and white matter under many drawn sequences."""
    rng = np.random.default_rng(0)
    drawn = [draw_sequence(rng, name, Tissues(rng), 0.05) for _ in range(n_draws)]
    return np.array(drawn)[:, [FLUID, CORTEX, WHITE]].T


# -- stacks -------------------------------------------------------------------------------


@pytest.mark.slow
def test_shape_names_and_background():
    stack = make_random_brains(3, **SMALL, contrasts=["T1", "ADC"], random_state=0)
    assert stack.shape == (12, 2, 32, 32)
    assert stack.contrasts == ("T1", "ADC")
    assert not stack.has_labels
    X = stack.X
    assert np.isfinite(X).all()
    assert (X >= 0).all()
    assert 0.1 < (X != 0).any(axis=1).mean() < 0.8


@pytest.mark.slow
def test_brains_are_drawn_by_the_seed_patient_by_patient():
    first = make_random_brains(3, **SMALL, random_state=5).X
    fewer = make_random_brains(2, **SMALL, random_state=5).X
    np.testing.assert_array_equal(first[:8], fewer)
    assert not np.array_equal(first[:4], first[4:8])
    other = make_random_brains(2, **SMALL, random_state=6).X
    assert not np.array_equal(fewer, other)


@pytest.mark.slow
def test_a_contrast_is_the_same_without_the_others():
    every = make_random_brains(2, **SMALL, random_state=1)
    alone = make_random_brains(2, **SMALL, contrasts="FLAIR", random_state=1)
    place = every.contrasts.index("FLAIR")
    np.testing.assert_array_equal(every.X[:, place], alone.X[:, 0])


def test_unknown_contrasts_are_refused():
    with pytest.raises(ValueError, match="contrasts is .*SWI"):
        make_random_brains(1, contrasts=["T1", "SWI"])


# -- anatomy ------------------------------------------------------------------------------


@pytest.mark.parametrize(("margin", "sign"), [(3.0, 1), (-3.0, -1)])
@pytest.mark.slow
def test_masks_reach_too_far_or_not_far_enough(margin, sign):
    masks = [
        build_anatomy(np.random.default_rng(0), 6, 48, [], Variation(margin=each)).brain
        for each in (0.0, margin)
    ]
    exact, wrong = masks if sign > 0 else masks[::-1]
    assert (exact <= wrong).all()
    assert wrong.sum() > 1.1 * exact.sum()


def test_thick_slices_average_the_tissue_maps():
    from skadm.data._tissue import load_template

    thin, thick = load_template(), load_template(4)
    by_hand = np.mean([thin.grey[..., 30 + k] for k in (-2, -1, 0, 1)], axis=0)
    np.testing.assert_allclose(thick.grey[..., 30], by_hand, atol=1e-6)


def test_field_of_view_sets_the_size_of_a_pixel():
    near, far = (
        build_anatomy(np.random.default_rng(0), 6, 64, [], Variation(field_of_view=view))
        for view in ((200.0, 200.0), (240.0, 200.0))
    )
    assert near.spacing[1:] == (200 / 64, 200 / 64)
    assert far.spacing[1:] == (240 / 64, 200 / 64)
    heights = [np.ptp(np.flatnonzero(a.brain.any(axis=(0, 2)))) for a in (near, far)]
    assert heights[1] == pytest.approx(heights[0] / 1.2, abs=2)


# -- sequences ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("T1", (FLUID, CORTEX, WHITE)),
        ("T1ce", (FLUID, CORTEX, WHITE)),
        ("T2", (WHITE, CORTEX, FLUID)),
        ("FLAIR", (FLUID, WHITE, CORTEX)),
        ("DWI", (FLUID, WHITE, CORTEX)),
        ("ADC", (WHITE, CORTEX, FLUID)),
    ],
)
def test_tissues_mostly_keep_their_order(name, order):
    found = dict(zip((FLUID, CORTEX, WHITE), signals_of(name)))
    darkest, middle, brightest = (found[tissue] for tissue in order)
    assert np.mean(darkest < np.maximum(middle, brightest)) > 0.97
    assert np.mean(middle < brightest) > 0.75


def test_spin_echo_is_that_of_bloch():
    tissues = Tissues(np.random.default_rng(0))
    found = _spin_echo(tissues.t1, tissues, 500.0, 15.0)
    for k in range(8):
        # Recovery by small steps of time from saturation, then decay.
        magnetisation, step = 0.0, 0.01
        for _ in range(int(500 / step)):
            magnetisation += step * (1 - magnetisation) / tissues.t1[k]
        expected = tissues.density[k] * magnetisation * np.exp(-15 / tissues.t2[k])
        assert found[k] == pytest.approx(expected, rel=1e-3)


def test_fluid_is_suppressed_on_flair_but_not_always():
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(300):
        signal = _flair(rng, Tissues(rng))
        shares.append(signal[FLUID] / signal[CORTEX])
    assert np.median(shares) < 0.6
    assert np.quantile(shares, 0.05) < 0.1
    assert np.quantile(shares, 0.95) > 0.4


def test_signals_are_scaled_to_1():
    for name in SEQUENCES:
        rng = np.random.default_rng(3)
        signals = draw_sequence(rng, name, Tissues(rng), 0.1)
        assert signals.shape == (8,)
        assert signals.max() == 1
        assert signals.min() >= 0


# -- corruptions --------------------------------------------------------------------------


def test_coarse_pixels_are_means_of_fine_ones():
    weights = coarsening(12, 3.0)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    values = np.random.default_rng(0).normal(size=12)
    means = values.reshape(4, 3).mean(axis=1)
    expected = np.interp(np.arange(12) + 0.5, np.arange(4) * 3 + 1.5, means)
    np.testing.assert_allclose(weights @ values, expected, atol=1e-6)
    np.testing.assert_array_equal(coarsening(12, 1.0), np.eye(12))


def test_coarse_brain_is_not_darkened_by_the_background():
    brain = ndimage.binary_dilation(np.eye(20)[None] > 0, iterations=4)
    volume = np.where(brain, 7.0, 0.0).astype(np.float32)
    coarse = coarsen(volume, brain, 2.5, 1.7)
    np.testing.assert_allclose(coarse[brain], 7, rtol=1e-5)
    assert (coarse[~brain] == 0).all()


def test_a_cut_leaves_one_side_out():
    brain = np.zeros((10, 20, 20), bool)
    brain[1:9, 3:17, 4:16] = True
    volume = brain.astype(np.float32)
    rng = np.random.default_rng(0)
    for _ in range(20):
        lost = (cut(rng, volume, brain) == 0) & brain
        extents = [np.flatnonzero(lost.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
        whole = [8, 14, 12]
        narrow = [len(e) < w for e, w in zip(extents, whole)]
        assert sum(narrow) == 1  # along one axis, all of the others
        assert 0 < lost.sum() <= 0.31 * brain.sum() + 14 * 12


def test_corrupted_background_stays_background():
    rng = np.random.default_rng(1)
    brain = np.zeros((4, 24, 24), bool)
    brain[:, 4:20, 6:18] = True
    volume = np.where(brain, rng.uniform(0.5, 1, brain.shape), 0).astype(np.float32)
    changed = 0
    for _ in range(40):
        faulty = corrupt(rng, volume, brain)
        assert faulty.dtype == np.float32
        assert (faulty[~brain] == 0).all()
        assert np.isfinite(faulty).all()
        changed += not np.array_equal(faulty, volume)
    assert 10 < changed < 35
