"""DAG and DAGc: their features, their density, and what public code gets wrong."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from test_contract import make_slices

from skadm import DAGcDetector, DAGDetector
from skadm.detectors._dag import darkest, reconstruction_features
from skadm.nn.pixels import brain_of

pytestmark = pytest.mark.numerical


def tiny(cls=DAGDetector, **parameters):
    return cls(**{"width": 8, "max_epochs": 3, "random_state": 0, **parameters})


def features_of(detector, X):
    with torch.inference_mode():
        return detector._networks.features(torch.from_numpy(X))[0].double()


def test_reconstruction_features():
    rng = np.random.default_rng(0)
    pixels, restored = rng.normal(size=(2, 7, 4))
    pixels[0] = 0.01
    found = reconstruction_features(torch.from_numpy(pixels), torch.from_numpy(restored))
    norms = np.maximum(np.linalg.norm(pixels, axis=1), 1)
    relative = np.linalg.norm(pixels - restored, axis=1) / norms
    lengths = np.linalg.norm(pixels, axis=1) * np.linalg.norm(restored, axis=1)
    cosine = (pixels * restored).sum(axis=1) / lengths
    np.testing.assert_allclose(found, np.stack([relative, cosine], axis=1), rtol=1e-6)


def test_darkest_intensities_are_those_of_the_brain():
    X = make_slices()[0]
    X[0, :, 7, 5] = [-90, -80, -70]  # one pixel of a thousand may be darker
    brain = brain_of(torch.from_numpy(X)).numpy()
    found = darkest(X)
    for contrast, value in enumerate(found):
        values = np.sort(X[:, contrast][brain])
        assert value == values[round(0.001 * len(values)) - 1]


def test_features_are_code_error_and_similarity():
    X, y = make_slices()
    detector = tiny(latent_dim=3).fit(X, y)
    brain = (X != 0).any(axis=1)
    features = features_of(detector, X)
    assert features.shape == (brain.sum(), 3 + 2)
    networks = detector._networks
    with torch.inference_mode():
        code, restored = networks.autoencoder(torch.from_numpy(X))
    np.testing.assert_allclose(
        features[:, :3], code.permute(0, 2, 3, 1).numpy()[brain], rtol=1e-5, atol=1e-6
    )
    zero = networks.darkest.view(1, -1, 1, 1)
    own = (torch.from_numpy(X) - zero).permute(0, 2, 3, 1).numpy()[brain]
    other = (restored - zero).permute(0, 2, 3, 1).numpy()[brain]
    norms = np.maximum(np.linalg.norm(own, axis=1), 1)
    relative = np.linalg.norm(own - other, axis=1) / norms
    np.testing.assert_allclose(features[:, 3], relative, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cls", [DAGDetector, DAGcDetector])
def test_scores_are_log_likelihoods_under_the_training_sets_mixture(cls):
    """Neither the last batch's mixture, nor a determinant with two roots taken of it."""
    X, y = make_slices(16)
    normal = ~(y == 1).any(axis=(1, 2))
    detector = tiny(cls, batch_size=3).fit(X, y)
    weights, means, covariances = detector._networks.mixture.parameters_
    features = features_of(detector, X[normal])
    with torch.inference_mode():
        shares = detector._networks.estimation(features.float()).double().numpy()
    features = features.numpy()
    np.testing.assert_allclose(weights, shares.mean(axis=0), rtol=1e-5)
    for c in range(len(weights)):
        np.testing.assert_allclose(
            means[c], np.average(features, axis=0, weights=shares[:, c]), rtol=1e-4,
            atol=1e-5,
        )  # fmt: skip
        np.testing.assert_allclose(
            covariances[c],
            np.cov(features.T, aweights=shares[:, c], ddof=0),
            rtol=1e-3,
            atol=1e-6,
        )
    new, _ = make_slices(4, seed=1)
    pixels = features_of(detector, new).numpy()
    values, vectors = np.linalg.eigh(covariances.numpy())
    floored = (vectors * np.maximum(values, 1e-6)[:, None]) @ np.swapaxes(vectors, 1, 2)
    log_densities = [
        multivariate_normal(mean, covariance).logpdf(pixels)
        for mean, covariance in zip(means.numpy(), floored)
    ]
    expected = logsumexp(np.array(log_densities).T + np.log(weights.numpy()), axis=1)
    brain = (new != 0).any(axis=1)
    np.testing.assert_allclose(
        detector.score_samples(new)[brain], expected, rtol=1e-3, atol=1e-3
    )


def test_scoring_does_not_change_the_mixture():
    X, y = make_slices()
    detector = tiny().fit(X, y)
    before = detector.score_samples(X)
    detector.score_samples(100 * X)
    np.testing.assert_array_equal(detector.score_samples(X), before)


def test_far_pixels_stay_apart():
    """A clamped shift in log-sum-exp, or a small number in its logarithm, ties them."""
    X, y = make_slices()
    detector = tiny().fit(X, y)
    far = X[:1] * np.array([1, 10, 100, 1000], np.float32)[:, None, None, None]
    scores = detector.score_samples(far)[:, 7, 5]
    assert (np.diff(scores) < -1).all()


def test_loss_is_that_of_dagmm():
    X, _ = make_slices()
    detector = tiny(dropout=0.0)
    networks = detector._build(3, torch.Generator().manual_seed(0))
    terms = detector._loss(networks, torch.from_numpy(X), torch.Generator())
    expected = terms["reconstruction"] + 0.1 * terms["energy"] + 0.005 * terms["penalty"]
    torch.testing.assert_close(terms["loss"], expected)
    with torch.inference_mode():
        restored = networks.autoencoder(torch.from_numpy(X))[1].numpy()
    brain = (X != 0).any(axis=1)
    errors = np.square(X - restored).sum(axis=1)[brain]
    np.testing.assert_allclose(terms["reconstruction"].item(), errors.mean(), rtol=1e-5)


def test_half_of_the_units_are_dropped_in_training():
    X, _ = make_slices()
    detector = tiny()
    networks = detector._build(3, torch.Generator().manual_seed(0))
    losses = [
        detector._loss(networks, torch.from_numpy(X), torch.Generator().manual_seed(seed))[
            "energy"
        ]
        for seed in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]
    assert networks.estimation.dropout == 0.5


@pytest.mark.parametrize(("cls", "reach"), [(DAGDetector, 0), (DAGcDetector, 6)])
def test_receptive_field_of_a_pixel(cls, reach):
    """DAG sees one pixel; DAGc three convolutions' worth of neighbours, either way."""
    X, _ = make_slices(4, height=21, width=21)
    X[:] += (X == 0) * 0.5  # brain everywhere
    detector = tiny(cls).fit(X)
    changed = X[:1].copy()
    changed[:, :, 10, 10] += 1
    difference = np.abs(detector.score_samples(changed) - detector.score_samples(X[:1]))
    rows, columns = np.nonzero(difference[0] > 1e-4)
    assert len(rows)
    assert np.abs(rows - 10).max() <= reach
    assert np.abs(columns - 10).max() <= reach
    if reach:
        assert np.abs(rows - 10).max() > 1
