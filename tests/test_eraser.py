"""Eraser: its blobs, its mirror, its density, its direction; and its benchmark."""

import csv
import itertools
from itertools import product

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm, ttest_1samp
from test_contract import make_slices, make_stack
from test_prior import contrastive_axis

from benchmarks.experiments import beyond
from benchmarks.lib.data import deal
from skadm import EraserDetector, PostprocessedDetector
from skadm import _filters as numpy_filters
from skadm._brain import brain_mask
from skadm.detectors import supervision
from skadm.nn.mirror import mirrored
from skadm.nn.noise import blob_noise
from skadm.nn.smoothing import smooth_in_brain
from skadm.postprocessing import GaussianSmoother


def tiny(**parameters):
    settings = {"width": 4, "n_levels": 2, "lesion_scales": (2, 4), "n_components": 2}
    return EraserDetector(**{**settings, "max_epochs": 2, "random_state": 0, **parameters})


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def residuals_by_hand(detector, X, sigma):
    """Smoothed residuals, of each network by itself, float64."""
    brain = brain_mask(X)
    seen = torch.from_numpy(np.concatenate([X, mirrored(torch.from_numpy(X))], axis=1))
    with torch.inference_mode():
        restored = [net(seen)[:, :-1].numpy() for net in detector._networks.nets]
    residuals = X - np.mean(restored, axis=0)
    smoothed = [
        numpy_filters.smooth_in_brain(each, brain, sigma)
        for each in residuals.swapaxes(0, 1)
    ]
    return np.stack(smoothed, axis=1).astype(np.float64), brain


# -- blobs --------------------------------------------------------------------------------


def test_blobs_leave_most_of_a_slice_alone():
    noise = blob_noise((400, 3, 48, 48), (8, 16), generator())
    assert noise.shape == (400, 3, 48, 48)
    changed = (noise.abs().amax(dim=1) > 1 / 3).float().mean()
    # A standard normal field exceeds a level between 0.6 and 1.5 with this probability.
    levels = np.linspace(0.6, 1.5, 200)
    assert changed == pytest.approx(norm.sf(levels).mean(), rel=0.35)


def test_blobs_have_no_direction():
    noise = blob_noise((600, 3, 32, 32), (8,), generator())
    inside = noise.abs().amax(dim=1) > 1 / 3
    means = np.array(
        [n[:, m].mean(dim=1).numpy() for n, m in zip(noise, inside) if m.sum() > 20]
    )
    assert abs((means > 0).mean() - 0.5) < 0.06
    correlations = np.corrcoef(means.T)[np.triu_indices(3, 1)]
    assert np.abs(correlations).max() < 0.15
    # Amounts and texture; selected for being large somewhere.
    assert 0.6 < means.std() < 1.2


def test_blobs_with_signs_have_these_directions():
    signs = torch.tensor([1.0, 0.0, -1.0])
    noise = blob_noise((300, 3, 32, 32), (8,), generator(), signs)
    free = blob_noise((300, 3, 32, 32), (8,), generator())
    assert torch.equal(noise[:, 1], free[:, 1])
    inside = free.abs().amax(dim=1) > 1 / 3
    bright, _, dark = (noise[:, k][inside].numpy() for k in range(3))
    # Texture of 0.4 standard deviations changes a few signs.
    assert (bright > 0).mean() > 0.8
    assert (dark < 0).mean() > 0.8


