"""GMVAE: its densities and divergences, the ELBO, the restoration, what it detects."""

import numpy as np
import pytest
import torch
from scipy import optimize, stats
from scipy.special import logsumexp
from sklearn.base import clone
from test_contract import make_slices

from skadm import GMVAEDetector
from skadm.data import make_phantom
from skadm.nn.blocks import build
from skadm.nn.gmvae import (
    GMVAE,
    Gaussian,
    divergence,
    divergence_from_standard,
    divergence_from_uniform,
    log_density,
    log_responsibilities,
)
from skadm.nn.pixels import brain_of
from skadm.nn.restoration import TotalVariationStep, restore, total_variation
from skadm.preprocessing import IntensityNormalizer


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def gaussian(*shape, seed=0):
    return Gaussian(draw(*shape, seed=seed), draw(*shape, seed=seed + 100))


def normal(gaussian):
    """The same in torch's own words."""
    return torch.distributions.Normal(gaussian.mean, (gaussian.log_variance / 2).exp())


def tiny_net(n_contrasts=3, n_components=4, seed=0):
    net = build(
        lambda: GMVAE(n_contrasts, n_components, 2, 2, width=4, n_levels=2),
        generator(seed),
    )
    return net.double().eval()


def slices_and_brain(n_slices=4, **shape):
    X, _ = make_slices(n_slices, **shape)
    images = torch.from_numpy(X).double()
    return images, brain_of(images)


# -- densities and divergences ------------------------------------------------------------


def test_log_density_is_that_of_a_gaussian():
    values, p = draw(50), gaussian(50, seed=1)
    torch.testing.assert_close(log_density(values, p), normal(p).log_prob(values))


@pytest.mark.parametrize("log_variance", [-3.0, 0.0, 2.5])
def test_density_has_mass_one(log_variance):
    """Only with half the log-variance, and with its sign, whatever the variance."""
    grid = torch.linspace(-40, 40, 100_001, dtype=torch.float64)
    p = Gaussian(torch.full_like(grid, 0.7), torch.full_like(grid, log_variance))
    mass = torch.trapezoid(log_density(grid, p).exp(), grid)
    assert mass.item() == pytest.approx(1, abs=1e-9)


def test_divergences():
    q, p = gaussian(50), gaussian(50, seed=1)
    standard = torch.distributions.Normal(torch.zeros(50), torch.ones(50))
    expected = torch.distributions.kl_divergence(normal(q), normal(p))
    torch.testing.assert_close(divergence(q, p), expected)
    expected = torch.distributions.kl_divergence(normal(q), standard)
    torch.testing.assert_close(divergence_from_standard(q), expected)
    np.testing.assert_allclose(divergence(q, q), 0, atol=1e-6)


def test_divergence_is_the_mean_difference_of_log_densities():
    q, p = gaussian(5), gaussian(5, seed=1)
    n_draws = 200_000
    many = Gaussian(*(part.expand(n_draws, 5) for part in q))
    values = many.sample(generator())
    differences = log_density(values, q) - log_density(values, p)
    error = differences.std(dim=0) / n_draws**0.5
    assert ((differences.mean(dim=0) - divergence(q, p)).abs() < 4 * error).all()


def test_draws_come_from_the_generator_alone():
    q = Gaussian(torch.full((20_000,), 2.0), torch.full((20_000,), 1.0))
    before = torch.get_rng_state()
    values = q.sample(generator())
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(values, q.sample(generator()))
    assert values.mean() == pytest.approx(2, abs=0.05)
    assert values.var() == pytest.approx(np.e, rel=0.05)


def test_responsibilities_are_bayes_rule():
    z, components = draw(2, 3, 4, 5), gaussian(2, 6, 3, 4, 5, seed=1)
    means, deviations = components.mean.numpy(), np.exp(components.log_variance.numpy() / 2)
    likelihoods = stats.norm(means, deviations).logpdf(z.numpy()[:, None]).sum(axis=2)
    expected = likelihoods - logsumexp(likelihoods, axis=1, keepdims=True)
    np.testing.assert_allclose(log_responsibilities(z, components), expected, rtol=1e-9)


