"""Reports: regions, pictures, pages, the command, and the pages in a browser."""

import base64
import io
import itertools
import math
import re
import shutil
import sys
import warnings
from html.parser import HTMLParser
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from sklearn.pipeline import Pipeline, make_pipeline

import skadm
from skadm import ADMDetector, ConformalDetector, IntensityDetector
from skadm._reference import IntensityShiftWarning
from skadm.cli import main
from skadm.conformal import CandidateLesions
from skadm.data import ArrayVolume, SliceStack, Volume, make_phantom
from skadm.data._interfaces import Grid
from skadm.metrics import pixel_roc_auc_score
from skadm.preprocessing import IntensityNormalizer, SliceResizer
from skadm.report import cohort_page, describe_model, examine, patient_page
from skadm.report._display import PLANES, frame_of
from skadm.report._flagged import flagged_regions
from skadm.report._pictures import n_columns, sprite, window
from skadm.report._regions import describe_regions, rank_regions
from skadm.report._viewer import Scale, make_pictures

pytest.importorskip("jinja2")
Image = pytest.importorskip("PIL.Image")

NASTY = "<img src=x onerror=alert(1)>&\"'"


@pytest.fixture(scope="module")
def stack():
    return make_phantom(3, 8, 32, lesion_fraction=1.0, random_state=0)


def fitted(stack, size, detector):
    """Preprocessing and a detector, as 'skadm fit' makes them."""
    steps = make_pipeline(IntensityNormalizer(), SliceResizer(size)).fit(stack)
    prepared = steps.transform(stack)
    return Pipeline([*steps.steps, ("detector", detector.fit(prepared, prepared.y))])


@pytest.fixture(scope="module")
def model(stack):
    """Intensity, which finds something whatever the training."""
    detector = IntensityDetector(prior={"FLAIR": 1, "T2": 1}, contamination=0.02)
    return fitted(stack, 24, detector)


@pytest.fixture(scope="module")
def adm(stack):
    detector = ADMDetector(width=2, n_blocks=0, max_epochs=1, device="cpu", random_state=0)
    return fitted(stack, 16, detector)


@pytest.fixture(scope="module")
def report(stack, model):
    return examine(stack.volumes[0], model)


# -- regions -----------------------------------------------------------------------------


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


def decoded(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))


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


# -- what is found -----------------------------------------------------------------------


def test_report_agrees_with_the_detector(stack, model, report):
    prepared = model[:-1].transform(stack[stack.groups == "phantom-000"])
    X, y = prepared.load()
    flagged = model[-1].predict(X) == -1
    voxel_ml = np.prod(prepared.voxel_sizes[0]) / 1000
    assert report.summary.flagged_ml == pytest.approx(flagged.sum() * voxel_ml)
    auc = pixel_roc_auc_score(y, model[-1].score_samples(X))
    assert report.summary.metrics["ROC AUC"] == pytest.approx(auc)
    overlap = sum(region.overlap * region.n_voxels for region in report.regions)
    if report.summary.n_regions == len(report.regions):
        assert overlap == pytest.approx((flagged & (y == 1)).sum())
    highest = -model[-1].score_samples(X).min()
    assert max(region.peak for region in report.regions) == pytest.approx(highest)


def test_regions_lie_on_their_own_picture(report):
    data = report.pictures.data
    picture, (nx, ny, _) = decoded(data["regions"]), data["shape"]
    for rank, (x, y, z) in enumerate(data["cores"], start=1):
        row, column = divmod(z, data["columns"])
        assert picture[row * ny + y, column * nx + x] == rank