def test_blobs_are_drawn_by_the_generator():
    first, again, other = (
        blob_noise((2, 2, 16, 16), (4,), generator(s)) for s in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("scales", [(), (0,), (8, 2.5)])
def test_sizes_that_are_none(scales):
    with pytest.raises(ValueError, match="lesion_scales"):
        tiny(lesion_scales=scales).fit(make_slices()[0])


# -- mirror and smoothing -----------------------------------------------------------------


@pytest.mark.parametrize("columns", [(2, 9), (3, 9)])
def test_mirror_is_about_the_middle_of_the_brain(columns):
    first, last = columns
    images = torch.zeros(1, 2, 6, 12)
    images[:, :, 1:5, first : last + 1] = torch.rand(1, 2, 4, last - first + 1) + 1
    expected = images.clone()
    expected[..., first : last + 1] = images[..., first : last + 1].flip(-1)
    torch.testing.assert_close(mirrored(images), expected)


def test_mirror_of_what_leaves_the_slice_is_background():
    images = torch.zeros(1, 1, 3, 10)
    images[:, :, :, 6:] = 2.0
    images[:, :, 1, 0] = 1.0  # with it the middle is at 6.9, rounded to 7
    expected = torch.zeros(1, 1, 3, 10)
    expected[:, :, :, 5:9] = 2.0  # the mirror of column 0 would be column 14
    assert torch.equal(mirrored(images), expected)
    assert (mirrored(torch.zeros(1, 1, 4, 4)) == 0).all()


def test_smoothing_is_that_of_the_numpy_filter():
    rng = np.random.default_rng(0)
    brain = np.zeros((2, 40, 36), bool)  # far from the edge, where the two differ
    brain[0, 12:28, 12:25], brain[1, 14:20, 13:22] = True, True
    values = rng.normal(size=(2, 3, 40, 36)).astype(np.float32)
    found = smooth_in_brain(torch.from_numpy(values), torch.from_numpy(brain), 1.5).numpy()
    for channel in range(3):
        expected = numpy_filters.smooth_in_brain(values[:, channel], brain, 1.5)
        np.testing.assert_allclose(found[:, channel], expected, atol=2e-6)
    plain = smooth_in_brain(torch.from_numpy(values), torch.from_numpy(brain), 0.0)
    np.testing.assert_array_equal(plain, values * brain[:, None])


# -- score --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("prior", [None, {0: 1.0, 2: -0.5}])
@pytest.mark.parametrize("n_networks", [1, 2])
def test_score_is_the_density(n_networks, prior):
    X, y = make_slices(height=40, width=36)
    detector = tiny(sigma=1.0, n_networks=n_networks, precision="float32", prior=prior)
    detector.set_params(prior_sign="unknown").fit(X, y)
    residuals, brain = residuals_by_hand(detector, X[:3], 1.0)
    if prior is not None:
        residuals = residuals[:, :1] - 0.5 * residuals[:, 2:3]
    weights, means, covariances = (
        detector.weights_[f"mixture.{name}"] for name in ("weights", "means", "covariances")
    )
    pixels = residuals.transpose(0, 2, 3, 1)[brain]
    parts = [
        np.log(w) + multivariate_normal(m, c).logpdf(pixels)
        for w, m, c in zip(weights, means, covariances)
    ]
    rough = np.zeros(brain.shape)
    rough[brain] = logsumexp(parts, axis=0)
    expected = numpy_filters.smooth_in_brain(rough, brain, 1.0)
    inner = brain.copy()  # the two filters differ where the slice ends
    inner[:, :5], inner[:, -5:], inner[:, :, :5], inner[:, :, -5:] = (
        False,
        False,
        False,
        False,
    )
    found = detector.score_samples(X[:3])
    np.testing.assert_allclose(found[inner], expected[inner], rtol=1e-3, atol=1e-3)


def test_direction_is_a_weighted_sum_of_signed_residuals():
    stack = make_stack(height=40, width=36)
    prior = {"FLAIR": 2.0, "T1": -1.0}
    detector = tiny(prior=prior, sigma=1.0, precision="float32").fit(stack, stack.y)
    X = stack.X[:3]
    residuals, brain = residuals_by_hand(detector, X, 1.0)
    expected = -(2 * residuals[:, 2] - residuals[:, 0])
    inner = brain.copy()
    inner[:, :5], inner[:, -5:], inner[:, :, :5], inner[:, :, -5:] = (
        False,
        False,
        False,
        False,
    )
    np.testing.assert_allclose(
        detector.score_samples(X)[inner], expected[inner], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("evidence", ["residual", "residual+intensity"])
@pytest.mark.parametrize("rule", ["sum", "all"])
def test_lesions_as_stated_are_weighted_by_their_probability(evidence, rule):
    stack = make_stack(height=40, width=36)
    prior = {"FLAIR": 2.0, "T1": -1.0}
    detector = tiny(prior=prior, prior_rule=rule, evidence=evidence, sigma=1.0)
    detector.set_params(lesion_direction="prior", precision="float32")
    detector.fit(stack, stack.y)
    X = stack.X[:3]
    changes, brain = residuals_by_hand(detector, X, 1.0)
    if evidence == "residual+intensity":
        changes += np.stack(
            [numpy_filters.smooth_in_brain(X[:, k], brain, 1.0) for k in range(3)], axis=1
        )
    parts = [2 * changes[:, 2], -changes[:, 0]]
    amount = sum(parts) if rule == "sum" else np.minimum(*parts)
    seen = torch.from_numpy(X)
    with torch.inference_mode():
        logits = detector._networks.nets[0](torch.cat([seen, mirrored(seen)], dim=1))[:, -1]
    probability = numpy_filters.smooth_in_brain(torch.sigmoid(logits).numpy(), brain, 1.0)
    expected = -probability * np.maximum(amount, 0)
    inner = brain.copy()  # the two filters differ where the slice ends
    inner[:, :5], inner[:, -5:], inner[:, :, :5], inner[:, :, -5:] = [False] * 4
    found = detector.score_samples(X)[inner]
    np.testing.assert_allclose(found, expected[inner], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({}, "prior=None"),
        ({"prior": "learned"}, "prior='learned'"),
        ({"prior": [0], "prior_sign": "unknown"}, "prior_sign='unknown'"),
        ({"prior": [0], "presence_weight": 0}, "presence_weight=0; expected a positive"),
    ],
)
def test_lesions_as_stated_need_a_statement(told, said):
    with pytest.raises(ValueError, match=rf"lesion_direction='prior' needs .*{said}"):
        tiny(lesion_direction="prior", **told).fit(*make_slices())


@pytest.mark.slow
def test_lesions_as_stated_are_told_from_others():
    """After training, a blob that is bright and dark as stated scores above others."""
    X, y = make_slices(24, height=32, width=32)
    X *= 0.3  # tissue that blobs stand out of
    normal = ~(y == 1).any(axis=(1, 2))
    settings = {"mirror": False, "augmentation": None, "learning_rate": 1e-2, "sigma": 0.0}
    detector = tiny(max_epochs=60, lesion_std=2.0, lesion_scales=(8,), **settings)
    detector.set_params(prior={0: 1, 1: -1}, prior_rule="all", lesion_direction="prior")
    detector.fit(X[normal])
    blob = np.zeros(X.shape[2:], bool)
    blob[12:19, 12:19] = True

    def normality(change):
        changed = X[:4].copy()
        changed[:, :, blob] += np.reshape(change, (1, 3, 1))
        return detector.score_samples(changed)[:, blob].mean()

    stated = normality([2.0, -2.0, 0.0])
    for other in ([-2.0, 2.0, 0.0], [2.0, 2.0, 0.0], [0.0, 0.0, 2.0]):
        assert stated < normality(other) - 0.3


LEARNED = {"prior": "learned", "prior_sign": "unknown"}


@pytest.mark.slow
@pytest.mark.parametrize("sign", ["known", "unknown"])
def test_learned_axis(sign):
    """From abnormal slices, wherever the anomaly is in them."""
    X, y = make_slices(height=40, width=36)
    settings = {"prior": "learned", "prior_sign": sign, "sigma": 0.0}
    settings["precision"] = "float32"
    detector = tiny(**settings).fit(X, y)
    residuals, brain = residuals_by_hand(detector, X, 0.0)
    abnormal = (y == 1).any(axis=(1, 2))
    pixels = [residuals[s].transpose(0, 2, 3, 1)[brain[s]] for s in (abnormal, ~abnormal)]
    np.testing.assert_allclose(detector.axis_, contrastive_axis(*pixels), atol=1e-4)
    scores = detector.score_samples(X)
    if sign == "known":
        expected = -np.einsum("nkhw,k->nhw", residuals, detector.axis_)
        np.testing.assert_allclose(scores[brain], expected[brain], atol=1e-4)
    elsewhere = np.where(y == 1, 0, y)
    for labels, number in zip(elsewhere[abnormal], np.flatnonzero(abnormal)):
        labels[tuple(np.argwhere(brain[number])[0])] = 1
        elsewhere[number] = labels
    again = tiny(**settings).fit(X, elsewhere)
    np.testing.assert_array_equal(again.axis_, detector.axis_)


@pytest.mark.slow
def test_learned_axis_below_a_filter():
    stack = make_stack()
    settings = {**LEARNED, "precision": "float32"}
    alone = tiny(**settings).fit(stack, stack.y)
    filtered = PostprocessedDetector(tiny(**settings), GaussianSmoother(0.0))
    filtered.fit(stack, stack.y)
    np.testing.assert_array_equal(filtered.detector_.axis_, alone.axis_)


def test_axis_of_a_warm_start_is_the_new_one():
    X, y = make_slices()
    detector = tiny(prior=[0], warm_start=True, max_epochs=1).fit(X, y)
    np.testing.assert_array_equal(detector.set_params(prior=[1]).fit(X, y).axis_, [0, 1, 0])
    assert detector.set_params(prior=None).fit(X, y).axis_ is None
    assert len(detector.history_) == 3


def test_failure_below_the_axis_leaves_inference_mode(monkeypatch):
    """Even while the exception, and with it the frames of the fit, is kept."""

    def fail(abnormal, normal, **_):
        next(abnormal)
        raise MemoryError

    monkeypatch.setattr("skadm.detectors._eraser.learned_axis", fail)
    with pytest.raises(MemoryError) as kept:
        tiny(**LEARNED).fit(*make_slices())
    assert kept.value is not None
    assert not torch.is_inference_mode_enabled()


@pytest.mark.slow
def test_memory_trains_once(tmp_path, monkeypatch):
    X, y = make_slices()
    first = tiny(memory=str(tmp_path)).fit(X, y)
    monkeypatch.setattr("skadm.training.Trainer._begin_stage", None)
    other = tiny(memory=str(tmp_path), sigma=1.0, prior=[0]).fit(X, y)
    for name in (name for name in first.weights_ if name.startswith("nets")):
        np.testing.assert_array_equal(first.weights_[name], other.weights_[name])
    with pytest.raises(TypeError, match="not callable"):  # another training is another
        tiny(memory=str(tmp_path), lesion_std=0.5).fit(X, y)


def test_memory_knows_the_stated_lesions(tmp_path):
    X, y = make_slices()
    detector = tiny(memory=str(tmp_path), lesion_direction="prior")
    trained = [
        detector.set_params(prior=prior, prior_rule=rule).fit(X, y).weights_
        for prior, rule in (({0: 1}, "sum"), ({0: -1}, "sum"), ({0: 1, 1: 1}, "all"))
    ]
    name = next(name for name in trained[0] if name.startswith("nets"))
    for one, other in itertools.combinations(trained, 2):
        assert not np.array_equal(one[name], other[name])


@pytest.mark.slow
def test_eraser_takes_blobs_away():
    """After training, less of a blob is left than of the untrained network's."""
    X, y = make_slices(24, height=32, width=32)
    X[:, :] *= 0.3  # tissue that blobs stand out of
    normal = ~(y == 1).any(axis=(1, 2))
    settings = {"mirror": False, "augmentation": None, "learning_rate": 1e-2, "sigma": 0.0}
    detector = tiny(max_epochs=60, lesion_std=2.0, lesion_scales=(8,), **settings)
    detector.set_params(prior=[0]).fit(X[normal])
    blob = np.zeros(X.shape[2:], bool)
    blob[12:19, 12:19] = True
    changed = X[:4].copy()
    changed[:, :, blob] += 2.0
    found = -detector.score_samples(changed)  # residual of contrast 0
    assert found[:, blob].mean() > 1.0
    assert abs(found[:, brain_mask(X)[0] & ~blob].mean()) < 0.4


# -- benchmark ----------------------------------------------------------------------------


def test_false_positives_by_place():
    labels = np.zeros((1, 30, 30), np.int8)
    labels[0, 14:16, 14:18] = 1  # 8 pixels
    images = np.zeros((1, 3, 30, 30), np.float32)
    maps = np.ones((1, 30, 30))
    labels[0, 0] = -1
    maps[0, 2, 10:14] = -1  # on the rim
    maps[0, 12, 14:18] = -1  # at the lesion's edge
    maps[0, 22, 8:10] = -1
    images[0, 2, 22, 8] = -2  # dark on FLAIR
    images[0, 1, 22, 9] = 3  # enhanced
    maps[0, 22, 22] = -1
    maps[0, 14, 14] = -1  # of the lesion: no false positive
    found = beyond.false_positives(images, labels, maps, ("T1", "T1ce", "FLAIR"))
    scale = 100 / 8
    expected = {
        "all": 11 * scale,
        "rim": 4 * scale,
        "fluid": scale,
        "enhanced": scale,
        "lesion's edge": 4 * scale,
        "elsewhere": scale,
    }
    assert found == pytest.approx(expected)


def test_every_patient_is_tested_once():
    stack = make_stack(5)
    splits = deal("x", stack, 3)
    assert (np.sum([split.test for split in splits], axis=0) == 1).all()
    for split in splits:
        assert not set(stack.groups[split.train]) & set(stack.groups[split.test])
    with pytest.raises(ValueError, match="--folds 6: expected from 2 to 5"):
        deal("x", stack, 6)


def test_what_the_benchmark_tells():
    both, flair = {"FLAIR": 1.0, "T2": 0.5}, {"FLAIR": 1.0}
    learned = {
        "learned axis": LEARNED,
        "learned direction": {"prior": "learned"},
    }
    assert beyond.priors(("T1", "FLAIR", "T2")) == learned | {
        "along FLAIR + T2": {"prior": both, "prior_sign": "unknown"},
        "directed": {"prior": both},
        "along FLAIR": {"prior": flair, "prior_sign": "unknown"},
        "directed by FLAIR": {"prior": flair},
    }
    assert beyond.priors(("T1", "flair")) == learned | {
        "along flair": {"prior": {"flair": 1.0}, "prior_sign": "unknown"},
        "directed": {"prior": {"flair": 1.0}},
    }
    detectors = beyond.methods(("T1", "FLAIR", "T2"), "quick", 5.0)
    names = {
        "Eraser, 3-D": "none",
        "Eraser, learned axis, 3-D": "slice labels",
        "Intensity, learned axis": "slice labels",
        "Intensity, learned direction, 3-D": "slice labels",
        "PCA, learned direction": "slice labels",
        "Eraser, along FLAIR": "known contrasts",
        "DAE-signed": "known direction",
        "FLAIR, smoothed, 3-D": "known direction",
    }
    assert {name: supervision(detectors[name]) for name in names} == names


def test_rivals_learn_what_the_eraser_learns():
    detectors = beyond.methods(("T1", "FLAIR"), "quick", 5.0)
    for how in ("learned axis", "learned direction"):
        for dimension in ("", ", 3-D"):
            told = [
                _innermost(detectors[f"{rival}, {how}{dimension}"])
                for rival in ("Eraser", "Intensity", "PCA")
            ]
            assert {each.prior for each in told} == {"learned"}
            assert len({each.prior_sign for each in told}) == 1


def _innermost(detector):
    while hasattr(detector, "detector"):
        detector = detector.detector
    return detector


@pytest.mark.slow
def test_benchmark(tmp_path):
    pytest.importorskip("matplotlib")
    rivals = (
        "FLAIR + T2, smoothed",
        "Intensity, learned axis",
        "Intensity, learned direction, 3-D",
        "PCA, learned direction",
    )
    erasers = ("Eraser", "Eraser, directed", "Eraser, learned axis")
    names = (*rivals, *erasers)
    options = ("--quick", "--seeds", "1", "--size", "32", "--methods", *names)
    beyond.main([*options, "--out", str(tmp_path)])
    with (tmp_path / "pooled.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert tuple(rows) == names
    with (tmp_path / "per_patient.csv").open(newline="", encoding="utf-8") as file:
        patients = [row for row in csv.DictReader(file) if row["auc"]]
    with (tmp_path / "differences.csv").open(newline="", encoding="utf-8") as file:
        found = {(r["method"], r["rival"], r["metric"]): r for r in csv.DictReader(file)}
    for eraser, rival, metric in product(erasers, rivals, ("auc", "ap", "f1")):
        ours, theirs = (
            {r["patient"]: float(r[metric]) for r in patients if r["method"] == each}
            for each in (eraser, rival)
        )
        assert len(ours) > 1
        differences = [ours[patient] - theirs[patient] for patient in theirs]
        low, high = ttest_1samp(differences, 0).confidence_interval(0.95)
        row = found[eraser, rival, metric]
        assert float(row["difference"]) == pytest.approx(np.mean(differences))
        assert (float(row["low"]), float(row["high"])) == pytest.approx((low, high))