def test_the_narrow_component_takes_what_is_at_its_mean():
    """With the sign of the log-variance turned, the wide one would take it."""
    components = Gaussian(
        torch.zeros(1, 2, 1, 1, 1), torch.tensor([-4.0, 4.0]).view(1, 2, 1, 1, 1)
    )
    near, far = (
        log_responsibilities(torch.full((1, 1, 1, 1), z), components).exp().flatten()
        for z in (0.0, 3.0)
    )
    # At the mean the densities have the ratio of the standard deviations, e² to e⁻².
    assert near[0] == pytest.approx(1 / (1 + np.exp(-4)), rel=1e-5)
    assert far[1] > 0.99


def test_divergence_from_uniform():
    logs = draw(3, 6, 4, 5).log_softmax(dim=1)
    expected = stats.entropy(logs.exp().numpy(), np.full((3, 6, 4, 5), 1 / 6), axis=1)
    np.testing.assert_allclose(divergence_from_uniform(logs), expected, rtol=1e-9)
    certain = torch.tensor([[0.0, -800.0, -800.0]])
    assert divergence_from_uniform(certain).item() == pytest.approx(np.log(3))
    assert divergence_from_uniform(torch.full((1, 3), 1 / 3).log()).abs() < 1e-6


# -- ELBO ---------------------------------------------------------------------------------


@torch.no_grad()
def test_elbo_terms():
    """All four once more with SciPy, from what the networks say."""
    net, (images, brain) = tiny_net(), slices_and_brain()
    terms = net(images, brain)
    q_z, q_w = net.encode(images)
    components = net.components(q_w.mean)
    decoded = net.decode(q_z.mean, *images.shape[-2:])
    assert q_z.mean.shape == (4, 2, 4, 3)  # 14 × 11, padded to 16 × 12, by 4
    assert components.mean.shape == (4, 4, 2, 4, 3)
    assert decoded.shape == images.shape
    for n in range(len(images)):
        inside = brain[n].numpy()
        residuals = (images[n] - decoded[n]).numpy()[:, inside]
        assert terms.reconstruction[n].item() == pytest.approx(
            -stats.norm.logpdf(residuals).sum()
        )
        zm, zs = q_z.mean[n].numpy(), np.exp(q_z.log_variance[n].numpy() / 2)
        wm, wv = q_w.mean[n].numpy(), np.exp(q_w.log_variance[n].numpy())
        assert terms.w_prior[n].item() == pytest.approx(
            0.5 * (wm**2 + wv - np.log(wv) - 1).sum()
        )
        conditional = divergence = 0.0
        for i, j in np.ndindex(zm.shape[1:]):
            cm = components.mean[n, :, :, i, j].numpy()
            cs = np.exp(components.log_variance[n, :, :, i, j].numpy() / 2)
            likelihoods = stats.norm(cm, cs).logpdf(zm[:, i, j]).sum(axis=1)
            shares = np.exp(likelihoods - logsumexp(likelihoods))
            m, s = zm[:, i, j], zs[:, i, j]
            each = np.log(cs / s) + (s**2 + (m - cm) ** 2) / (2 * cs**2) - 0.5
            conditional += shares @ each.sum(axis=1)
            divergence += stats.entropy(shares, np.full(4, 0.25))
        assert terms.conditional_prior[n].item() == pytest.approx(conditional)
        assert terms.c_prior[n].item() == pytest.approx(divergence)
    torch.testing.assert_close(terms.negative_elbo, sum(terms))


@torch.no_grad()
def test_reconstruction_counts_brain_pixels_only():
    net, (images, brain) = tiny_net(), slices_and_brain()
    fewer = brain.clone()
    fewer[:, :7] = False
    decoded = net.decode(net.encode(images)[0].mean, *images.shape[-2:])
    errors = -stats.norm.logpdf((images - decoded).numpy()).sum(axis=1)
    np.testing.assert_allclose(
        net(images, fewer).reconstruction, (errors * fewer.numpy()).sum(axis=(1, 2))
    )
    assert (net(images, fewer).reconstruction < net(images, brain).reconstruction).all()


