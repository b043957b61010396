"""What the anomaly of a pixel is made of, against SciPy in float64."""

import pickle

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from test_adm import tiny
from test_contract import make_slices

from skadm.data import make_phantom
from skadm.nn.density import Mixture, explain_energy, mixture_energy


def draw_mixture(rng, n_components=3, n_features=4):
    roots = rng.normal(size=(n_components, n_features, n_features))
    weights = rng.uniform(0.5, 1.5, size=n_components)
    arrays = (
        weights / weights.sum(),
        rng.normal(size=(n_components, n_features)),
        roots @ roots.transpose(0, 2, 1) + 0.1 * np.eye(n_features),
    )
    return arrays, Mixture(*map(torch.from_numpy, arrays))


def test_parts_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    (weights, means, covariances), mixture = draw_mixture(rng)
    z = rng.normal(scale=3, size=(50, 4))
    densities = np.stack(
        [
            w * multivariate_normal(m, s).pdf(z)
            for w, m, s in zip(weights, means, covariances)
        ]
    )
    posterior = densities / densities.sum(axis=0)
    expected = np.zeros_like(z)
    for gamma, mean, covariance in zip(posterior, means, covariances):
        deviation = z - mean
        solved = np.linalg.solve(covariance, deviation.T).T
        expected += gamma[:, None] * deviation * solved / 2
    found = explain_energy(torch.from_numpy(z), mixture)
    np.testing.assert_allclose(found.features, expected, rtol=1e-8, atol=1e-8)
    np.testing.assert_array_equal(found.component, posterior.argmax(axis=0))
    np.testing.assert_allclose(
        found.features.sum(dim=1) + found.baseline,
        -np.log(densities.sum(axis=0)),
        rtol=1e-8,
    )


def test_a_lone_deviating_feature_takes_the_whole_distance():
    mixture = Mixture(
        torch.ones(1).double(), torch.zeros(1, 3).double(), torch.eye(3).double()[None]
    )
    pixel = torch.tensor([[0.0, 4.0, 0.0]]).double()
    found = explain_energy(pixel, mixture)
    np.testing.assert_allclose(found.features, [[0, 8, 0]], atol=1e-12)
    np.testing.assert_allclose(found.baseline, [1.5 * np.log(2 * np.pi)])


def test_the_floor_bounds_the_parts_of_a_collapsed_feature():
    covariance = torch.diag(torch.tensor([1.0, 0.0])).double()[None]
    mixture = Mixture(torch.ones(1).double(), torch.zeros(1, 2).double(), covariance)
    pixel = torch.tensor([[1.0, 1e-3]]).double()
    found = explain_energy(pixel, mixture, floor=1e-6)
    np.testing.assert_allclose(found.features, [[0.5, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(
        found.features.sum(dim=1) + found.baseline, mixture_energy(pixel, mixture, 1e-6)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("features", "kinds"),
    [
        ("both", ["contrast 1 translation", "contrast 2 translation", "latent 1"]),
        ("translation", ["contrast 1 translation", "contrast 2 translation"]),
        ("reduction", ["latent 1"]),
    ],
)
def test_maps_add_up_to_the_score(features, kinds):
    X, y = make_slices()
    X = X[:, :2]
    detector = tiny(features=features).fit(X, y)
    found = detector.explain(X)
    brain = (X != 0).any(axis=1)
    scores = detector.score_samples(X)
    assert list(found.names) == kinds
    assert found.features.shape == (len(X), len(kinds), *X.shape[2:])
    np.testing.assert_allclose(-found.anomaly[brain], scores[brain], rtol=1e-4, atol=1e-3)
    assert not found.features.transpose(0, 2, 3, 1)[~brain].any()
    assert (found.component[~brain] == -1).all()
    assert found.component[brain].min() >= 0
    np.testing.assert_array_equal(found[kinds[0]], found.features[:, 0])
    with pytest.raises(KeyError, match="expected one of"):
        found["T9 translation"]


@pytest.mark.slow
def test_names_of_a_stack_and_a_copy_from_a_file():
    stack = make_phantom(n_patients=2, n_slices=6, size=32, random_state=0)
    detector = tiny().fit(stack, stack.y)
    found = detector.explain(stack)
    assert found.names[: len(stack.contrasts)] == tuple(
        f"{name} translation" for name in stack.contrasts
    )
    again = pickle.loads(pickle.dumps(detector)).set_params(batch_size=3).explain(stack)
    np.testing.assert_allclose(again.features, found.features, atol=1e-4)


@pytest.mark.slow
def test_pixel_features_are_those_of_the_density():
    X, y = make_slices()
    detector = tiny(precision="float32", latent_dim=2).fit(X, y)
    z = detector.pixel_features(X)
    n_contrasts = X.shape[1]
    assert z.shape == (len(X), n_contrasts + 2, *X.shape[2:])
    brain = (X != 0).any(axis=1)
    assert not z.transpose(0, 2, 3, 1)[~brain].any()
    assert z[:, :n_contrasts].min() >= 0  # absolute errors
    mixture = Mixture(
        *(
            torch.from_numpy(detector.weights_[f"mixture.{name}"])
            for name in Mixture._fields
        )
    )
    pixels = torch.from_numpy(z.transpose(0, 2, 3, 1)[brain]).double()
    np.testing.assert_allclose(
        -mixture_energy(pixels, mixture, 1e-6), detector.score_samples(X)[brain], rtol=1e-4
    )
