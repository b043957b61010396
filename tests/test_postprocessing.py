"""Filters of maps against SciPy and brute force; the detector that carries them along."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt, gaussian_filter, label, median_filter
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline

from skadm import IntensityDetector, PCADetector, PostprocessedDetector, SliceDetector
from skadm.data import make_phantom
from skadm.metrics import pixel_roc_auc_score
from skadm.model_selection import set_offset_by_f1
from skadm.postprocessing import (
    BorderEroder,
    GaussianSmoother,
    MedianFilter,
    SmallComponentRemover,
)
from skadm.preprocessing import IntensityNormalizer

GROUPS = np.array(["a", "a", "a", "b", "b"])


def draw(seed=0, dtype=np.float64):
    """Maps of a ragged brain, two patients."""
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(5, 16, 14)).astype(dtype)
    rows, columns = np.ogrid[:16, :14]
    ball = (rows - 8) ** 2 / 49 + (columns - 7) ** 2 / 36 < 1
    brain = ball & (rng.uniform(size=maps.shape) < 0.9)
    return maps, brain


FILTERS = [
    GaussianSmoother(1.2, sigma_through=0.7),
    MedianFilter(3, size_through=3),
    BorderEroder(1.5),
    SmallComponentRemover(4, through_slices=True),
]


@pytest.mark.parametrize("each", FILTERS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_background_input_and_patients_are_left_alone(each, dtype):
    maps, brain = draw(dtype=dtype)
    maps[~brain] = np.nan  # must not even be looked at
    before = maps.copy()
    fitted = clone(each).fit(maps, brain=brain, groups=GROUPS)
    out = fitted.transform(maps, brain=brain, groups=GROUPS)
    assert out.dtype == dtype
    np.testing.assert_array_equal(maps, before)
    assert np.isnan(out[~brain]).all()
    assert np.isfinite(out[brain]).all()
    # Another patient's slices change nothing, wherever they stand.
    maps[3:][brain[3:]] += 100
    again = fitted.transform(maps, brain=brain, groups=GROUPS)
    np.testing.assert_array_equal(again[:3], out[:3])
    order = [3, 0, 1, 4, 2]
    mixed = fitted.transform(maps[order], brain=brain[order], groups=GROUPS[order])
    np.testing.assert_array_equal(mixed, again[order])


def test_gaussian_is_that_of_scipy_without_a_border():
    maps, _ = draw()
    groups = ["a"] * 5
    found = GaussianSmoother(1.0, sigma_through=0.5)
    found = found.fit(maps, groups=groups).transform(maps, groups=groups)
    np.testing.assert_allclose(found, gaussian_filter(maps, (0.5, 1, 1)), atol=1e-12)


def test_gaussian_weights_brain_pixels_alone():
    maps, brain = draw()
    out = GaussianSmoother(1.5).fit(maps, brain=brain).transform(maps, brain=brain)
    z, row, column = 2, 5, 4
    assert brain[z, row, column]
    rows, columns = np.nonzero(brain[z])
    distance = (rows - row) ** 2 + (columns - column) ** 2
    weights = np.exp(-distance / (2 * 1.5**2))
    weights[(abs(rows - row) > 6) | (abs(columns - column) > 6)] = 0  # SciPy's truncation
    # Reflection at the slice's edge does not reach the brain here.
    expected = weights @ maps[z][rows, columns] / weights.sum()
    assert out[z, row, column] == pytest.approx(expected, rel=0.02)
    constant = np.full_like(maps, 3.0)
    smoothed = GaussianSmoother(2.0).fit(maps).transform(constant, brain=brain)
    np.testing.assert_allclose(smoothed, 3.0)


def test_median_is_that_of_scipy_inside():
    maps, _ = draw()
    groups = ["a"] * 5
    found = MedianFilter(3, size_through=3).fit(maps, groups=groups)
    found = found.transform(maps, groups=groups)
    inside = (slice(1, -1),) * 3
    np.testing.assert_array_equal(found[inside], median_filter(maps, 3)[inside])


def test_median_at_a_ragged_border():
    maps, brain = draw()
    found = MedianFilter(3, size_through=3).fit(maps, brain=brain, groups=GROUPS)
    found = found.transform(maps, brain=brain, groups=GROUPS)
    for z, row, column in np.argwhere(brain)[::17]:
        window = [
            maps[k, i, j]
            for k in range(5)
            for i in range(16)
            for j in range(14)
            if GROUPS[k] == GROUPS[z] and brain[k, i, j]
            if max(abs(k - z), abs(i - row), abs(j - column)) <= 1
        ]
        assert found[z, row, column] == pytest.approx(np.median(window))


def test_border_is_as_normal_as_anything():
    maps, brain = draw()
    fitted = BorderEroder(2.0).fit(maps, brain=brain)
    assert fitted.fill_ == maps[brain].max()
    other = maps - 5
    out = fitted.transform(other, brain=brain)
    depth = np.stack([distance_transform_edt(np.pad(own, 1))[1:-1, 1:-1] for own in brain])
    rim = brain & (depth <= 2)
    assert 0 < rim.sum() < brain.sum()
    assert (out[rim] == fitted.fill_).all()
    np.testing.assert_array_equal(out[~rim], other[~rim])


def flagged_components(maps, brain, threshold, min_size, through):
    """Flagged pixels in components that are large enough, by brute force."""
    flagged = (maps < threshold) & brain
    kept = np.zeros_like(flagged)
    structure = np.zeros((3, 3, 3), bool)
    structure[1, 1] = structure[1, :, 1] = True
    structure[:, 1, 1] = through
    regions, n_regions = label(flagged, structure)
    for i in range(1, n_regions + 1):
        kept |= (regions == i) & ((regions == i).sum() >= min_size)
    return kept


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 12), st.booleans(), st.sampled_from([0, 1, 9]))
def test_no_small_component_at_any_threshold(seed, min_size, through, decimals):
    maps, brain = draw(seed)
    maps = np.round(maps, decimals)
    groups = ["a"] * 5
    each = SmallComponentRemover(min_size, through_slices=through)
    out = each.fit(maps, groups=groups).transform(maps, brain=brain, groups=groups)
    levels = np.unique(maps[brain])
    for threshold in levels[:: max(1, len(levels) // 8)]:
        expected = flagged_components(maps, brain, threshold, min_size, through)
        np.testing.assert_array_equal((out < threshold) & brain, expected)


@pytest.mark.parametrize("each", FILTERS[1:], ids=str)
def test_ranks_alone_matter(each):
    maps, brain = draw()
    brain[0, 0, 0] = False
    known = {"brain": brain, "groups": GROUPS}
    if isinstance(each, MedianFilter):  # of an even number, the mean of two
        known["brain"] = np.ones_like(brain)
        maps, each = maps[:, 1:-1, 1:-1], MedianFilter(1)
        known["brain"] = known["brain"][:, 1:-1, 1:-1]
    out = clone(each).fit(maps, **known).transform(maps, **known)
    warped = clone(each).fit(np.exp(maps), **known).transform(np.exp(maps), **known)
    inside = known["brain"]
    np.testing.assert_allclose(warped[inside], np.exp(out)[inside])


def test_wrong_input():
    maps, brain = draw()
    with pytest.raises(ValueError, match=r"maps have shape \(16, 14\)"):
        MedianFilter().fit(maps[0])
    with pytest.raises(ValueError, match="brain has shape"):
        MedianFilter().fit(maps, brain=brain[1:])
    with pytest.raises(ValueError, match="groups have shape"):
        MedianFilter().fit(maps, groups=["a"])
    with pytest.raises(ValueError, match="NaN or infinity"):
        MedianFilter().fit(maps / 0.0)
    with pytest.raises(ValueError, match="size=4; expected an odd number"):
        MedianFilter(4).fit(maps)
    with pytest.raises(ValueError, match="'sigma' parameter of GaussianSmoother"):
        GaussianSmoother(-1).fit(maps)
    for each in (FILTERS[0], FILTERS[1], FILTERS[3]):
        with pytest.raises(ValueError, match="the (patients|volumes) are unknown"):
            clone(each).fit(maps)


# -- the detector -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stack():
    made = make_phantom(n_patients=4, n_slices=8, size=32, random_state=0)
    return IntensityNormalizer().fit_transform(made)


@pytest.mark.slow
def test_scores_are_the_filtered_scores(stack):
    each = GaussianSmoother(1.0, sigma_through=1.0)
    detector = PostprocessedDetector(PCADetector(random_state=0), each)
    detector.fit(stack, stack.y)
    plain = PCADetector(random_state=0).fit(stack, stack.y)
    brain = stack.y >= 0
    known = {"brain": brain, "groups": stack.groups}
    expected = clone(each).fit(plain.score_samples(stack), **known)
    expected = expected.transform(plain.score_samples(stack), **known)
    scores = detector.score_samples(stack)
    np.testing.assert_array_equal(scores[brain], expected[brain])
    assert (scores[~brain] == detector.background_score_).all()
    labels = detector.predict(stack)
    np.testing.assert_array_equal(labels == -1, (scores < detector.offset_) & brain)
    auc = pixel_roc_auc_score(stack.y, scores)
    assert detector.score(stack, stack.y) == pytest.approx(auc)
    assert detector.n_features_in_ == len(stack.contrasts)
    copy = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(copy.score_samples(stack), scores)


@pytest.mark.slow
def test_abnormal_slices_are_not_learned_from(stack):
    normal = ~(stack.y == 1).any(axis=(1, 2))
    detector = PostprocessedDetector(
        PCADetector(random_state=0), [("m", MedianFilter(3)), ("e", BorderEroder(2))]
    )
    with_masks = clone(detector).fit(stack, stack.y)
    without = clone(detector).fit(stack[normal])
    assert with_masks.offset_ == without.offset_
    assert with_masks.filters_[1].fill_ == without.filters_[1].fill_


def test_a_trained_detector_stays_as_it_is(stack):
    trained = PCADetector(random_state=0).fit(stack, stack.y)
    before = trained.score_samples(stack)
    detector = PostprocessedDetector(FrozenEstimator(trained), MedianFilter(3))
    detector.fit(stack[:10], stack.y[:10])
    assert detector.detector_.estimator is trained
    np.testing.assert_array_equal(trained.score_samples(stack), before)


@pytest.mark.slow
def test_searches_pipelines_and_the_other_levels(stack):
    single = PostprocessedDetector(IntensityDetector(), GaussianSmoother())
    search = GridSearchCV(
        single, {"postprocessing__sigma": [0.0, 2.0]}, cv=GroupKFold(2), error_score="raise"
    ).fit(stack, stack.y, groups=stack.groups)
    assert len(set(search.cv_results_["mean_test_score"])) == 2
    several = PostprocessedDetector(IntensityDetector(), [("g", GaussianSmoother())])
    assert clone(several).set_params(g__sigma=5.0).postprocessing[0][1].sigma == 5.0
    pipeline = make_pipeline(IntensityNormalizer(), several).fit(stack, stack.y)
    set_offset_by_f1(pipeline, stack, stack.y)
    assert pipeline[-1].offset_ != several.set_params().contamination
    by_slice = SliceDetector(single).fit(stack, stack.y)
    assert by_slice.score_samples(stack).shape == (len(stack),)


def test_wrong_postprocessing(stack):
    with pytest.raises(ValueError, match="expected \\(name, filter\\) pairs"):
        PostprocessedDetector(IntensityDetector(), [MedianFilter()]).fit(stack)
    with pytest.raises(ValueError, match="the (patients|volumes) are unknown"):
        PostprocessedDetector(IntensityDetector(), FILTERS[0]).fit(stack.X)