@torch.no_grad()
def test_free_bits():
    net, (images, brain) = tiny_net(), slices_and_brain()
    n_places = 4 * 3
    plain, floored = net(images, brain), net(images, brain, free_bits=0.5)
    assert (plain.c_prior < 0.5 * n_places).any()
    assert (floored.c_prior >= 0.5 * n_places - 1e-9).all()
    above = net(images, brain, free_bits=1e-12)
    torch.testing.assert_close(above.c_prior, plain.c_prior)
    for ours, other in zip(plain[:3], floored[:3]):
        assert torch.equal(ours, other)


@torch.no_grad()
def test_latents_are_drawn_in_training_and_at_their_means_in_scoring():
    net, (images, brain) = tiny_net(), slices_and_brain()
    still = net(images, brain).negative_elbo
    assert torch.equal(still, net(images, brain).negative_elbo)
    drawn = net(images, brain, generator(0)).negative_elbo
    assert torch.equal(drawn, net(images, brain, generator(0)).negative_elbo)
    assert not torch.allclose(drawn, net(images, brain, generator(1)).negative_elbo)
    assert not torch.allclose(drawn, still)


@torch.no_grad()
def test_slices_do_not_meet():
    net, (images, brain) = tiny_net(), slices_and_brain()
    together = net(images, brain)
    for n in range(len(images)):
        alone = net(images[n : n + 1], brain[n : n + 1])
        for ours, other in zip(alone, together):
            torch.testing.assert_close(ours[0], other[n])


@pytest.mark.slow
def test_gradient_of_the_negative_elbo():
    """Against finite differences, in float64."""
    net, (images, brain) = (
        tiny_net(2),
        slices_and_brain(2, n_contrasts=2, height=9, width=6),
    )
    images = images.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: net(x, brain).negative_elbo, images)


def test_gradient_does_not_jump():
    """A ReLU's would: then images that differ by rounding are restored differently."""
    net, (images, brain) = tiny_net(), slices_and_brain()

    def slope(shift):
        moved = (images + shift * draw(*images.shape)).requires_grad_()
        return torch.autograd.grad(net(moved, brain).negative_elbo.sum(), moved)[0]

    far, near = ((slope(shift) - slope(0)).abs().max() for shift in (1e-3, 1e-6))
    assert near < 2e-3 * far


# -- total variation and restoration ------------------------------------------------------


def test_total_variation():
    maps = draw(3, 2, 7, 5)
    expected, values = np.zeros(3), maps.numpy()
    for n, k, i, j in np.ndindex(*maps.shape):
        down = values[n, k, i + 1, j] - values[n, k, i, j] if i < 6 else 0
        right = values[n, k, i, j + 1] - values[n, k, i, j] if j < 4 else 0
        expected[n] += np.hypot(down, right)
    np.testing.assert_allclose(total_variation(maps), expected)
    assert (total_variation(torch.ones(2, 1, 4, 4)) == 0).all()


def test_proximal_step_of_two_pixels():
    """They move towards each other by the weight, until they meet."""
    brain = torch.ones(1, 1, 2, dtype=torch.bool)
    values = torch.tensor([[[[3.0, 0.0]]]])
    for weight, expected in [
        (0.0, [3, 0]),
        (1.0, [2, 1]),
        (1.5, [1.5] * 2),
        (9.0, [1.5] * 2),
    ]:
        found = TotalVariationStep(brain, 50)(values, weight)
        np.testing.assert_allclose(found.flatten(), expected, atol=1e-5)


