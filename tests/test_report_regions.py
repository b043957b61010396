"""Regions of a report, and their pictures."""

# ruff: noqa: F401, F811 - fixtures

import itertools

import numpy as np
import pytest
from report_cases import decoded, model, report, stack
from scipy import ndimage
from sklearn.pipeline import make_pipeline

from skadm import IntensityDetector
from skadm.conformal import CandidateLesions
from skadm.data import make_phantom
from skadm.data._interfaces import Grid
from skadm.preprocessing import IntensityNormalizer
from skadm.report import examine
from skadm.report._display import PLANES, frame_of
from skadm.report._flagged import flagged_regions
from skadm.report._pictures import n_columns, sprite, window
from skadm.report._regions import describe_regions, rank_regions


@pytest.fixture
def two_regions():
    """A decision function with a strong small region, a weak large one, and their grid."""
    decision = np.ones((6, 10, 12))
    decision[1, 2:4, 2:6] = -0.5  # 8 voxels, strength 4
    decision[2, 4, 6] = -0.25  # touches it at a corner only
    decision[4, 7, 9:11] = -3.0  # 2 voxels, strength 6
    affine = np.diag([-2.0, 3.0, 4.0, 1.0])
    affine[:3, 3] = 10, -20, 5
    return decision, Grid((10, 12), affine)


def described(decision, grid, **given):
    ranking = rank_regions(decision, grid, min_ml=0)
    given = {"labels": None, "evidence": [()] * 20} | given
    brain = np.ones(decision.shape, bool)
    return describe_regions(ranking, decision - 1.5, grid, brain, **given)


def test_regions_are_ranked_by_strength(two_regions):
    decision, grid = two_regions
    first, second = described(decision, grid)
    assert (first.rank, first.n_voxels, second.rank, second.n_voxels) == (1, 2, 2, 9)
    assert first.strength == pytest.approx(6 * 0.024)  # a voxel has 24 mm³
    assert second.strength == pytest.approx(4.25 * 0.024)
    assert first.volume_ml == pytest.approx(2 * 0.024)
    assert (first.peak, second.peak) == pytest.approx(
        (4.5, 2.0)
    )  # scores are decision - 1.5


def test_regions_know_where_they_are(two_regions):
    decision, grid = two_regions
    first, second = described(decision, grid)
    # Mean index (column, row, slice) is (9.5, 7, 4).
    assert first.centroid_mm == pytest.approx((10 - 2 * 9.5, -20 + 3 * 7, 5 + 4 * 4))
    # The brain has columns 0 to 11, at 10 to -12 mm: its middle is at -1 mm.
    assert first.side == "left"
    assert second.side == "midline"
    assert first.height == pytest.approx(4 / 5)
    peaks = {(10 - 2 * column, 1.0, 21.0) for column in (9, 10)}
    assert first.peak_mm in peaks


@pytest.mark.parametrize(("n_left", "side"), [(1, "right"), (3, "both sides")])
def test_region_that_reaches_over_the_middle(two_regions, n_left, side):
    """Columns 0 to 11 are at 10 to -12 mm, and their middle at -1 mm."""
    decision = np.ones((6, 10, 12))
    decision[0, :6, :3] = -1  # 18 voxels more than 5 mm to the right
    decision[0, 0, 3:9] = -1  # 6 in the middle
    decision[0, 0, 9 : 9 + n_left] = -1  # 1 of 25 and 3 of 27 to the left
    (region,) = described(decision, two_regions[1])
    assert region.side == side


@pytest.mark.slow
def test_colours_are_spent_on_what_is_flagged(report):
    data = report.pictures.data
    assert data["low"] < data["threshold"] < data["high"]
    above = (data["high"] - data["threshold"]) / (data["high"] - data["low"])
    assert above >= 2 / 3 - 1e-6


def test_regions_know_their_overlap_with_labels(two_regions):
    decision, grid = two_regions
    labels = np.zeros(decision.shape, np.int8)
    labels[4, 7, 10:] = 1
    first, second = described(decision, grid, labels=labels)
    assert (first.overlap, second.overlap) == pytest.approx((0.5, 0.0))


def test_regions_that_are_not_listed_are_counted():
    decision = np.ones((1, 9, 50))
    decision[0, ::2, ::2] = -1.0  # 125 pixels apart from each other
    decision[0, 4, 10:13] = -5.0  # one region of three voxels and what touches it
    ranking = rank_regions(decision, Grid((9, 50), np.eye(4)), min_ml=0)
    assert ranking.n_regions == np.unique(ranking.regions).size - 1
    assert ranking.n_regions > 20
    assert np.unique(ranking.numbers).tolist() == [*range(21), 255]
    assert (ranking.numbers[0, 4, 10:13] == 1).all()
    np.testing.assert_array_equal(ranking.numbers > 0, decision < 0)