def test_a_region_is_shown_where_it_is_thickest():
    """Not at its peak, a lone voxel at the end of a line that leads to a blob."""
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    anomaly = np.zeros((9, 25, 25), np.float32)
    anomaly[4, 12, 2:13] = 1.1
    anomaly[4, 12, 2] = 9.0
    anomaly[1:8, 9:16, 13:20] = 3.0
    numbers = (anomaly > 1).astype(np.uint8)
    images = np.ones((9, 1, 25, 25), np.float32)
    region = SimpleNamespace(rank=1, peak_mm=(4.0, 24.0, 8.0))
    pictures = make_pictures(
        ArrayVolume(images, None, patient="P", contrasts=("FLAIR",), affine=affine).grid,
        images,
        np.ones((9, 25, 25), bool),
        ("FLAIR",),
        anomaly=anomaly,
        numbers=numbers,
        labels=None,
        scale=Scale(0.0, 9.0, 1.0),
        regions=[region],
    )
    (core,) = pictures.data["cores"]
    place = np.array(pictures.data["affine"]) @ [*core, 1]
    assert place[:3] == pytest.approx([2 * 16, 2 * 12, 2 * 4])


def test_evidence_without_an_explanation_is_intensity(stack, model, report):
    prepared = model[:-1].transform(stack[stack.groups == "phantom-000"])
    X = prepared.load()[0]
    decision = model[-1].decision_function(X)
    grid = prepared.volumes[0].grid
    inside = rank_regions(decision, grid, min_ml=0.1).numbers == 1
    expected = {n: X[:, k][inside].mean() for k, n in enumerate(stack.contrasts)}
    order = sorted(expected, key=lambda name: -abs(expected[name]))[:3]
    assert [name for name, _ in report.regions[0].evidence] == order
    for name, value in report.regions[0].evidence:
        assert value == pytest.approx(expected[name], rel=1e-4)


def test_what_is_warned_of_is_shown(stack, model):
    X, _ = stack.volumes[0].read()
    shown = {name: X[:, k].copy() for k, name in enumerate(stack.contrasts)}
    shown["T1"][shown["T1"] != 0] = 7.0  # constant: nothing was measured
    images = np.stack(list(shown.values()), axis=1)
    volume = ArrayVolume(images, patient="<P>", contrasts=stack.contrasts)
    model.training_ = {"patients": ["<P>"]}
    try:
        with pytest.warns(IntensityShiftWarning, match="<P>: T1: found") as caught:
            report = examine(volume, model)
    finally:
        del model.training_
    assert len(caught) == 1
    page = patient_page(report, describe_model(model))
    cohort = cohort_page([report.summary], describe_model(model))
    for each in (page, cohort):
        assert "The model was trained on this patient" in each
        assert "T1: found intensities of" in each


def test_warnings_of_libraries_are_not_of_the_patient(stack, model, monkeypatch):
    decode = Volume.decode

    def reading(volume, **options):
        warnings.warn("the library is old", DeprecationWarning, stacklevel=1)
        return decode(volume, **options)

    monkeypatch.setattr(Volume, "decode", reading)
    with pytest.warns(DeprecationWarning, match="^the library is old$") as caught:
        report = examine(stack.volumes[0], model)
    assert {each.filename for each in caught} == {__file__}  # where it was warned of
    assert "the library is old" not in patient_page(report, describe_model(model))


@pytest.mark.slow
def test_evidence_of_adm_is_its_explanation(stack, adm):
    report = examine(stack.volumes[1], adm)
    prepared = adm[:-1].transform(stack[stack.groups == "phantom-001"])
    X, grid = prepared.X, prepared.volumes[0].grid
    decision = adm[-1].decision_function(X)
    inside = rank_regions(decision, grid, min_ml=0.1).numbers == 1
    explanation = adm[-1].explain(X)
    means = {name: explanation[name][inside].mean() for name in explanation.names}
    (best, value), *_ = report.regions[0].evidence
    assert best == max(means, key=means.get)
    assert value == pytest.approx(means[best], rel=1e-3)
    assert f"{best} <b>" in patient_page(report, describe_model(adm))


