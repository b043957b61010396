"""The density layer against SciPy, scikit-learn and finite differences."""

import numpy as np
import pytest
import torch
from scipy.linalg import fractional_matrix_power
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from skadm.nn.blocks import build
from skadm.nn.density import (
    EstimationNet,
    FittedMixture,
    Mixture,
    MixtureAccumulator,
    diagonal_penalty,
    estimate_mixture,
    fit_mixture,
    is_singular,
    least_eigenvalue,
    mixture_energy,
)
from skadm.nn.spectral import whiten

pytestmark = pytest.mark.numerical

FLOOR = 0.1


def rotated(eigenvalues, seed=0):
    """A symmetric matrix with these eigenvalues and random eigenvectors."""
    eigenvalues = torch.tensor(eigenvalues, dtype=torch.float64)
    draw = torch.randn(
        *2 * (len(eigenvalues),),
        dtype=torch.float64,
        generator=torch.Generator().manual_seed(seed),
    )
    vectors = torch.linalg.qr(draw).Q
    return vectors @ torch.diag(eigenvalues) @ vectors.T


def random_mixture(n_components=3, n_features=4, seed=0):
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(n_components))
    means = rng.normal(size=(n_components, n_features))
    roots = rng.normal(size=(n_components, n_features, n_features))
    covariances = roots @ roots.transpose(0, 2, 1) + 0.1 * np.eye(n_features)
    return Mixture(*(torch.from_numpy(part) for part in (weights, means, covariances)))


@pytest.mark.parametrize(
    "eigenvalues",
    [
        [2.0, 1.0, 0.5, 0.3],  # distinct, above
        [1.0, 1.0, 1.0, 0.4],  # repeated, above
        [1.0, 1.0, 0.02, 0.02],  # repeated above and repeated below
        [0.03, 0.03, 0.03, 0.03],  # all repeated, below
        [1.0, 0.5, 0.03, 0.01],  # above and below
        [1.0, FLOOR, 0.5, 0.02],  # one at the floor
        [FLOOR, FLOOR, 0.5, 0.5],  # repeated at the floor
        [1.0, 1.0 + 1e-9, 0.5, 0.5 - 1e-12],  # nearly equal
        [1.0, 0.5, 0.0, 0.0],  # singular
    ],
)
def test_gradient_of_whitening(eigenvalues):
    def symmetric(matrix):
        return whiten((matrix + matrix.mT) / 2, FLOOR)

    # The diagonal case keeps eigenvalues that are meant to be at the kink exactly there.
    at_kink = FLOOR in eigenvalues
    matrix = (
        torch.diag(torch.tensor(eigenvalues, dtype=torch.float64))
        if at_kink
        else rotated(eigenvalues)
    )
    # At the kink the central difference is the mean of both slopes up to its step.
    atol = 1e-3 if at_kink else 1e-5
    assert torch.autograd.gradcheck(symmetric, matrix.requires_grad_(), atol=atol)


def test_whitening_is_the_inverse_root_of_the_floored_matrix():
    matrix = rotated([2.0, 0.7, 0.01, 0.0])
    floored = rotated([2.0, 0.7, FLOOR, FLOOR])
    whitening, logdet = whiten(matrix, FLOOR)
    expected = fractional_matrix_power(floored.numpy(), -0.5)
    np.testing.assert_allclose(whitening, expected, atol=1e-12)
    np.testing.assert_allclose(logdet, np.linalg.slogdet(floored.numpy())[1], rtol=1e-12)


def test_gradient_of_the_energy_through_estimation():
    """Eq. 8-12 as a whole, with two latent dimensions collapsed together."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(30, 5, dtype=torch.float64, generator=generator)
    features[:, 3:] = 0.7  # eigh's own backward gives NaN here
    logits = torch.randn(30, 2, dtype=torch.float64, generator=generator)

    def energy(features, logits):
        mixture = estimate_mixture(features, logits.softmax(dim=1))
        return mixture_energy(features, mixture, FLOOR)

    inputs = (features.requires_grad_(), logits.requires_grad_())
    assert torch.autograd.gradcheck(energy, inputs)


def test_gradient_of_many_pixels_against_torch_distributions():
    """More pixels than a block holds."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(10_000, 3, dtype=torch.float64, generator=generator)
    logits = torch.randn(10_000, 2, dtype=torch.float64, generator=generator)

    def ours(features, responsibilities):
        return mixture_energy(features, estimate_mixture(features, responsibilities))

    def reference(features, responsibilities):
        shares = responsibilities / responsibilities.sum(dim=0)
        means = shares.T @ features
        centred = features - means.unsqueeze(1)
        covariances = torch.einsum("nc,cni,cnj->cij", shares, centred, centred)
        gaussians = MultivariateNormal(means, covariances)
        weights = Categorical(responsibilities.mean(dim=0))
        return -MixtureSameFamily(weights, gaussians).log_prob(features)

    results = []
    for function in (ours, reference):
        inputs = [part.clone().requires_grad_() for part in (values, logits)]
        energy = function(inputs[0], inputs[1].softmax(dim=1))
        energy.square().mean().backward()
        results.append([energy.detach(), *(part.grad for part in inputs)])
    for found, expected in zip(*results):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-14)