def test_small_regions_are_counted_and_not_listed(two_regions):
    decision, grid = two_regions
    ranking = rank_regions(decision, grid, min_ml=9 * 0.024)  # just the larger one
    assert (ranking.n_regions, ranking.n_small) == (1, 1)
    assert (ranking.numbers == 1).sum() == 9
    assert (ranking.numbers[4, 7, 9:11] == 255).all()
    assert not ranking.regions[4].any()
    assert rank_regions(decision, grid, min_ml=0.22).n_small == 2


def blobs(voxel_size, saddle):
    """Two balls of 8 mm radius, 4 and 3 high, that a way of this height joins."""
    z, y, x = (np.arange(round(60 / mm)) * mm for mm in voxel_size)
    z, y, x = z[:, None, None], y[None, :, None], x[None, None, :]

    def ball(centre, peak):
        far = np.sqrt((z - 30) ** 2 + (y - 30) ** 2 + (x - centre) ** 2)
        return np.where(far <= 8, peak, 0.0)

    way = (np.abs(z - 30) <= 8) & (np.abs(y - 30) <= 8) & (x > 15) & (x < 45)
    return np.maximum(np.maximum(ball(14, 4.0), ball(46, 3.0)), np.where(way, saddle, 0.0))


@pytest.mark.parametrize("voxel_size", [(2, 2, 2), (6, 1, 1.5), (1, 2, 3)])
@pytest.mark.parametrize(("saddle", "n"), [(0.6, 2), (2.8, 1)])
def test_regions_are_split_where_the_anomaly_sinks(voxel_size, saddle, n):
    """To 0.2 of the lower peak, and to more than 0.9 of it."""
    height = blobs(voxel_size, saddle)
    regions = flagged_regions(height, voxel_size)
    assert regions.max() == n
    np.testing.assert_array_equal(regions > 0, height > 0)
    columns = np.array([14, 46]) / voxel_size[2]
    z, y = round(30 / voxel_size[0]), round(30 / voxel_size[1])
    at = regions[z, y, np.rint(columns).astype(int)]
    assert (at[0] != at[1]) == (n == 2)
    # What a share of the peaks is does not depend on the unit of the anomaly.
    np.testing.assert_array_equal(flagged_regions(1e-3 * height, voxel_size), regions)


def test_every_component_has_a_region():
    rng = np.random.default_rng(0)
    height = np.where(rng.random((6, 20, 20)) < 0.05, rng.random((6, 20, 20)), 0)
    regions = flagged_regions(height, (3.0, 1.0, 1.0))
    components, n_components = ndimage.label(height > 0, np.ones((3, 3, 3)))
    np.testing.assert_array_equal(regions > 0, height > 0)
    # Each region is of one component.
    pairs = np.unique(np.stack([regions[regions > 0], components[regions > 0]]), axis=1)
    assert len(pairs[0]) == len(np.unique(pairs[0])) == regions.max()
    assert len(np.unique(pairs[1])) == n_components


def test_regions_know_how_deep_they_are(two_regions):
    decision, grid = two_regions
    ranking = rank_regions(decision, grid, min_ml=0)
    brain = np.zeros(decision.shape, bool)
    brain[:, 2:9, 1:11] = True
    first, second = describe_regions(
        ranking, decision, grid, brain, labels=None, evidence=[()] * 2
    )
    # Columns are 2 mm wide and rows 3 mm: columns 9 and 10 are in the last two of the brain
    # (4 mm from the middle of the one to that outside), row 3 is in the second (6 mm).
    assert (first.depth_mm, second.depth_mm) == pytest.approx((4, 9))
    assert first.front == pytest.approx((7 - 2) / 6)


def test_nothing_flagged_is_no_region():
    assert described(np.ones((2, 4, 4)), Grid((4, 4), np.eye(4))) == []


def test_p_values_are_those_of_the_strongest_candidate(two_regions):
    decision, grid = two_regions
    # Strongest candidates of normal slices of four patients: 1, 3, 5, and none.
    normal = np.ones((4, 10, 12))
    normal[0, 5, 5], normal[1, 5, 5], normal[2, 5, 5] = -1, -3, -5
    candidates = CandidateLesions(normal, ["a", "b", "c", "d"])
    assert candidates.n_groups == 4
    # Of strengths 6 and 4: none and one of four slices have as strong a candidate. The
    # voxel in the slice beside, 0.25, takes no part.
    ranking = rank_regions(decision, grid, min_ml=0, candidates=candidates)
    assert ranking.p_values == pytest.approx((1 / 5, 2 / 5))


