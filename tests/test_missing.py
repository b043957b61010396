"""Patients who lack a contrast: data, density, scores and the command line."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from test_contract import make_slices, tiny

import skadm
from skadm import ADMDetector
from skadm.cli import main
from skadm.data import (
    ArrayVolume,
    SliceStack,
    brain_mask,
    make_phantom,
    read_brats,
    read_table,
    write_maps,
)
from skadm.metrics import pixel_roc_auc_score
from skadm.nn.density import FittedMixture, Mixture, marginal
from skadm.nn.substitution import Substitution
from skadm.preprocessing import BrainCropper, IntensityNormalizer, SliceResizer

NAMES = ("T1", "T2", "FLAIR")


def without(X, contrast, rows=slice(None)):
    X = X.copy()
    X[rows, contrast] = np.nan
    return X


@pytest.fixture(scope="module")
def fitted():
    return tiny("ADMDetector", precision="float32").fit(*make_slices())


# -- density ------------------------------------------------------------------------------


def make_mixture(n_components=3, n_features=4, seed=0):
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(n_components, n_features, n_features))
    roots[0, :, 1] = roots[0, :, 0]  # singular: the floor has something to do
    covariances = np.einsum("cik,cjk->cij", roots[:, :, : n_features - 1], roots[:, :, :-1])
    return Mixture(
        torch.from_numpy(rng.dirichlet(np.ones(n_components))),
        torch.from_numpy(rng.normal(size=(n_components, n_features))),
        torch.from_numpy(covariances),
    )


@pytest.mark.parametrize("dropped", [0, 2, 3])
def test_marginal_energy(dropped):
    """SciPy's density under the floored covariances, and an integral over the feature."""
    mixture, floor = make_mixture(), 0.3
    rng = np.random.default_rng(1)
    points = rng.normal(size=(5, 4))
    module = FittedMixture(3, 4)
    module.set(mixture)
    energy = module.energy(torch.from_numpy(points), floor, dropped).numpy()
    kept = [index for index in range(4) if index != dropped]
    grid = np.linspace(-60, 60, 24001)
    many = np.repeat(points[:, None], len(grid), axis=1)
    many[:, :, dropped] = grid
    logs, joint = [], 0
    for weight, mean, covariance in zip(*(part.numpy() for part in mixture)):
        values, vectors = np.linalg.eigh(covariance)
        floored = vectors * np.maximum(values, floor) @ vectors.T
        own = multivariate_normal(mean[kept], floored[np.ix_(kept, kept)])
        logs.append(np.log(weight) + own.logpdf(points[:, kept]))
        joint = joint + weight * multivariate_normal(mean, floored).pdf(many)
    np.testing.assert_allclose(-energy, logsumexp(logs, axis=0), rtol=1e-9)
    np.testing.assert_allclose(np.exp(-energy), np.trapezoid(joint, grid), rtol=1e-6)


def test_marginal_keeps_the_floor():
    covariances = marginal(make_mixture(), 1, 0.3).covariances
    assert np.linalg.eigvalsh(covariances.numpy()).min() >= 0.3 - 1e-12


def test_matched_energies_are_equally_rare():
    rng = np.random.default_rng(0)
    common, own = rng.gamma(2, 3, 200_000), 5 + rng.normal(size=200_000)
    substitution = Substitution(2)
    substitution.learn(-1, torch.from_numpy(common))
    substitution.learn(0, torch.from_numpy(own))
    matched = substitution.match(torch.from_numpy(own), 0).numpy()
    for level in (0.001, 0.01, 0.5, 0.99, 0.999):
        assert np.mean(matched > np.quantile(common, 1 - level)) == pytest.approx(
            level, rel=0.02
        )
    assert (np.diff(matched[np.argsort(own)]) >= 0).all()
    far = substitution.match(torch.tensor([100.0, 103.0]), 0)
    assert far[1] - far[0] == pytest.approx(3)


