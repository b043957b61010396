"""Reports: what is found, and the pages that show it."""

# ruff: noqa: F401, F811 - fixtures

import itertools
import re
import warnings
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from report_cases import NASTY, adm, decoded, fitted, model, report, stack
from sklearn.pipeline import make_pipeline

from skadm import ConformalDetector, IntensityDetector
from skadm._reference import IntensityShiftWarning
from skadm.conformal import CandidateLesions
from skadm.data import ArrayVolume, SliceStack, Volume, make_phantom
from skadm.metrics import pixel_roc_auc_score
from skadm.report import cohort_page, describe_model, examine, patient_page
from skadm.report._regions import rank_regions
from skadm.report._viewer import Scale, make_pictures


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