@pytest.mark.slow
def test_contrast_that_is_missing(stack, adm):
    """The report is of the marginal score, shows what was scanned, and says the rest."""
    images, labels = (array.copy() for array in stack.volumes[0].read())
    lost = stack.contrasts.index("FLAIR")
    images[:, lost] = np.nan
    volume = ArrayVolume(images, labels, patient="p", contrasts=stack.contrasts)
    report = examine(volume, adm)
    assert report.summary.supplied == ("FLAIR",)
    rest = tuple(name for name in stack.contrasts if name != "FLAIR")
    assert report.contrasts == rest
    shown = report.pictures.data["contrasts"]
    assert tuple(contrast["name"] for contrast in shown) == rest
    assert len({contrast["source"] for contrast in shown}) == len(rest)
    prepared = adm[:-1].transform(SliceStack.from_volumes([volume]))
    auc = pixel_roc_auc_score(prepared.y, adm[-1].score_samples(prepared.X))
    assert report.summary.metrics["ROC AUC"] == pytest.approx(auc)
    for region in report.regions:
        assert "FLAIR translation" not in dict(region.evidence)
    page = patient_page(report, [])
    assert "FLAIR missing." in page
    assert "FLAIR missing" in cohort_page([report.summary], [])
    whole = examine(stack.volumes[0], adm)
    assert whole.summary.supplied == ()
    assert " missing" not in patient_page(whole, []) + cohort_page([whole.summary], [])


@pytest.mark.slow
def test_a_calibrated_detector_gives_p_values(stack):
    detector = ConformalDetector(
        IntensityDetector(prior={"FLAIR": 1}), contamination=0.5, random_state=0
    )
    model = fitted(stack, 24, detector)
    # Of patients that neither trained nor calibrated it.
    controls = make_phantom(2, 8, 32, lesion_fraction=0, random_state=7)
    X = model[:-1].transform(controls)
    candidates = detector.candidate_lesions(X, groups=["control 1"] * 8 + ["control 2"] * 8)
    report = examine(stack.volumes[0], model, candidates)
    # The threshold is that of the calibration, and so is what is flagged.
    X = model[:-1].transform(stack[stack.groups == "phantom-000"]).X
    voxel_ml = np.prod(report.working_voxel_size) / 1000
    flagged = (detector.predict(X) == -1).sum()
    assert report.summary.flagged_ml == pytest.approx(flagged * voxel_ml)
    expected = min(each.p_value for each in candidates.find(detector.decision_function(X)))
    assert report.summary.p_value == pytest.approx(expected)
    assert "ConformalDetector" in patient_page(report, describe_model(model), "note")


def test_unlabelled_and_unremarkable(stack, model):
    images = stack.volumes[0].read()[0]
    volume = ArrayVolume(images, patient="p", contrasts=stack.contrasts)
    model = make_pipeline(*(step for _, step in model.steps))
    offset = model[-1].offset_
    try:
        model[-1].offset_ = -1e9
        report = examine(volume, model)
    finally:
        model[-1].offset_ = offset
    assert report.regions == ()
    assert report.summary.metrics is None
    page = patient_page(report, [])
    assert "No voxel is above the threshold" in page
    assert "Against the labels" not in page
    assert 'id="labelled"' not in page


def test_volume_without_brain(stack, model):
    volume = ArrayVolume(np.zeros((2, 4, 8, 8)), patient="p", contrasts=stack.contrasts)
    with pytest.raises(ValueError, match="no brain"):
        examine(volume, model)


# -- pages -------------------------------------------------------------------------------