# -- scores -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("contrast", [0, 2])
def test_score_is_that_of_the_marginal(fitted, contrast):
    X, y = make_slices(seed=1)
    found = fitted.score_samples(without(X, contrast))
    networks = fitted._networks
    with torch.inference_mode():
        images = torch.from_numpy(X)
        images[:, contrast] = 0
        prior = torch.from_numpy(fitted.weights_["substitution.priors"])[contrast]
        translated = networks.translation(
            images, torch.full((len(X),), contrast), prior.expand(len(X))
        )
        images[:, contrast] = torch.where(torch.from_numpy(y >= 0), translated, 0)
        features = fitted._features(networks, images).permute(0, 2, 3, 1).numpy()
    weights, means, covariances = (
        fitted.weights_[f"mixture.{name}"] for name in Mixture._fields
    )
    pixels = np.delete(features[y >= 0].astype(np.float64), contrast, axis=1)
    logs = []
    for weight, mean, covariance in zip(weights, means, covariances):
        values, vectors = np.linalg.eigh(covariance)
        floored = vectors * np.maximum(values, 1e-6) @ vectors.T
        rest = np.delete(np.delete(floored, contrast, axis=0), contrast, axis=1)
        own = multivariate_normal(np.delete(mean, contrast), rest)
        logs.append(np.log(weight) + own.logpdf(pixels))
    energy = -logsumexp(logs, axis=0)
    own, common = fitted.weights_["substitution.quantiles"][[contrast, -1]]
    inside = energy.clip(own[0], own[-1])
    expected = np.interp(inside, own, common) + energy - inside
    np.testing.assert_allclose(-found[y >= 0], expected, rtol=1e-4, atol=1e-3)


def test_prior_is_the_mean_of_the_medians(fitted):
    X, y = make_slices()
    normal = ~(y == 1).any(axis=(1, 2))
    medians = [
        [np.quantile(image[k][mask >= 0], 0.5, method="lower") for k in range(3)]
        for image, mask in zip(X[normal], y[normal])
    ]
    np.testing.assert_allclose(
        fitted.weights_["substitution.priors"], np.mean(medians, axis=0), rtol=1e-5
    )


@pytest.mark.parametrize("contrast", [0, 1, 2])
def test_other_slices_keep_their_scores(fitted, contrast):
    X, y = make_slices(seed=1)
    whole, rows = fitted.score_samples(X), [2, 7]
    scores = fitted.score_samples(without(X, contrast, rows))
    others = np.setdiff1d(np.arange(len(X)), rows)
    np.testing.assert_array_equal(scores[others], whole[others])
    assert (scores[rows][y[rows] >= 0] != whole[rows][y[rows] >= 0]).mean() > 0.9
    assert (scores[y == -1] == fitted.background_score_).all()
    # The same whichever slices are beside.
    np.testing.assert_array_equal(
        scores[rows], fitted.score_samples(without(X[rows], contrast))
    )


def test_what_stood_in_the_channel_does_not_matter(fitted):
    X, _ = make_slices(seed=1)
    changed = X.copy()
    changed[:, 1] *= 7
    np.testing.assert_array_equal(
        fitted.score_samples(without(X, 1)), fitted.score_samples(without(changed, 1))
    )


@pytest.mark.slow
def test_as_many_normal_pixels_are_flagged(fitted):
    X, y = make_slices(60, seed=2)
    normal = ~(y == 1).any(axis=(1, 2))
    X, y = X[normal], y[normal]
    loose = ADMDetector(**fitted.get_params() | {"contamination": 0.2}).fit(X)
    for contrast in range(3):
        labels = loose.predict(without(X, contrast))
        assert (labels[y == 0] == -1).mean() == pytest.approx(0.2, abs=0.01)


def test_explanation_leaves_the_contrast_out(fitted):
    X, y = make_slices(seed=1)
    changed = without(X, 1, [0, 3])
    found = fitted.explain(changed)
    assert (found.features[[0, 3], 1] == 0).all()
    assert (found.features[1, 1][y[1] >= 0] != 0).all()
    np.testing.assert_allclose(
        found.anomaly[y >= 0], -fitted.score_samples(changed)[y >= 0], atol=1e-4
    )
    features = fitted.pixel_features(changed)
    assert np.isnan(features[0, 1][y[0] >= 0]).all()
    assert np.isnan(features).sum() == (y[[0, 3]] >= 0).sum()


