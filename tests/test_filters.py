"""Filters within the brain, against loops over pixels."""

import numpy as np
import pytest
from scipy.ndimage import median_filter

from skadm._filters import median_in_brain, smooth_in_brain

pytestmark = pytest.mark.numerical


@pytest.fixture
def maps_and_brain():
    rng = np.random.default_rng(0)
    brain = rng.random((3, 9, 12)) < 0.7
    brain[2] = False
    return rng.normal(size=brain.shape).astype(np.float32), brain


def test_median_is_that_of_the_brain_pixels_in_the_window(maps_and_brain):
    maps, brain = maps_and_brain
    found = median_in_brain(maps, brain, 3)
    expected = np.zeros_like(maps)
    for n, row, column in np.argwhere(brain):
        window = np.s_[n, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        expected[n, row, column] = np.median(maps[window][brain[window]])
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_median_without_background_is_that_of_scipy(maps_and_brain):
    maps, _ = maps_and_brain
    found = median_in_brain(maps, np.ones(maps.shape, bool), 5)
    expected = median_filter(maps, (1, 5, 5))
    np.testing.assert_array_equal(found[:, 2:-2, 2:-2], expected[:, 2:-2, 2:-2])


def test_smoothing_keeps_a_constant_and_ignores_the_background(maps_and_brain):
    maps, brain = maps_and_brain
    constant = np.where(brain, 3, 1e6).astype(np.float32)
    np.testing.assert_allclose(smooth_in_brain(constant, brain, 1.5)[brain], 3, rtol=1e-4)
    changed = np.where(brain, maps, 7)
    np.testing.assert_array_equal(
        smooth_in_brain(maps, brain, 1.5), smooth_in_brain(changed, brain, 1.5)
    )
