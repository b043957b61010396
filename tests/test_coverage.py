"""Contrasts that do not cover the whole brain: found, told of, and filled in."""

import json
import warnings

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt
from sklearn.pipeline import make_pipeline

from skadm import IntensityDetector, PCADetector
from skadm.cli import main
from skadm.data import ArrayVolume, SliceStack, make_phantom
from skadm.preprocessing import CoverageImputer, IntensityNormalizer
from skadm.preprocessing._field_of_view import uncovered
from skadm.report import examine

NAMES = ("T1", "T2", "FLAIR")


def make_scan(seed=0, n_slices=16, size=40, **options):
    (volume,) = make_phantom(
        1, n_slices, size, contrasts=NAMES, random_state=seed, **options
    ).volumes
    return volume.decode()


def beyond(brain, direction, share):
    """The part of the brain that lies furthest in a direction (slices, rows, columns)."""
    depth = np.tensordot(direction, np.indices(brain.shape), 1)
    return brain & (depth > np.quantile(depth[brain], 1 - share))


def without(images, region, contrast, noise=0.0, seed=0):
    """Images in which a contrast has only noise in a region."""
    images = images.copy()
    rng = np.random.default_rng(seed)
    level = noise * np.median(images[:, contrast][images[:, contrast] > 0])
    images[:, contrast][region] = np.abs(rng.normal(0, level, region.sum()))
    return images


def make_volume(scan, images, name="P1"):
    return ArrayVolume(images, scan.labels, patient=name, contrasts=NAMES)


def fill_in(scan, images):
    stack = SliceStack.from_volumes([make_volume(scan, images)])
    with pytest.warns(UserWarning, match="does not cover"):
        return CoverageImputer().fit_transform(stack).X


@pytest.fixture(scope="module")
def scan():
    return make_scan()


# -- what is found ------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0, 0.06])
@pytest.mark.parametrize("share", [0.06, 0.25])
@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_cuts_of_every_side_are_found(scan, axis, side, share, noise):
    region = beyond(scan.brain, side * np.eye(3)[axis], share)
    contrast = (axis + (side > 0)) % 3
    images = without(scan.images, region, contrast, noise)
    found = uncovered(images, scan.brain)
    assert not np.delete(found, contrast, axis=0).any()
    assert (found[contrast] & region).sum() >= 0.97 * region.sum()
    assert (found[contrast] & ~region).sum() <= 0.05 * scan.brain.sum()


@pytest.mark.parametrize("direction", [(0.1, 0.2, 1), (0.2, -1, 0.3), (3, 0.3, -0.2)])
def test_oblique_cuts_of_scans_that_were_rotated(scan, direction):
    region = beyond(scan.brain, direction, 0.15)
    found = uncovered(without(scan.images, region, 1, 0.05), scan.brain)[1]
    assert (found & region).sum() >= 0.95 * region.sum()
    assert (found & ~region).sum() <= 0.05 * scan.brain.sum()


def test_a_slab_is_cut_at_both_sides(scan):
    region = beyond(scan.brain, (0, 0, 1), 0.1) | beyond(scan.brain, (0, 0, -1), 0.2)
    found = uncovered(without(scan.images, region, 0), scan.brain)
    assert (found[0] & region).sum() >= 0.97 * region.sum()
    assert found[0].sum() <= 1.25 * region.sum()  # layers are a column wide


def test_the_ramp_of_an_interpolated_edge_is_not_covered(scan):
    region = beyond(scan.brain, (0, 0, 1), 0.15)
    images = without(scan.images, region, 0)
    # From 0 to the whole signal over four columns.
    gain = np.clip(distance_transform_edt(~region.any(axis=(0, 1))) / 5, 0, 1)
    images[:, 0] *= np.where(gain > 0, gain, 1).astype(np.float32)
    columns = np.flatnonzero(uncovered(images, scan.brain)[0].any(axis=(0, 1)))
    assert columns[0] <= np.flatnonzero(gain == 0)[0] - 3


@pytest.mark.slow
def test_two_contrasts_may_be_cut_at_the_same_place():
    contrasts = ("T1", "T1ce", "T2", "FLAIR")
    (volume,) = make_phantom(1, 16, 40, contrasts=contrasts, random_state=2).volumes
    images, brain = volume.decode()[:2]
    region = beyond(brain, (0, 1, 0), 0.2)
    for contrast in (0, 1):
        images = without(images, region, contrast, 0.03)
    shares = uncovered(images, brain).sum(axis=(1, 2, 3)) / brain.sum()
    np.testing.assert_allclose(shares, [0.2, 0.2, 0, 0], atol=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(4, 16), (20, 48)])
@pytest.mark.parametrize("contrasts", [NAMES, ("T1", "FLAIR")])
def test_complete_scans_with_lesions_raise_no_alarm(size, contrasts):
    stack = make_phantom(4, *size, contrasts=contrasts, random_state=3)
    for volume in stack.volumes:
        assert uncovered(*volume.decode()[:2]) is None


