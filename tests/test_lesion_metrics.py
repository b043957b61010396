"""Lesions, regions and operating points against brute force and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label
from skimage.measure import label as skimage_label
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import f1_score, roc_curve

from benchmarks.lib.measures import dice_at_fpr, lesion_sensitivities
from skadm.metrics import (
    lesion_froc_curve,
    lesions_at_threshold,
    pixel_aupro_score,
    pixel_fpr_at_tpr_score,
    pixel_roc_auc_score,
)
from skadm.metrics._lesion_detection import count_hits


def draw(seed, n_slices=6, side=12, decimals=1):
    """Random labels with some background, and scores with many ties."""
    rng = np.random.default_rng(seed)
    y = (rng.uniform(size=(n_slices, side, side)) < 0.15).astype(np.int8)
    y[rng.uniform(size=y.shape) < 0.1] = -1
    y[0][y[0] == 1] = 0  # a normal slice
    y[1, 2:5, 2:5] = 1
    y[1, 8, 8] = 0
    scores = np.round(rng.normal(size=y.shape) - 0.7 * (y == 1), decimals)
    groups = np.repeat(["a", "b"], [n_slices // 2, n_slices - n_slices // 2])
    return y, scores, groups


def brute_counts(y, scores, groups, threshold, min_size=1, min_overlap=0.2):
    """Lesions found and false alarms, component by component, with scikit-image."""
    n_lesions = n_found = n_false = 0
    for patient in np.unique(groups):
        own, values = y[groups == patient], scores[groups == patient]
        flagged = (values < threshold) & (own >= 0)
        detections = skimage_label(flagged, connectivity=3)
        masks = [detections == i for i in range(1, detections.max() + 1)]
        masks = [mask for mask in masks if mask.sum() >= min_size]
        hits = [
            mask
            for mask in masks
            if (own[mask] == 1).any() and (own[mask] == 1).mean() >= min_overlap
        ]
        lesions = skimage_label(own == 1, connectivity=3)
        for i in range(1, lesions.max() + 1):
            n_lesions += 1
            n_found += any((mask & (lesions == i)).any() for mask in hits)
        n_false += len(masks) - len(hits)
    return n_lesions, n_found, n_false, len(np.unique(groups))


@pytest.mark.parametrize("min_overlap", [0.0, 0.2, 0.6])
@pytest.mark.parametrize("min_size", [1, 3])
@pytest.mark.parametrize("threshold", [-2.0, -1.0, 0.3])
def test_lesions_at_a_threshold(threshold, min_size, min_overlap):
    y, scores, groups = draw(0)
    options = {"min_size": min_size, "min_overlap": min_overlap}
    found = lesions_at_threshold(y, scores, groups, threshold, **options)
    assert found == brute_counts(y, scores, groups, threshold, **options)
    assert found.sensitivity == pytest.approx(found.n_found / found.n_lesions)
    assert found.false_positives_per_volume == pytest.approx(found.n_false / 2)


def test_hits_are_those_of_the_regions_given():
    """As one component all are found at 2 of 9 pixels; split, one region misses."""
    regions = np.zeros((1, 3, 12), int)
    regions[0, 1, 1:10] = 4
    lesions = np.zeros(regions.shape, bool)
    lesions[0, 1, [1, 2, 11]] = True
    assert count_hits(regions, lesions) == (2, 1, 0, 1)
    regions[0, 1, 4:10] = 7
    assert count_hits(regions, lesions) == (2, 1, 1, 1)
    assert count_hits(0 * regions, lesions) == (2, 0, 0, 1)


def test_froc_curve_and_the_sensitivity_it_allows():
    y, scores, groups = draw(1)
    false, sensitivity, thresholds = lesion_froc_curve(y, scores, groups, max_points=15)
    assert (np.diff(thresholds) > 0).all()
    for triple in zip(false, sensitivity, thresholds):
        n_lesions, n_found, n_false, n_volumes = brute_counts(y, scores, groups, triple[2])
        assert triple[:2] == pytest.approx((n_false / n_volumes, n_found / n_lesions))
    most = (0, 1, 5, 1000)
    allowed = [sensitivity[false <= number] for number in most]
    expected = [values.max() if values.size else 0 for values in allowed]
    assert lesion_sensitivities(y, scores, groups, most, max_points=15) == expected


def test_flagging_everything_finds_nothing():
    y = np.zeros((3, 9, 9), np.int8)
    y[1, 4, 4] = 1
    found = lesions_at_threshold(y, np.zeros(y.shape), ["a"] * 3, 1.0)
    assert (found.n_found, found.n_false) == (0, 1)
    assert lesions_at_threshold(y, np.zeros(y.shape), ["a"] * 3, 1.0, min_overlap=0).n_found


def test_slices_of_two_patients_do_not_touch():
    y = np.zeros((2, 5, 5), np.int8)
    y[:, 2, 2] = 1
    scores = np.where(y == 1, -1.0, 1.0)
    assert lesions_at_threshold(y, scores, ["a", "a"], 0).n_lesions == 1
    assert lesions_at_threshold(y, scores, ["a", "b"], 0).n_lesions == 2


def sklearn_aupro(y, scores, groups, max_fpr):
    """The curve of scikit-learn, each pixel of a lesion weighted; area by trapezoids."""
    weights = np.zeros(y.shape)
    n_regions = 0
    parts = (
        [[i] for i in range(len(y))]
        if groups is None
        else [np.flatnonzero(groups == name) for name in np.unique(groups)]
    )
    for part in parts:
        regions, n_own = label(y[part] == 1, np.ones((3, 3, 3)))
        own = np.zeros(regions.shape)
        for i in range(1, n_own + 1):
            own[regions == i] = 1 / (regions == i).sum()
        weights[part] = own
        n_regions += n_own
    weights[y == 0] = 1
    kept = y >= 0
    fpr, tpr, _ = roc_curve(
        y[kept], -scores[kept], sample_weight=weights[kept], drop_intermediate=False
    )
    end = np.interp(max_fpr, fpr, tpr)
    inside = fpr < max_fpr
    return (
        np.trapezoid(np.append(tpr[inside], end), np.append(fpr[inside], max_fpr)) / max_fpr
    )


@pytest.mark.parametrize("max_fpr", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("volumes", [False, True])
@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_aupro_is_a_weighted_partial_area(max_fpr, volumes, decimals):
    y, scores, groups = draw(2, decimals=decimals)
    groups = groups if volumes else None
    found = pixel_aupro_score(y, scores, groups, max_fpr=max_fpr)
    assert found == pytest.approx(sklearn_aupro(y, scores, groups, max_fpr), abs=1e-12)


def test_aupro_of_one_lesion_is_the_auc():
    rng = np.random.default_rng(3)
    y = np.zeros((1, 9, 9), np.int8)
    y[0, 2:5, 3:7] = 1
    scores = np.round(rng.normal(size=y.shape), 1)
    expected = pixel_roc_auc_score(y, scores)
    assert pixel_aupro_score(y, scores, max_fpr=1.0) == pytest.approx(expected)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.05, 0.5, 0.95, 1.0]))
def test_fpr_at_tpr_is_the_first_point_of_the_curve(seed, tpr):
    y, scores, _ = draw(seed)
    fpr, tprs, _ = roc_curve(y[y >= 0], -scores[y >= 0], drop_intermediate=False)
    expected = fpr[tprs >= tpr - 1e-9][0]
    assert pixel_fpr_at_tpr_score(y, scores, tpr=tpr) == pytest.approx(expected)


@pytest.mark.parametrize("fpr", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("decimals", [0, 8])
def test_dice_at_fpr_tries_all_thresholds(fpr, decimals):
    y, scores, _ = draw(4, decimals=decimals)
    on_normal = scores[0][y[0] == 0]
    kept = y >= 0
    allowed = [t for t in np.unique(scores[kept]) if (on_normal < t).mean() <= fpr + 1e-12]
    highest = max(t for t in allowed if t in on_normal)
    expected = f1_score(y[kept] == 1, scores[kept] < highest)
    assert dice_at_fpr(y, scores, fpr) == pytest.approx(expected)


def test_undefined_metrics_and_invalid_input():
    y, scores, groups = draw(5)
    normal = np.where(y == 1, 0, y)
    for metric in (pixel_aupro_score, pixel_fpr_at_tpr_score):
        with pytest.warns(UndefinedMetricWarning):
            assert np.isnan(metric(normal, scores))
    with pytest.raises(ValueError, match="no lesion"):
        lesion_froc_curve(normal, scores, groups)
    with pytest.raises(ValueError, match="holds an anomaly"):
        dice_at_fpr(y[1:], scores[1:], 0.05)
    with pytest.raises(ValueError, match="max_fpr is 0"):
        pixel_aupro_score(y, scores, max_fpr=0)
    with pytest.raises(ValueError, match="tpr is 2"):
        pixel_fpr_at_tpr_score(y, scores, tpr=2)
    with pytest.raises(ValueError, match="one patient for each slice"):
        pixel_aupro_score(y, scores, groups[1:])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        lesions_at_threshold(y, scores, groups[1:], 0)
    scores[2, 3, 3] = np.nan
    y[2, 3, 3] = 0
    with pytest.raises(ValueError, match="non-finite"):
        lesions_at_threshold(y, scores, groups, 0)