@pytest.mark.slow
def test_lesion_in_the_other_contrasts_is_found():
    stack = IntensityNormalizer().fit_transform(make_phantom(4, 8, 32, random_state=0))
    X, y = stack.load()
    detector = ADMDetector(
        width=4, n_blocks=1, max_epochs=20, learning_rate=1e-2, batch_size=8, random_state=0
    )
    detector.fit(X, y)
    unseen = (y == 1).any(axis=(1, 2))
    for contrast in range(4):
        scores = detector.score_samples(without(X[unseen], contrast))
        assert pixel_roc_auc_score(y[unseen], scores) > 0.65, contrast


def test_streaming_is_exact(fitted, tmp_path):
    X, _ = make_slices(seed=1)
    X = without(X, 2, slice(3, 6))
    expected = fitted.score_samples(X)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    np.testing.assert_array_equal(fitted.score_samples(mapped), expected)
    volumes = [
        ArrayVolume(part, patient=f"p{number}", contrasts=NAMES)
        for number, part in enumerate(np.split(X, 4))
    ]
    stack = SliceStack.from_volumes(volumes)
    np.testing.assert_array_equal(fitted.score_samples(stack), expected)


# -- bad input ----------------------------------------------------------------------------


def test_single_pixels_are_an_error(fitted):
    X, _ = make_slices()
    X[4, 1, 5, 5] = np.nan
    with pytest.raises(ValueError, match="NaN: in slice 4, 1 of the 154 .* contrast 2"):
        fitted.score_samples(X)


@pytest.mark.parametrize("name", ["ADMDetector", "IntensityDetector", "PCADetector"])
def test_fit_needs_every_contrast(name):
    X, _ = make_slices()
    with pytest.raises(ValueError, match=r"NaN: contrast 2 in 3 slices \(the first is 4\)"):
        tiny(name).fit(without(X, 1, slice(4, 7)))


@pytest.mark.parametrize(
    "detector",
    [tiny("PCADetector"), tiny("DAEDetector"), tiny("ADMDetector", features="reduction")],
)
def test_detectors_without_translation_need_every_contrast(detector):
    X, y = make_slices()
    stack = SliceStack.from_volumes([ArrayVolume(X, y, patient="a", contrasts=NAMES)])
    detector.fit(stack, y)
    with pytest.raises(ValueError, match=r"NaN: T2 in 12 slices .* expects all contrasts"):
        detector.score_samples(without(X, 1))


def test_only_one_contrast_is_supplied(fitted):
    X, _ = make_slices()
    with pytest.raises(ValueError, match="2 slices lack more than one contrast"):
        fitted.score_samples(without(without(X, 0), 1, [3, 4]))
    with pytest.raises(ValueError, match="in slice 0 all 3 contrasts are missing"):
        fitted.score_samples(np.full_like(X, np.nan))


# -- data ---------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [IntensityNormalizer(), SliceResizer(9), BrainCropper(1)])
@pytest.mark.parametrize("contrast", [0, 2])
def test_steps_treat_the_others_as_if_it_had_been_left_out(step, contrast):
    X, _ = make_slices()
    X = without(X, contrast)
    found = step.fit_transform(X)
    assert np.isnan(found[:, contrast]).all()
    rest = step.fit_transform(np.delete(X, contrast, axis=1))
    np.testing.assert_allclose(np.delete(found, contrast, axis=1), rest, rtol=1e-6)
    np.testing.assert_array_equal(brain_mask(found), brain_mask(rest))


def write_scans(folder, lacks=None):
    stack = make_phantom(3, 6, 24, contrasts=NAMES, random_state=0)
    X, y = stack.load()
    for name in dict.fromkeys(stack.groups.tolist()):
        own = stack.groups == name
        for number, contrast in enumerate(NAMES):
            if (name, contrast) != lacks:
                suffix = f"_{contrast.lower()}"
                write_maps(X[own, number], stack[own], folder / name, suffix=suffix)
        write_maps(y[own] == 1, stack[own], folder / name, suffix="_seg")
    return folder