@pytest.mark.slow
def test_proximal_step_is_the_minimum():
    """Against SciPy's quasi-Newton method, on the total variation with rounded kinks."""
    values, weight = draw(1, 1, 8, 6), 0.4
    brain = torch.ones(1, 8, 6, dtype=torch.bool)
    brain[0, :2] = brain[0, :, 0] = False

    def objective(inside, rounding=0.0):
        maps = np.zeros((8, 6))
        maps[brain[0]] = inside
        down, right = np.zeros((8, 6)), np.zeros((8, 6))
        down[:-1], right[:, :-1] = np.diff(maps, axis=0), np.diff(maps, axis=1)
        lengths = np.sqrt(down**2 + right**2 + rounding**2) - rounding
        distance = ((inside - values[0, 0].numpy()[brain[0]]) ** 2).sum()
        return distance / 2 + weight * lengths.sum()

    start = np.zeros(int(brain.sum()))
    expected = optimize.minimize(objective, start, args=(1e-4,)).x
    found = TotalVariationStep(brain, 500)(values, weight)
    assert (found[0, 0][~brain[0]] == 0).all()
    assert objective(found[0, 0][brain[0]].numpy()) <= objective(expected) + 1e-9
    np.testing.assert_allclose(found[0, 0][brain[0]], expected, atol=2e-3)


def test_proximal_step_starts_from_the_last_one():
    values = draw(1, 1, 20, 20)
    brain = torch.ones(1, 20, 20, dtype=torch.bool)
    exact = TotalVariationStep(brain, 2000)(values, 0.7)
    step = TotalVariationStep(brain, 10)
    errors = [(step(values, 0.7) - exact).abs().max().item() for _ in range(5)]
    assert errors[-1] < 0.4 * errors[0]


def test_proximal_step_does_not_flip():
    """A gradient of the total variation would: its sign is rounding where maps are flat."""
    values = draw(2, 3, 20, 20).float()
    brain = torch.ones(2, 20, 20, dtype=torch.bool)
    shift = 1e-6 * draw(2, 3, 20, 20, seed=1).float()
    first, second = (
        TotalVariationStep(brain, 20)(v, 0.5) for v in (values, values + shift)
    )
    assert (first - second).abs().max() < 1e-5


@pytest.mark.slow
def test_restoration_towards_a_known_image():
    """With a squared distance as energy one step of length 1 is the proximal step."""
    images, brain = slices_and_brain()
    target = draw(*images.shape)

    def energy(current, brain):
        return (current - target).square().flatten(1).sum(dim=1) / 2

    restored = restore(images, brain, energy, 0.3, 1, 1.0, tv_iterations=200)
    expected = images + TotalVariationStep(brain, 200)(target - images, 0.3)
    torch.testing.assert_close(restored, expected)
    smaller = restore(images, brain, energy, 0.3, 60, 0.5, tv_iterations=50)
    torch.testing.assert_close(smaller, expected, atol=1e-3, rtol=0)
    # Without total variation, nothing holds the brain back.
    free = restore(images, brain, energy, 0.0, 1, 1.0)
    torch.testing.assert_close(free, torch.where(brain.unsqueeze(1), target, images))


def test_restoration_under_inference_mode():
    net, (images, brain) = tiny_net().float(), slices_and_brain()
    images = images.float()

    def restored():
        return restore(images, brain, lambda *x: net(*x).negative_elbo, 0.1, 3, 0.5)

    expected = restored()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(restored(), expected)
        assert torch.is_inference_mode_enabled()
        assert torch.is_autocast_enabled("cpu")
    assert not expected.requires_grad
    assert expected.dtype == torch.float32
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not torch.equal(expected, images)


# -- the detector -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def phantom():
    stack = make_phantom(n_patients=4, n_slices=12, size=32, random_state=0)
    return IntensityNormalizer().fit_transform(stack).load()


SMALL = {"width": 8, "max_epochs": 40, "learning_rate": 5e-3, "random_state": 0}


@pytest.fixture(scope="module")
def trained(phantom):
    return GMVAEDetector(**SMALL).fit(*phantom)


def objectives(detector, X, n_steps):
    """Mean objective over slices before the restoration and after each step."""
    images = torch.from_numpy(X)
    brain, net = brain_of(images), detector._networks
    means = []
    for n in range(n_steps + 1):
        detector.set_params(restoration_steps=max(n, 1))
        restored = detector._restored(net, images) if n else images
        with torch.no_grad():
            energy = net(restored, brain).negative_elbo.double()
        change = total_variation((restored - images).double())
        means.append((energy + detector.tv_weight * change).mean().item())
    return np.array(means)