def test_float32_gradient_is_finite_in_full_collapse():
    features = torch.zeros(50, 3, requires_grad=True)
    responsibilities = torch.full((50, 2), 0.5)
    mixture = estimate_mixture(features, responsibilities)
    mixture_energy(features, mixture, 1e-6).mean().backward()
    assert torch.isfinite(features.grad).all()


def test_energy_against_scipy():
    mixture = random_mixture()
    points = np.random.default_rng(1).normal(size=(40, 4)) * 3
    logs = [
        np.log(weight) + multivariate_normal(mean, covariance).logpdf(points)
        for weight, mean, covariance in zip(*(part.numpy() for part in mixture))
    ]
    energy = mixture_energy(torch.from_numpy(points), mixture)
    np.testing.assert_allclose(energy, -logsumexp(logs, axis=0), rtol=1e-10, atol=1e-10)


def test_energy_far_away_is_finite():
    """exp underflows there: log(sum(exp)) would be infinite."""
    energy = mixture_energy(torch.full((1, 4), 1e4), random_mixture(), 1e-6)
    assert torch.isfinite(energy).all()
    assert energy.item() > 1e6


def test_energy_is_full_precision_under_autocast():
    mixture = random_mixture()
    points = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    expected = mixture_energy(points.double(), mixture)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        energy = mixture_energy(points, mixture)
    np.testing.assert_allclose(energy, expected, rtol=1e-4)


def test_moments_against_scikit_learn():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(500, 3)) + rng.integers(2, size=(500, 1)) * 4
    responsibilities = rng.dirichlet(np.ones(2), size=500)
    reference = GaussianMixture(2, reg_covar=0)
    reference._initialize(points, responsibilities)  # one M step from responsibilities
    mixture = estimate_mixture(torch.from_numpy(points), torch.from_numpy(responsibilities))
    np.testing.assert_allclose(mixture.weights, reference.weights_, rtol=1e-10)
    np.testing.assert_allclose(mixture.means, reference.means_, rtol=1e-10)
    np.testing.assert_allclose(mixture.covariances, reference.covariances_, rtol=1e-10)


def test_empty_component_gives_no_nan():
    features = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    features.requires_grad_()
    responsibilities = torch.tensor([[1.0, 0.0]]).expand(20, 2).clone().requires_grad_()
    mixture = estimate_mixture(features, responsibilities)
    energy = mixture_energy(features, mixture, 1e-6)
    energy.mean().backward()
    for tensor in (energy, features.grad, responsibilities.grad):
        assert torch.isfinite(tensor).all()
    single = multivariate_normal(mixture.means[0].detach(), mixture.covariances[0].detach())
    np.testing.assert_allclose(
        energy.detach(), -single.logpdf(features.detach()), rtol=1e-4
    )


def tight_and_far_apart():
    """Float32 features of two Gaussians, 1e4 standard deviations apart, and shares."""
    rng = np.random.default_rng(0)
    second = rng.random(10_000) < 0.5
    points = rng.normal(size=(10_000, 3)) * [1e-3, 2e-3, 1e-3] + 10 * second[:, None]
    shares = np.stack([~second, second], axis=1).astype(float)
    return torch.tensor(points + 100, dtype=torch.float32), torch.from_numpy(shares)