@pytest.mark.slow
def test_folder_with_an_absent_file(tmp_path):
    scans = write_scans(tmp_path / "scans", lacks=("phantom-001", "T2"))
    with pytest.raises(
        ValueError, match=r"phantom-001: no file of contrast T2.*allow_missi"
    ):
        read_brats(scans)
    stack = read_brats(scans, allow_missing=True)
    assert stack.contrasts == NAMES
    lacks = np.isnan(stack.X).all(axis=(2, 3))
    np.testing.assert_array_equal(
        lacks, (stack.groups == "phantom-001")[:, None] & (np.array(NAMES) == "T2")
    )
    whole = read_brats(write_scans(tmp_path / "whole"))
    np.testing.assert_array_equal(stack.y, whole.y)
    with pytest.raises(ValueError, match="no file of contrast T2"):
        read_brats(scans, contrasts=["T2"], allow_missing=True)


@pytest.mark.slow
def test_table_with_an_empty_cell(tmp_path):
    scans = write_scans(tmp_path / "scans")
    place = scans / "phantom-000" / "phantom-000"
    table = tmp_path / "files.csv"
    table.write_text(f"patient,T1,FLAIR\nA,{place}_t1.nii.gz,\n")
    with pytest.raises(ValueError, match="line 2: no file of contrast FLAIR"):
        read_table(table)
    stack = read_table(table, allow_missing=True)
    np.testing.assert_array_equal(np.isnan(stack.X).all(axis=(0, 2, 3)), [False, True])


@pytest.mark.slow
def test_table_without_the_column(tmp_path):
    """As of controls, of whom none got contrast agent."""
    scans = write_scans(tmp_path / "scans")
    place = scans / "phantom-000" / "phantom-000"
    table = tmp_path / "files.csv"
    table.write_text(f"patient,T1\nA,{place}_t1.nii.gz\n")
    with pytest.raises(ValueError, match="no patient has contrast FLAIR; .*'T1'"):
        read_table(table, contrasts=["T1", "FLAIR"])
    with pytest.warns(UserWarning, match="no patient has contrast FLAIR"):
        stack = read_table(table, contrasts=["T1", "FLAIR"], allow_missing=True)
    np.testing.assert_array_equal(np.isnan(stack.X).all(axis=(0, 2, 3)), [False, True])
    with pytest.raises(ValueError, match="expected distinct names"):
        read_table(table, contrasts=["FLAIR"], allow_missing=True)


@pytest.mark.slow
def test_score_command(tmp_path, capsys):
    whole = write_scans(tmp_path / "whole")
    scans = write_scans(tmp_path / "scans", lacks=("phantom-002", "FLAIR"))
    model, out = tmp_path / "model.skadm", tmp_path / "maps"
    fit = ["fit", "--data", str(whole), "--out", str(model), "--size", "16"]
    assert main([*fit, "--preset", "quick", "--epochs", "1"]) == 0
    score = ["score", "--model", str(model), "--data", str(scans), "--out", str(out)]
    assert main(score) == 1
    error = capsys.readouterr().err
    assert "phantom-002: no file of contrast FLAIR" in error
    assert not out.exists()
    assert main([*score, "--allow-missing"]) == 0
    assert "phantom-002: FLAIR missing, supplied by" in capsys.readouterr().out
    record = json.loads((out / "phantom-002_supplied.json").read_text())
    assert record == {"contrasts": list(NAMES), "supplied": ["FLAIR"]}
    assert [path.name for path in out.glob("*.json")] == ["phantom-002_supplied.json"]
    image = nib.load(out / "phantom-002_anomaly.nii.gz")
    assert image.shape == (24, 24, 6)
    assert np.isfinite(image.get_fdata()).all()
    assert len(np.unique(image.get_fdata())) > 100
    # Scored again when the file has arrived, it is not supplied any more.
    again = ["score", "--model", str(model), "--data", str(whole), "--out", str(out)]
    assert main([*again, "--force"]) == 0
    assert not list(out.glob("*.json"))
    assert skadm.load(model)[-1].contrasts_ == NAMES