def test_p_values_rank_before_strength(two_regions):
    """A region of many slices is strong, and none of its slices is unusual."""
    decision, grid = two_regions
    decision[:, 0, 0] = -2.0  # strength 12, 2 in each slice
    normal = np.ones((4, 10, 12))
    normal[0, 5, 5], normal[1, 5, 5] = -3, -5
    candidates = CandidateLesions(normal, ["a", "b", "c", "d"])
    ranking = rank_regions(decision, grid, min_ml=0, candidates=candidates)
    assert ranking.p_values == pytest.approx((1 / 5, 2 / 5, 3 / 5))
    assert ranking.strengths == pytest.approx([6, 4.25, 12])


# -- pictures ----------------------------------------------------------------------------


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3)))[:4])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1)])
def test_display_has_the_right_on_the_left_and_the_front_on_top(axes, signs):
    affine = np.zeros((4, 4))
    for column, (axis, sign) in enumerate(zip(axes, signs)):
        affine[axis, column] = sign * (1.0, 2.0, 3.0)[axis]
    affine[:, 3] = 7, -5, 11, 1
    brain = np.zeros((11, 12, 13), bool)
    brain[2:9, 2:10, 2:11] = True
    frame = frame_of(Grid((12, 13), affine), brain)
    assert frame.voxel_size == pytest.approx((1, 2, 3))
    corner = np.zeros(brain.shape)
    corner[3, 4, 5] = 1
    millimetres = (affine @ (5, 4, 3, 1))[:3]
    x, y, z = frame.voxel_at(millimetres)
    assert frame.show(corner)[z, y, x] == 1
    shifted = [frame.voxel_at(millimetres + 3.1 * step) for step in np.eye(3)]
    assert shifted[0][0] < x  # to the patient's right
    assert shifted[1][1] < y  # to the front
    assert shifted[2][2] > z
    coronal = PLANES[1].cut(frame.show(corner), (x, y, z))
    assert np.argwhere(coronal == 1).tolist() == [[frame.shape[2] - 1 - z, x]]


def test_only_long_axes_are_thinned_out():
    brain = np.ones((3, 20, 600), bool)
    affine = np.diag([-0.5, -0.5, 4.0, 1.0])
    frame = frame_of(Grid((20, 600), affine), brain)
    assert frame.shape == (200, 20, 3)
    assert frame.voxel_size == pytest.approx((1.5, 0.5, 4))
    columns = np.broadcast_to(np.arange(600), brain.shape)
    x, y, z = frame.voxel_at(affine[:3] @ (300, 7, 1, 1))
    assert frame.show(columns)[z, y, x] == 300


@pytest.mark.parametrize(("exact", "tolerance"), [(True, 0), (False, 12)])
def test_sprites_hold_every_slice(exact, tolerance):
    ramp = np.linspace(0, 255, 16 * 16).reshape(16, 16)
    voxels = np.stack([np.roll(ramp, 16 * i) for i in range(7)]).astype(np.uint8) // 2
    picture, columns = decoded(sprite(voxels, exact=exact)), n_columns(7)
    assert picture.shape == (3 * 16, columns * 16)
    for i, expected in enumerate(voxels):
        row, column = divmod(i, columns)
        tile = picture[row * 16 :, column * 16 :][1:15, 1:15].astype(int)
        assert np.abs(tile - expected[1:15, 1:15]).max() <= tolerance


def test_window_leaves_outliers_out():
    values = np.linspace(0, 1, 1000).reshape(10, 10, 10)
    values[5, 5, 5] = 1e6
    brain = np.ones(values.shape, bool)
    brain[0] = False
    found = window(values, brain)
    assert not found[0].any()
    assert found[1].max() < 40
    assert found[9].min() > 220


def test_planes_keep_proportions():
    """Slices of 6 mm: the coronal plane is as high as it is in mm."""
    stack = make_phantom(1, 6, 32, random_state=0)
    (volume,) = stack.volumes
    model = make_pipeline(IntensityNormalizer(), IntensityDetector()).fit(stack, stack.y)
    pictures = examine(volume, model).pictures
    shape, size = pictures.data["shape"], pictures.data["voxelSize"]
    extent = np.multiply(shape, size)
    for (name, uri), plane in zip(pictures.planes, PLANES):
        height, width = decoded(uri).shape[:2]
        assert name == plane.name
        expected = extent[plane.down] / extent[plane.across]
        assert height / width == pytest.approx(expected, rel=0.02)