@pytest.mark.slow
@pytest.mark.parametrize("tv_weight", [0.5, 1.0])
def test_restoration_lowers_its_objective_at_every_step(trained, phantom, tv_weight):
    X, _ = phantom
    detector = clone(trained).set_params(tv_weight=tv_weight)
    detector.__dict__.update(weights_=trained.weights_, _networks=trained._networks)
    means = objectives(detector, X[::12], 8)
    fall = means[0] - means[-1]
    assert fall > 1e-3 * abs(means[0])
    assert np.diff(means).max() <= 1e-3 * fall


@pytest.mark.slow
@pytest.mark.parametrize("sign", [1, -1])
def test_a_blob_is_taken_away(trained, phantom, sign):
    X, y = phantom
    n = np.argmax((y == 0).sum(axis=(1, 2)) * ~(y == 1).any(axis=(1, 2)))
    blob = np.zeros(y.shape[1:], bool)
    blob[10:16, 10:16] = True
    blob &= y[n] == 0
    assert blob.sum() > 20
    marked = X[n : n + 1].copy()
    marked[:, :, blob] += 2 * sign
    images = torch.from_numpy(np.repeat(marked, 2, axis=0))
    change = (trained._restored(trained._networks, images) - images)[0].numpy()
    inside, outside = blob, (y[n] == 0) & ~blob
    assert (-sign * change[:, inside].mean(axis=1) > 0.3).all()
    assert abs(change[:, inside]).mean() > 3 * abs(change[:, outside]).mean()
    maps = trained.score_samples(marked)[0]
    assert maps[inside].mean() < maps[outside].min(initial=0) / 2


@pytest.mark.slow
def test_background_stays_exactly_zero(trained, phantom):
    images = torch.from_numpy(phantom[0][::4])
    background = ~brain_of(images).unsqueeze(1).expand_as(images)
    restored = trained._restored(trained._networks, images)
    assert (restored[background] == 0).all()
    assert (restored[~background] != images[~background]).float().mean() > 0.5


@pytest.mark.slow
def test_score_is_the_mean_absolute_change(trained, phantom):
    X = phantom[0][::8].copy()
    X[:, :, [0, -1], [0, -1]] = 0.1  # brain from corner to corner: slices are seen whole
    restored = trained._restored(trained._networks, torch.from_numpy(X)).numpy()
    expected = -abs(X - restored).mean(axis=1)
    brain = (X != 0).any(axis=1)
    np.testing.assert_allclose(
        trained.score_samples(X)[brain], expected[brain], rtol=1e-4, atol=1e-5
    )


@pytest.mark.slow
def test_rounding_does_not_change_scores(trained, phantom):
    X = phantom[0][::8]
    noise = 1e-6 * np.random.default_rng(0).standard_normal(X.shape)
    moved = (X * (1 + noise)).astype(np.float32)
    np.testing.assert_allclose(
        trained.score_samples(moved), trained.score_samples(X), rtol=1e-4, atol=1e-4
    )


@pytest.mark.slow
def test_restoration_is_in_full_precision(trained, phantom):
    X = phantom[0][::8]
    single, half = (
        trained.set_params(precision=precision).score_samples(X)
        for precision in ("float32", "bfloat16")
    )
    trained.set_params(precision="auto")
    np.testing.assert_array_equal(single, half)


@pytest.mark.slow
def test_history(trained):
    assert [record["stage"] for record in trained.history_] == ["autoencoder"] * 40
    names = ("reconstruction", "conditional_prior", "w_prior", "c_prior")
    for record in trained.history_:
        assert record["loss"] == pytest.approx(sum(record[n] for n in names), rel=1e-5)
    first, last = trained.history_[0], trained.history_[-1]
    assert last["loss"] < 0.9 * first["loss"]


@pytest.mark.slow
def test_latent_dim():
    X, y = make_slices()

    def n_latents(**parameters):
        detector = GMVAEDetector(width=4, max_epochs=1, random_state=0, **parameters)
        weights = detector.fit(X, y).weights_
        return len(weights["z_posterior.weight"]) // 2, len(
            weights["w_posterior.bias"]
        ) // 2

    assert n_latents() == (3, 1)
    assert n_latents(latent_dim=5, mixture_latent_dim=2) == (5, 2)