def test_tight_gaussians_far_apart_against_longdouble():
    """A covariance is 1e-8 of the squared distance of its Gaussian from the centre."""
    features, shares = tight_and_far_apart()
    mixture = estimate_mixture(features, shares)
    energy = mixture_energy(features.double(), mixture, 1e-12)
    for c in range(2):
        held = shares[:, c].numpy() > 0
        points = features.numpy()[held].astype(np.longdouble)
        mean = points.mean(axis=0)
        covariance = (points - mean).T @ (points - mean) / len(points)
        np.testing.assert_allclose(mixture.means[c], mean.astype(float), rtol=1e-12)
        np.testing.assert_allclose(
            mixture.covariances[c], covariance.astype(float), rtol=1e-6, atol=1e-12
        )
        deviations = (points - mean).astype(float)
        expected = multivariate_normal(cov=covariance.astype(float)).logpdf(deviations)
        expected = np.log(held.mean()) + expected
        np.testing.assert_allclose(energy[held], -expected, rtol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 7, 100, 1000])
def test_accumulated_mixture_is_that_of_all_pixels(batch_size):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1000, 3, generator=generator) + 100  # far from 0: no cancelling
    responsibilities = torch.randn(1000, 4, generator=generator).mul(5).softmax(dim=1)
    accumulator = MixtureAccumulator()
    for part in torch.arange(1000).split(batch_size):
        accumulator.add(features[part], responsibilities[part])
    found = accumulator.mixture()
    expected = estimate_mixture(features.double(), responsibilities.double())
    for name in Mixture._fields:
        torch.testing.assert_close(
            getattr(found, name), getattr(expected, name), rtol=1e-6, atol=1e-8
        )


def test_accumulator_without_pixels():
    accumulator = MixtureAccumulator()
    accumulator.add(torch.zeros(0, 3), torch.zeros(0, 2))
    with pytest.raises(ValueError, match="no pixels were added"):
        accumulator.mixture()


def test_singular_mixtures_are_recognised():
    good = random_mixture(2, 3)
    flat = Mixture(good.weights, good.means, torch.stack([rotated([1, 0.5, 0.0])] * 2))
    nan = Mixture(good.weights, good.means * torch.nan, good.covariances)
    assert not is_singular(good)
    assert is_singular(flat)
    assert is_singular(nan)
    assert least_eigenvalue(flat) == pytest.approx(0, abs=1e-12)


def test_penalty():
    mixture = random_mixture(2, 3)
    expected = sum((1 / np.diag(c)).sum() for c in mixture.covariances.numpy())
    assert diagonal_penalty(mixture).item() == pytest.approx(expected)


def test_estimation_net_gives_responsibilities():
    net = build(lambda: EstimationNet(5, 3), torch.Generator().manual_seed(0))
    responsibilities = net(torch.randn(10, 5))
    assert responsibilities.shape == (10, 3)
    np.testing.assert_allclose(responsibilities.sum(1).detach(), 1, rtol=1e-6)


def test_fitted_mixture_keeps_parameters():
    mixture = random_mixture(2, 3)
    holder = FittedMixture(2, 3)
    holder.set(mixture)
    copy = FittedMixture(2, 3)
    copy.load_state_dict(holder.state_dict())
    for found, expected in zip(copy.parameters_, mixture):
        assert torch.equal(found, expected)


def test_dropout_draws_from_the_generator_alone():
    net = build(
        lambda: EstimationNet(3, 2, width=1000, dropout=0.5),
        torch.Generator().manual_seed(0),
    )
    pixels = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    before = torch.get_rng_state()
    dropped = net(pixels, torch.Generator().manual_seed(2))
    assert torch.equal(dropped, net(pixels, torch.Generator().manual_seed(2)))
    assert not torch.equal(dropped, net(pixels, torch.Generator().manual_seed(3)))
    assert torch.equal(net(pixels), net(pixels))  # scoring drops nothing
    assert torch.equal(torch.get_rng_state(), before)
    # The units that are left are scaled up, so that what comes out is right on average.
    logits = [net(pixels, torch.Generator().manual_seed(seed)).log() for seed in range(200)]
    difference = torch.stack([logit[:, 0] - logit[:, 1] for logit in logits]).mean(dim=0)
    plain = net(pixels).log()
    torch.testing.assert_close(difference, plain[:, 0] - plain[:, 1], atol=0.1, rtol=0.1)


def test_fitted_mixture_is_that_of_all_batches():
    net = build(lambda: EstimationNet(3, 2), torch.Generator().manual_seed(0))
    pixels = torch.randn(50, 3, generator=torch.Generator().manual_seed(1)).double().float()
    expected = estimate_mixture(pixels.double(), net(pixels).double())
    for size in (50, 7):
        found = fit_mixture(pixels.split(size), net)
        for part, whole in zip(found, expected):
            torch.testing.assert_close(part, whole, rtol=1e-5, atol=1e-7)