class Page(HTMLParser):
    """Elements with their attributes, and the text outside scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self._inside = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._inside = tag

    def handle_data(self, data):
        if self._inside not in ("script", "style"):
            self.words.append(data)

    def handle_endtag(self, tag):
        self._inside = ""

    def all(self, name):
        return [attributes for tag, attributes in self.elements if tag == name]


@pytest.fixture(scope="module")
def nasty(stack, model):
    """The pages of a volume with a name that is HTML."""
    images, labels = stack.volumes[0].read()
    volume = ArrayVolume(
        images, labels, patient=NASTY, contrasts=("T1", "T1ce", "T2", "FLAIR")
    )
    report = examine(volume, model)
    settings = describe_model(model)
    return patient_page(report, settings), cohort_page([report.summary], settings)


def test_names_are_escaped(nasty):
    for text in nasty:
        page = Page(text)
        assert NASTY in "".join(page.words)
        assert not any("onerror" in attributes for _, attributes in page.elements)
    links = [link["href"] for link in Page(nasty[1]).all("a")]
    assert links == ["patients/%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E%26%22%27.html"]


def test_pages_hold_all_they_need(nasty):
    for text in nasty:
        assert not re.search(r"https?://|//[a-z]+\.|@import|url\(", text)
        page = Page(text)
        policies = [m["content"] for m in page.all("meta") if "http-equiv" in m]
        assert "default-src 'none'" in policies[0]
        sources = [a["src"] for _, a in page.elements if "src" in a]
        assert sources
        assert all(source.startswith("data:image/") for source in sources)
        assert not page.all("link")


def test_pages_speak_to_those_who_do_not_see(nasty):
    for text in nasty:
        page = Page(text)
        assert page.all("html")[0]["lang"] == "en"
        assert all(len(image["alt"]) > 10 for image in page.all("img"))
        for canvas in page.all("canvas"):
            assert canvas["role"] == "img"
            assert canvas["aria-label"]
        assert all(header["scope"] in ("row", "col") for header in page.all("th"))
        ids = [a["id"] for _, a in page.elements if "id" in a]
        assert len(ids) == len(set(ids))


def test_page_shows_what_was_found(stack, model, report):
    text = patient_page(report, describe_model(model))
    words = " ".join("".join(Page(text).words).split())
    assert "p-values are not available" in words
    rows = [row for row in Page(text).all("tr") if "data-region" in row]
    assert len(rows) == len(report.regions)
    assert f"{report.summary.metrics['ROC AUC']:.3f}" in words
    assert "IntensityNormalizer" in words or "SliceResizer" in words
    candidates = CandidateLesions(np.ones((3, 24, 24)))
    compared = examine(stack.volumes[0], model, candidates)
    assert compared.summary.p_value == pytest.approx(1 / 4)
    text = patient_page(compared, [], "chance, from normal slices.")
    assert "0.250" in text
    assert "not available" not in text


def test_cohort_is_ranked(stack, model):
    summaries = [examine(volume, model).summary for volume in stack.volumes]
    text = cohort_page(summaries, [])
    order = sorted(summaries, key=lambda summary: -summary.suspicion)
    links = [link["href"] for link in Page(text).all("a")]
    assert links == [f"patients/{summary.name}.html" for summary in order]
    values = [summary.metrics["ROC AUC"] for summary in summaries]
    assert f'<td class="n">{np.mean(values):.3f}</td>' in text
    assert f'<td class="n">{np.std(values, ddof=1):.3f}</td>' in text


def luminance(colour):
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(
        channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
    )
    return float(linear @ (0.2126, 0.7152, 0.0722))


def test_text_can_be_read_in_every_theme(nasty):
    """Contrast of 4.5 or more, as WCAG 2 asks for."""
    blocks = re.findall(r"--page: #[^}]*", nasty[0])
    themes = [dict(re.findall(r"--(\w+): (#\w{6});", block)) for block in blocks[:3]]
    assert len(themes) == 3
    assert themes[1] == themes[2]
    for theme in themes:
        for front, back in itertools.product(
            ("text", "soft", "accent"), ("page", "card", "chosen")
        ):
            light, dark = sorted((luminance(theme[front]), luminance(theme[back])))[::-1]
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (front, back)


# -- the command -------------------------------------------------------------------------


def write_table(folder, stack, name="patients.csv", names=None):
    """Write volumes as files, and a table of them."""
    folder.mkdir(exist_ok=True)
    lines = [",".join(["patient", *stack.contrasts, "mask"])]
    for number, volume in enumerate(stack.volumes):
        images, labels = volume.read()
        channels = dict(zip(stack.contrasts, images.swapaxes(0, 1)))
        channels["mask"] = (labels == 1).astype(np.float32)
        files = []
        for channel, voxels in channels.items():
            file = f"{volume.name}-{channel}.nii"
            nib.save(nib.Nifti1Image(voxels.T, volume.grid.affine), folder / file)
            files.append(file)
        patient = volume.name if names is None else names[number]
        quoted = '"' + patient.replace('"', '""') + '"'
        lines.append(",".join([quoted, *files]))
    table = folder / name
    table.write_text("\n".join(lines) + "\n")
    return table


@pytest.fixture(scope="module")
def scans(stack, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    return write_table(folder, stack, names=[NASTY.replace("/", ""), "second", "third"])


@pytest.fixture(scope="module")
def model_file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.skadm"
    model.training_ = {"patients": ["third"], "seed": 0}
    skadm.save(model, path)
    return path


@pytest.fixture(scope="module")
def written(scans, model_file, tmp_path_factory):
    """What the command writes of two patients, with a third to compare with."""
    place = tmp_path_factory.mktemp("report")
    normal = make_phantom(2, 8, 32, lesion_fraction=1.0, random_state=5)
    controls = write_table(place / "controls", normal)
    out = place / "deep" / "out"
    arguments = ["--model", model_file, "--data", scans, "--out", out]
    arguments += ["--normal", controls, "--patients", NASTY, "second"]
    before = set(place.rglob("*"))
    assert main(["report", *map(str, arguments)]) == 0
    new = {path for path in place.rglob("*") if path.is_file()} - before
    assert new == {
        out / "index.html",
        out / "regions.csv",
        out / "patients" / f"{NASTY}.html",
        out / "patients" / "second.html",
    }
    return out


def run_report(arguments, capsys):
    code = main(["report", *map(str, arguments)])
    return code, capsys.readouterr()


@pytest.mark.slow
def test_command_names_the_source_of_p_values(written):
    text = " ".join((written / "index.html").read_text().split())
    assert "From normal slices of 2 patients; the minimum possible value is 1 / 3" in text
    assert "skadm report --model" in text


def test_pages_are_small(written):
    assert (written / "patients" / "second.html").stat().st_size < 300_000


def test_nothing_is_overwritten(written, scans, model_file, capsys):
    before = (written / "index.html").read_bytes()
    arguments = ["--model", model_file, "--data", scans, "--out", written]
    arguments += ["--patients", "third"]
    code, printed = run_report(arguments, capsys)
    assert code == 1
    assert "is not empty; pass --force" in printed.err
    assert (written / "index.html").read_bytes() == before


def test_names_do_not_lead_out(stack, model_file, tmp_path, capsys):
    scans = write_table(tmp_path / "in", stack, names=["a", "../../escaped", "c"])
    out = tmp_path / "out"
    arguments = ["--model", model_file, "--data", scans, "--out", out]
    code, printed = run_report(arguments, capsys)
    assert code == 1
    assert "contains a path separator" in printed.err
    assert not out.exists()
    (tmp_path / "elsewhere").mkdir()
    out.mkdir()
    (out / "patients").symlink_to(tmp_path / "elsewhere")
    arguments += ["--patients", "a", "--force"]
    code, printed = run_report(arguments, capsys)
    assert code == 1
    assert "a link to a place outside" in printed.err
    assert not any((tmp_path / "elsewhere").iterdir())


@pytest.mark.slow
def test_least_size_of_regions_is_an_option(scans, model_file, tmp_path, capsys):
    def listed(*options):
        out = tmp_path / f"out{len(options)}{options[-1:]}"
        arguments = ["--model", model_file, "--data", scans, "--patients", "second"]
        code, printed = run_report([*arguments, "--out", out, *options], capsys)
        assert code == 0, printed.err
        rows = (out / "regions.csv").read_text().splitlines()
        page = (out / "patients" / "second.html").read_text()
        return len(rows) - 1, page

    most, page = listed("--min-region", "0")
    assert most > 0
    assert "not listed." not in page
    none, page = listed("--min-region", "2000")
    assert none == 0
    assert "smaller than 2\u202f000 ml, and not listed" in page
    arguments = ["--model", model_file, "--data", scans, "--out", tmp_path / "bad"]
    code, printed = run_report([*arguments, "--min-region", "-1"], capsys)
    assert code == 1
    assert "least size of a region is -1.0 ml; expected 0 or more" in printed.err


def test_comparison_needs_other_patients(scans, model_file, tmp_path, capsys):
    arguments = ["--model", model_file, "--data", scans, "--out", tmp_path / "out"]
    code, printed = run_report([*arguments, "--normal", scans], capsys)
    assert code == 1
    assert "expected other patients" in printed.err
    assert "1 of the patients reported are training patients (third)" in printed.err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_comparison_leaves_out_who_is_trained_on_or_reported(
    scans, model_file, tmp_path, capsys
):
    arguments = ["--model", model_file, "--data", scans, "--out", tmp_path / "out"]
    code, printed = run_report(
        [*arguments, "--normal", scans, "--patients", "second"], capsys
    )
    assert code == 0
    assert printed.err.count("scoring normal slices of") == 1
    assert f"scoring normal slices of {NASTY} (1 of 1)" in printed.err
    text = (tmp_path / "out" / "index.html").read_text()
    assert "From normal slices of 1 patient; the minimum possible value is 1 / 2" in text


@pytest.mark.slow
def test_command_says_what_was_supplied(stack, adm, tmp_path, capsys):
    scans = write_table(tmp_path / "in", stack, names=["a", "b", "c"])
    lacks_t2(scans, "phantom-001")
    model, out = tmp_path / "model.skadm", tmp_path / "out"
    adm.training_ = {"patients": ["z"]}
    skadm.save(adm, model)
    arguments = ["--model", model, "--data", scans, "--out", out]
    code, printed = run_report(arguments, capsys)
    assert code == 1
    assert "no file of contrast T2" in printed.err
    assert (
        "pass allow_missing=True when scoring (skadm score and report: --allow-missing)"
        in (printed.err)
    )
    assert not out.exists()
    code, printed = run_report([*arguments, "--allow-missing"], capsys)
    assert code == 0
    assert "b: T2 missing, supplied by translation" in printed.out
    assert printed.out.count("missing") == 1
    for patient in "abc":
        page = (out / "patients" / f"{patient}.html").read_text()
        assert ("T2 missing." in page) == (patient == "b")
    assert (out / "index.html").read_text().count("T2 missing") == 1


def lacks_t2(table, volume):
    """Empty a cell of a table of scans."""
    table.write_text(table.read_text().replace(f"{volume}-T2.nii", ""))


@pytest.mark.slow
def test_patient_that_fails_does_not_stop_the_others(stack, model_file, tmp_path, capsys):
    scans = write_table(tmp_path / "in", stack, names=["a", "<b>", "c"])
    lacks_t2(scans, "phantom-001")
    out = tmp_path / "out"
    arguments = ["--model", model_file, "--data", scans, "--out", out, "--allow-missing"]
    code, printed = run_report(arguments, capsys)
    assert code == 1
    assert "1 of 3 could not be scored: <b>: Input X contains NaN: T2" in printed.err
    pages = {path.name for path in out.rglob("*.html")}
    assert pages == {"index.html", "a.html", "c.html"}
    text = (out / "index.html").read_text()
    assert "<strong>1 could not be scored</strong>" in text
    assert "<li>&lt;b&gt;: Input X contains NaN: T2" in text
    arguments = [*arguments[:5], tmp_path / "none", "--allow-missing", "--patients", "<b>"]
    assert run_report(arguments, capsys)[0] == 1
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("name", "told"), [("PIL.Image", "Pillow"), ("jinja2", "Jinja2")])
def test_missing_libraries_are_named(
    name, told, scans, model_file, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, name, None)
    arguments = ["--model", model_file, "--data", scans, "--out", tmp_path / "out"]
    code, printed = run_report(arguments, capsys)
    assert code == 1
    assert f"reports need {told}, which is not installed: pip install skadm[report]" in (
        printed.err
    )
    assert not (tmp_path / "out").exists()


# -- in a browser ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """A real browser, without a screen, that keeps what pages log and ask for."""
    webdriver = pytest.importorskip("selenium.webdriver")
    exceptions = pytest.importorskip("selenium.common.exceptions")
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if not all(programs):
        pytest.skip("no browser: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    profile = tmp_path_factory.mktemp("profile")
    for flag in (
        *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
        *("disable-background-networking", "disable-component-update", "disable-sync"),
        *("disable-dev-shm-usage", "window-size=1200,900", f"user-data-dir={profile}"),
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(programs[1])
    try:
        driver = webdriver.Chrome(options=options, service=service)
    except exceptions.WebDriverException as error:  # as a stub that asks for snap
        pytest.skip(f"{programs[0]} does not start: {error.msg}")
    yield driver
    driver.quit()


@pytest.fixture
def page(chromium, written):
    """Open a page of the report; afterwards nothing may have been logged or asked for."""
    from selenium.webdriver.support.ui import WebDriverWait

    def open_page(name, theme="light"):
        features = [{"name": "prefers-color-scheme", "value": theme}]
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        chromium.get((written / name).as_uri())
        chromium.execute_script("localStorage.clear()")
        chromium.refresh()
        if name != "index.html":
            ready = "return document.documentElement.dataset.viewer === 'ready'"
            WebDriverWait(chromium, 20).until(lambda driver: driver.execute_script(ready))
        return chromium

    chromium.get_log("browser"), chromium.get_log("performance")
    yield open_page
    assert chromium.get_log("browser") == []
    asked = re.findall(
        r'"requestWillBeSent".*?"url\\?":\\?"(\w+):',
        "".join(entry["message"] for entry in chromium.get_log("performance")),
    )
    assert set(asked) <= {"file", "data"}


def settled(driver, script):
    """The value of an expression after the next frames were drawn."""
    answer = f"() => requestAnimationFrame(() => arguments[0]({script}))"
    return driver.execute_async_script(f"requestAnimationFrame({answer})")


PICTURES = "[...document.querySelectorAll('.screen canvas')].map((c) => c.toDataURL())"
SLICES = (
    "[...document.querySelectorAll('figcaption .slide input')].map((s) => Number(s.value))"
)


def find(driver, selector):
    return driver.find_element("css selector", selector)


SECOND = "patients/second.html"


@pytest.mark.slow
def test_viewer_draws_every_plane(page):
    driver = page(SECOND)
    pictures = settled(driver, PICTURES)
    for picture in pictures:
        pixels = decoded(picture)[..., :3]
        assert pixels.std() > 10
    assert len(set(pictures)) == 3


@pytest.mark.slow
def test_viewer_follows_the_sliders(page):
    driver = page(SECOND)
    before, at = settled(driver, PICTURES), settled(driver, SLICES)
    key = "\ue012" if at[0] > 1 else "\ue014"  # arrow left, arrow right
    find(driver, "#axial-slice").send_keys(key)
    after = settled(driver, PICTURES)
    assert abs(settled(driver, SLICES)[0] - at[0]) == 1
    assert after[0] != before[0]
    find(driver, "#opacity").send_keys("\ue011")  # home
    assert find(driver, "output[for=opacity]").text == "0 %"
    assert settled(driver, PICTURES)[1] != after[1]


@pytest.mark.slow
def test_viewer_follows_keys_and_wheel(page):
    from selenium.webdriver import ActionChains

    driver = page(SECOND)
    start = settled(driver, SLICES)
    canvas = find(driver, "#coronal")
    canvas.send_keys("\ue013")  # arrow up
    assert settled(driver, SLICES)[1] == start[1] + 1
    canvas.send_keys("\ue015\ue015")  # arrow down
    assert settled(driver, SLICES)[1] == start[1] - 1
    driver.execute_script(
        "const up = new WheelEvent('wheel', {deltaY: -100, cancelable: true});"
        "arguments[0].dispatchEvent(up)",
        canvas,
    )
    assert settled(driver, SLICES)[1] == start[1]
    canvas.send_keys("1")
    assert settled(driver, "document.querySelector('[name=contrast]:checked').value") == "0"
    label = canvas.get_attribute("aria-label")
    assert label.startswith(f"coronal slice {start[1]} of ")
    assert label.endswith(", T1")
    ActionChains(driver).move_to_element_with_offset(canvas, 20, -10).click().perform()
    assert settled(driver, SLICES)[0] != start[0] or settled(driver, SLICES)[2] != start[2]


@pytest.mark.slow
def test_click_on_a_region_goes_there(page):
    driver = page(SECOND)
    cores = driver.execute_script(
        "return JSON.parse(document.getElementById('viewer-data').textContent).cores"
    )
    assert len(cores) > 1
    for rank in (len(cores), 1):
        find(driver, f"button[data-go='{rank}']").click()
        x, y, z = cores[rank - 1]
        assert settled(driver, SLICES) == [z + 1, y + 1, x + 1]
        assert f"region {rank}" in find(driver, "#place").text
        chosen = driver.find_elements("css selector", "tr.chosen")
        assert [row.get_attribute("data-region") for row in chosen] == [str(rank)]


@pytest.mark.slow
def test_outlines_and_contrasts_can_be_switched(page):
    driver = page(SECOND)
    seen = [settled(driver, PICTURES)[0]]
    for selector in ("#flagged", "#labelled", "#cross", "[name=contrast][value='0']"):
        find(driver, selector).click()
        seen.append(settled(driver, PICTURES)[0])
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("name", ["index.html", SECOND])
@pytest.mark.slow
def test_light_and_dark(page, name):
    from selenium.webdriver.support.ui import WebDriverWait

    background = "getComputedStyle(document.body).backgroundColor"

    def brightness(driver):
        return sum(map(int, re.findall(r"\d+", settled(driver, background))[:3])) / 3

    assert brightness(page(name, "light")) > 200
    driver = page(name, "dark")
    assert brightness(driver) < 60
    find(driver, "#theme").click()
    assert brightness(driver) > 200

    def remembered(driver):
        driver.refresh()
        return brightness(driver) > 200

    WebDriverWait(driver, 10).until(remembered)  # browsers store it in their own time


@pytest.mark.slow
def test_names_of_html_stay_text_in_a_browser(page):
    from urllib.parse import quote

    driver = page("index.html")
    href = find(driver, f"a[href^='patients/{quote('<img')}']").get_attribute("href")
    driver.get(href)
    assert find(driver, "h1").text == NASTY
    assert not driver.find_elements("css selector", "[onerror]")


@pytest.mark.slow
def test_paper_shows_pictures_instead_of_the_viewer(page):
    driver = page(SECOND, "dark")
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert find(driver, ".static").is_displayed()
        assert not find(driver, ".viewer").is_displayed()
        background = settled(driver, "getComputedStyle(document.body).backgroundColor")
        assert background == "rgb(255, 255, 255)"
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert math.isclose(
        settled(driver, "document.querySelector('.static').offsetHeight"), 0
    )