@pytest.mark.parametrize("level", [0.0, 0.1])
@pytest.mark.parametrize("contrast", range(3))
def test_dead_tissue_at_the_border_raises_no_alarm(scan, contrast, level):
    """A ball without signal that fills a tenth of the brain and reaches its border."""
    depth = distance_transform_edt(scan.brain)
    outermost = np.argwhere(scan.brain & (depth < 2))
    for place in outermost[:: len(outermost) // 5]:
        distance = np.abs(np.indices(scan.brain.shape) - place[:, None, None, None])
        distance = np.sqrt(
            ((distance * np.array([2, 1, 1])[:, None, None, None]) ** 2).sum(0)
        )
        dead = scan.brain & (distance <= np.quantile(distance[scan.brain], 0.1))
        images = scan.images.copy()
        images[:, contrast][dead] *= level
        assert uncovered(images, scan.brain) is None


def test_a_brain_mask_of_each_contrast_raises_no_alarm(scan):
    """One contrast was stripped of more: its rim is 0, all around."""
    rim = scan.brain & (distance_transform_edt(scan.brain) < 3)
    assert rim.sum() > 0.2 * scan.brain.sum()
    assert uncovered(without(scan.images, rim, 1), scan.brain) is None


def test_noise_outside_the_head_is_not_brain(scan):
    rng = np.random.default_rng(0)
    images = scan.images.copy()
    outside = ~scan.brain
    for contrast in range(3):
        images[:, contrast][outside] = rng.uniform(1e-3, 2e-3, outside.sum())
    assert uncovered(images, np.ones_like(scan.brain)) is None


def test_one_contrast_has_nothing_to_be_compared_with(scan):
    region = beyond(scan.brain, (0, 0, 1), 0.2)
    images = without(scan.images, region, 0)[:, :1]
    assert uncovered(images, scan.brain) is None


# -- what is filled in --------------------------------------------------------------------


@pytest.mark.slow
def test_complete_volumes_stay_as_they_are_bit_for_bit():
    stack = make_phantom(3, 12, 40, random_state=0)
    steps = [IntensityNormalizer()]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filled = CoverageImputer().fit_transform(stack)
        np.testing.assert_array_equal(filled.X, stack.X)
        np.testing.assert_array_equal(filled.brain, stack.brain)
        plain = make_pipeline(*steps).fit_transform(stack).X
        with_imputer = make_pipeline(CoverageImputer(), *steps).fit_transform(stack).X
    np.testing.assert_array_equal(with_imputer, plain)


def test_arrays_are_returned_as_they_are(scan):
    images = without(scan.images, beyond(scan.brain, (0, 0, 1), 0.2), 0)
    np.testing.assert_array_equal(CoverageImputer().fit_transform(images), images)


@pytest.mark.slow
def test_only_the_region_changes_and_rests_on_the_other_contrasts(scan):
    region = beyond(scan.brain, (0, 0, -1), 0.2)
    found = [fill_in(scan, without(scan.images, region, 1, 0.03, seed)) for seed in (0, 1)]
    # Whatever stood there.
    np.testing.assert_array_equal(*found)
    changed = found[0] != scan.images
    assert not np.delete(changed, 1, axis=1).any()
    assert not (
        changed[:, 1] & ~uncovered(without(scan.images, region, 1), scan.brain)[1]
    ).any()
    # Closer to the truth than the mean of the rest is, by far.
    truth, estimate = scan.images[:, 1][region], found[0][:, 1][region]
    normal = scan.labels[region] == 0
    mean = scan.images[:, 1][scan.brain & ~region].mean()
    error = np.square(estimate - truth)[normal].mean()
    assert error < 0.5 * np.square(mean - truth)[normal].mean()


@pytest.mark.slow
def test_two_contrasts_are_estimated_from_the_third(scan):
    region = beyond(scan.brain, (0, 1, 0), 0.15), beyond(scan.brain, (0, 0, 1), 0.15)
    images = without(without(scan.images, region[0], 0), region[1], 1)
    both = region[0] & region[1]
    assert both.any()
    filled = fill_in(scan, images)
    for contrast in (0, 1):
        low = np.quantile(scan.images[:, contrast][scan.brain], 0.01)
        assert (filled[:, contrast][both] > low).mean() > 0.9


def test_contrasts_that_overlap_nowhere_are_refused(scan):
    upper = np.zeros_like(scan.brain)
    upper[len(upper) // 2 :] = scan.brain[len(upper) // 2 :]
    images = without(scan.images, upper, 0)
    for contrast in (1, 2):
        images = without(images, scan.brain & ~upper, contrast)
    message = "'P1': T[12] does not cover .* only 0 voxels"
    with pytest.raises(ValueError, match=message):
        fill_in(scan, images)


@pytest.mark.slow
def test_a_contrast_that_is_missing_stays_so(scan):
    region = beyond(scan.brain, (0, 0, 1), 0.2)
    images = without(scan.images, region, 0)
    images[:, 2] = np.nan
    filled = fill_in(scan, images)
    assert np.isnan(filled[:, 2]).all()
    assert np.isfinite(filled[:, :2]).all()
    lowest = np.quantile(scan.images[:, 0][scan.brain], 0.01)
    assert (filled[:, 0][region] > lowest).mean() > 0.95


@pytest.mark.slow
def test_scores_of_a_cut_patient_are_almost_those_of_a_whole_one():
    training = make_phantom(2, 12, 40, contrasts=NAMES, lesions=None, random_state=1)
    training = IntensityNormalizer().fit_transform(training).without_labels().in_memory()
    scan = make_scan(4)
    region = beyond(scan.brain, (0, 0, 1), 0.1) | beyond(scan.brain, (0, 0, -1), 0.1)
    images = {"whole": scan.images, "cut": without(scan.images, region, 0, 0.03)}
    scans = {
        name: SliceStack.from_volumes([make_volume(scan, part)])
        for name, part in images.items()
    }
    with pytest.warns(UserWarning, match="does not cover"):
        scans["filled in"] = CoverageImputer().fit_transform(scans["cut"]).in_memory()
    for detector in (
        IntensityDetector(prior={"FLAIR": 1.0, "T1": -0.5}, sigma=1.0),
        PCADetector(n_components=2, random_state=0),
    ):
        detector.fit(training)
        scores = {}
        for name, stack in scans.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                prepared = IntensityNormalizer().fit_transform(stack)
                scores[name] = detector.score_samples(prepared)[scan.brain]
        errors = {
            name: np.abs(scores[name] - scores["whole"]).mean()
            for name in ("cut", "filled in")
        }
        assert errors["filled in"] < 0.25 * errors["cut"], type(detector)


# -- what is told -------------------------------------------------------------------------


def test_warning_names_patient_contrast_and_share(scan):
    images = without(scan.images, beyond(scan.brain, (0, 0, 1), 0.2), 2, 0.03)
    stack = SliceStack.from_volumes([make_volume(scan, images, "P07")])
    prepared = make_pipeline(CoverageImputer(), IntensityNormalizer()).fit_transform(stack)
    with pytest.warns(UserWarning, match="FLAIR of P07 does not cover (19|2[01])%") as told:
        prepared.in_memory()
    assert len(told) == 1


def write_scans(folder, cut=None):
    stack = make_phantom(3, 16, 32, contrasts=NAMES, random_state=0)
    for volume in stack.volumes:
        scan = volume.decode()
        images = scan.images
        if volume.name == cut:
            images = without(images, beyond(scan.brain, (0, 0, 1), 0.2), 0, 0.03)
        place = folder / volume.name
        place.mkdir(parents=True)
        files = dict(zip(("t1", "t2", "flair"), np.moveaxis(images, 1, 0)))
        files["seg"] = (scan.labels == 1).astype(np.uint8)
        for name, array in files.items():
            image = nib.Nifti1Image(array.transpose(2, 1, 0), volume.affine)
            nib.save(image, place / f"{volume.name}_{name}.nii.gz")
    return folder


@pytest.mark.slow
def test_commands_tell_of_it(tmp_path, capsys):
    whole, cut = (
        write_scans(tmp_path / "whole"),
        write_scans(tmp_path / "cut", "phantom-001"),
    )
    model, maps = str(tmp_path / "model.skadm"), tmp_path / "maps"
    fit = ["fit", "--size", "32", "--detector", "IntensityDetector", "--prior", "FLAIR"]
    text = "T1 of phantom-001 does not cover"
    assert main([*fit, "--data", str(cut), "--out", model]) == 0
    assert capsys.readouterr().err.count(text) == 1
    assert main([*fit, "--data", str(whole), "--out", model, "--force"]) == 0
    assert text not in capsys.readouterr().err
    assert main(["score", "--model", model, "--data", str(cut), "--out", str(maps)]) == 0
    assert capsys.readouterr().err.count(text) == 1
    record = json.loads((maps / "phantom-001_warnings.json").read_text())
    assert any(text in told for told in record["warnings"])


@pytest.mark.slow
def test_the_page_of_the_patient_tells_of_it(scan):
    training = make_phantom(3, 12, 48, contrasts=NAMES, lesions=None, random_state=5)
    detector = IntensityDetector(prior=["FLAIR"])
    model = make_pipeline(CoverageImputer(), IntensityNormalizer(), detector)
    model.fit(training.without_labels())
    images = without(scan.images, beyond(scan.brain, (0, 0, 1), 0.2), 0, 0.03)
    with pytest.warns(UserWarning, match="T1 of P1 does not cover"):
        report = examine(make_volume(scan, images), model)
    assert any("T1 of P1 does not cover" in note for note in report.summary.notes)
