"""FAnoGANDetector: the game of critic and generator, the frozen second stage, the score."""

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from test_contract import make_slices

from skadm import FAnoGANDetector
from skadm.data import make_phantom
from skadm.nn.adversarial import Critic, build_critic, gradient_penalty
from skadm.nn.autoencoder import Decoder
from skadm.nn.blocks import build, leaky_relu
from skadm.preprocessing import IntensityNormalizer


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def tiny(**parameters):
    defaults = {
        "width": 4,
        "latent_dim": 2,
        "n_levels": 2,
        "max_epochs": 3,
        "precision": "float32",
        "random_state": 0,
    }
    return FAnoGANDetector(**{**defaults, **parameters})


def records(detector, stage):
    return [record for record in detector.history_ if record["stage"] == stage]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed))


# -- gradient penalty ---------------------------------------------------------------------


class Linear(torch.nn.Module):
    """A critic whose gradient is the same everywhere: its weights."""

    def __init__(self, *shape):
        super().__init__()
        self.weights = torch.nn.Parameter(draw(*shape, seed=1))

    def forward(self, images):
        return (images * self.weights).sum(dim=(1, 2, 3))


def test_penalty_of_a_linear_critic():
    """The norm is over channels, H and W together: a single one, that of the weights."""
    critic = Linear(3, 5, 4)
    penalty = gradient_penalty(
        critic, draw(6, 3, 5, 4), draw(6, 3, 5, 4, seed=2), torch.rand(6)
    )
    norm = math.sqrt((critic.weights.detach().numpy().astype(float) ** 2).sum())
    assert penalty.item() == pytest.approx((norm - 1) ** 2, rel=1e-5)
    # d/dw (‖w‖ - 1)² = 2 (‖w‖ - 1) w / ‖w‖
    penalty.backward()
    expected = 2 * (norm - 1) / norm * critic.weights.detach()
    torch.testing.assert_close(critic.weights.grad, expected)


def test_penalty_is_taken_between_the_slices():
    """D(x) = ‖x‖²/2 has the gradient x: the norms tell where the points are."""
    real, fake = draw(4, 2, 3, 3), draw(4, 2, 3, 3, seed=2)
    shares = torch.tensor([0.0, 1.0, 0.25, 0.6])
    penalty = gradient_penalty(
        lambda images: images.square().sum(dim=(1, 2, 3)) / 2, real, fake, shares
    )
    points = [s * r + (1 - s) * f for s, r, f in zip(shares, real, fake)]
    expected = np.mean([(np.linalg.norm(point) - 1) ** 2 for point in points])
    assert penalty.item() == pytest.approx(expected, rel=1e-5)


def test_penalty_does_not_depend_on_the_size_of_the_batch():
    critic = build_critic(2, 4, 2, generator())
    real, fake = torch.randn(2, 5, 2, 8, 8, generator=generator(1))
    shares = torch.rand(5, generator=generator(2))
    each = [
        gradient_penalty(critic, real[[n]], fake[[n]], shares[[n]]).item() for n in range(5)
    ]
    together = gradient_penalty(critic, real, fake, shares).item()
    assert together == pytest.approx(np.mean(each), rel=1e-4)


def test_penalty_against_finite_differences():
    """Its value from differences of D; its gradient from differences of the penalty."""
    critic = build_critic(2, 3, 1, generator()).double()
    # In the network itself: the critic computes in float32, too coarse for differences.
    net = torch.nn.Sequential(critic.encoder, torch.nn.Flatten(), torch.nn.Tanh())

    def score(images):
        return net(images).sum(dim=1)

    real, fake = draw(2, 2, 4, 4).double(), draw(2, 2, 4, 4, seed=2).double()
    shares = torch.tensor([0.3, 0.8]).double()
    points = torch.lerp(fake, real, shares[:, None, None, None])
    step, norms = 1e-6, []
    for point in points:
        slopes = []
        for index in np.ndindex(2, 4, 4):
            change = torch.zeros_like(point)
            change[index] = step
            there, back = score(torch.stack([point + change, point - change]))
            slopes.append((there - back).item() / (2 * step))
        norms.append(np.linalg.norm(slopes))
    penalty = gradient_penalty(score, real, fake, shares)
    expected = np.mean((np.array(norms) - 1) ** 2)
    assert penalty.item() == pytest.approx(expected, rel=1e-6)

    weight = critic.encoder[0][0].weight
    (gradient,) = torch.autograd.grad(penalty, weight)
    for index in [(0, 0, 0, 0), (1, 1, 2, 1), (2, 0, 1, 2)]:
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[index] += sign * step
            values.append(gradient_penalty(score, real, fake, shares).item())
            with torch.no_grad():
                weight[index] -= sign * step
        slope = (values[0] - values[1]) / (2 * step)
        assert gradient[index].item() == pytest.approx(slope, rel=1e-4, abs=1e-9)


def test_penalty_of_a_critic_without_slope_has_a_gradient():
    critic = Linear(1, 2, 2)
    torch.nn.init.zeros_(critic.weights)
    penalty = gradient_penalty(critic, draw(2, 1, 2, 2), draw(2, 1, 2, 2), torch.rand(2))
    assert penalty.item() == pytest.approx(1)
    penalty.backward()
    assert torch.isfinite(critic.weights.grad).all()


def test_penalty_is_computed_in_full_precision():
    critic = build_critic(2, 4, 2, generator())
    real, fake, shares = draw(3, 2, 16, 16), draw(3, 2, 16, 16, seed=2), torch.rand(3)

    def slope(half):
        critic.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            penalty = gradient_penalty(critic, real, fake, shares)
        penalty.backward()
        return penalty.item(), critic.encoder[0][0].weight.grad.clone()

    single, half = slope(False), slope(True)
    assert single[0] == half[0]
    assert torch.equal(single[1], half[1])


# -- critic -------------------------------------------------------------------------------


def test_critic_scores_slices_independently():
    """No norm over the batch: the penalty is per slice."""
    critic = build_critic(3, 4, 2, generator())
    assert not any(
        isinstance(layer, torch.nn.modules.batchnorm._NormBase)
        for layer in critic.modules()
    )
    images = draw(5, 3, 13, 10)
    together = critic(images)
    assert together.shape == (5,)
    for n in range(5):
        torch.testing.assert_close(critic(images[n : n + 1]), together[n : n + 1])


@pytest.mark.parametrize(("n_levels", "width"), [(2, 4), (3, 8), (4, 16)])
@pytest.mark.parametrize("size", [32, 64])
def test_gradient_of_a_new_critic_is_as_the_penalty_wants_it(n_levels, width, size):
    """With torch's own initial weights the norm is about 0.01."""
    norms = []
    for seed in range(5):
        critic = build_critic(4, width, n_levels, generator(seed))
        images = draw(4, 4, size, size, seed=seed).requires_grad_()
        (gradients,) = torch.autograd.grad(critic(images).sum(), images)
        norms.extend(gradients.flatten(start_dim=1).norm(dim=1).tolist())
    assert 0.5 < np.mean(norms) < 2


def test_critic_is_a_sum_over_its_features():
    critic = build_critic(3, 4, 2, generator())
    images = draw(2, 3, 16, 12)
    features = critic.features(images)
    assert features.shape == (2, 8, 4, 3)
    expected = features.sum(dim=(2, 3)) @ critic.output.weight[0] + critic.output.bias
    torch.testing.assert_close(critic(images), expected)


def test_weights_of_the_critic_come_from_the_generator_alone():
    def weights(seed):
        critic = build_critic(2, 4, 2, generator(seed))
        return torch.cat([p.detach().flatten() for p in critic.parameters()])

    before = torch.get_rng_state()
    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_leaky_decoder_cannot_be_switched_off():
    """Without the leak, no gradient reaches latents at which no ReLU is on."""
    for activation, reached in ((torch.nn.ReLU, False), (leaky_relu, True)):
        decoder = build(
            lambda: Decoder(2, 4, 2, 3, "none", activation),  # noqa: B023
            generator(),
        )
        with torch.no_grad():
            decoder[0][0].bias.fill_(-100)
        latent = draw(1, 2, 3, 3).requires_grad_()
        decoder(latent).square().sum().backward()
        assert bool((latent.grad != 0).any()) == reached


# -- adversarial stage --------------------------------------------------------------------


def untrained(**parameters):
    detector = tiny(**parameters)
    return detector, detector._build(3, generator())


@pytest.mark.slow
def test_critic_tells_real_from_generated_slices():
    """It maximises mean D(real) - mean D(fake), with the penalty against it."""
    detector, networks = untrained()
    images = torch.from_numpy(make_slices()[0])
    terms = detector._critic_loss(networks, images, generator(3))
    with torch.no_grad():
        fake = detector._generate(networks, images, generator(3))  # its first draw
        distance = networks.critic(images).mean() - networks.critic(fake).mean()
    torch.testing.assert_close(terms["distance"], distance)
    torch.testing.assert_close(terms["loss"], 10 * terms["penalty"] - distance)

    adam = torch.optim.Adam(networks.critic.parameters(), lr=1e-2)
    for _ in range(50):
        terms = detector._critic_loss(networks, images, generator(3))
        adam.zero_grad()
        terms["loss"].backward()
        adam.step()
    with torch.no_grad():
        assert (networks.critic(images).mean() - networks.critic(fake).mean()) > 1


def test_generator_follows_the_critic():
    detector, networks = untrained()
    images = torch.from_numpy(make_slices()[0])
    loss = detector._generator_loss(networks, images, generator(3))["generator"]
    with torch.no_grad():
        fake = detector._generate(networks, images, generator(3))
    torch.testing.assert_close(loss, -networks.critic(fake).mean())


def test_generator_fills_the_whole_slice():
    """Background is not cut out for it: the critic would know by it what is real."""
    detector, networks = untrained()
    images = torch.from_numpy(make_slices()[0])
    fake = detector._generate(networks, images, generator())
    assert fake.shape == images.shape
    assert (fake != 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(("critic_steps", "expected"), [(5, 3), (2, 6), (1, 12)])
def test_generator_takes_one_step_for_several_of_the_critic(
    critic_steps, expected, monkeypatch
):
    """Four batches in each of three epochs."""
    X, y = make_slices()
    detector = tiny(critic_steps=critic_steps, batch_size=2)
    log = []

    def spy(name, module):
        original = getattr(FAnoGANDetector, name)

        def loss(self, networks, *arguments):
            weights = getattr(networks, module).parameters()
            log.append((name, torch.cat([p.detach().flatten() for p in weights])))
            return original(self, networks, *arguments)

        monkeypatch.setattr(FAnoGANDetector, name, loss)

    spy("_critic_loss", "generator")
    spy("_generator_loss", "critic")
    detector.fit(X, y)
    names = [name for name, _ in log]
    assert names.count("_critic_loss") == 12
    assert names.count("_generator_loss") == expected
    turn = ["_critic_loss", "_generator_loss", *["_critic_loss"] * (critic_steps - 1)]
    assert names[: len(turn)] == turn
    # The generator seen by the critic has changed after its own step, and only then.
    seen = [weights for name, weights in log if name == "_critic_loss"]
    changed = [not torch.equal(*pair) for pair in itertools.pairwise(seen)]
    assert changed == [n % critic_steps == 0 for n in range(11)]


def test_momentum_of_the_game_is_zero(monkeypatch):
    betas = []
    original = torch.optim.Adam

    def spy(parameters, lr, betas_=None, **others):
        adam = original(parameters, lr=lr, **others)
        betas.append(adam.defaults["betas"][0])
        return adam

    monkeypatch.setattr(torch.optim, "Adam", spy)
    tiny(max_epochs=1).fit(*make_slices())
    assert betas == [0.0, 0.0, 0.9]


# -- encoder stage ------------------------------------------------------------------------


def test_generator_and_critic_are_frozen_while_the_encoder_learns(monkeypatch):
    X, y = make_slices()
    before, seen = {}, []
    original = FAnoGANDetector._encoder_loss

    def spy(self, networks, images):
        if not before:
            before.update({k: v.clone() for k, v in networks.state_dict().items()})
        for network in (networks.generator, networks.critic):
            assert not any(layer.training for layer in network.modules())
            assert not any(weight.requires_grad for weight in network.parameters())
        assert networks.encoder.training
        seen.append(images)
        return original(self, networks, images)

    monkeypatch.setattr(FAnoGANDetector, "_encoder_loss", spy)
    detector = tiny(encoder_epochs=4).fit(X, y)
    assert len(seen) == 4
    for name, weights in detector.weights_.items():
        if name.split(".")[0] in ("generator", "critic"):
            # Batch-norm statistics too.
            np.testing.assert_array_equal(weights, before[name], err_msg=name)
    changed = [
        not np.array_equal(weights, before[name])
        for name, weights in detector.weights_.items()
        if name.startswith("encoder")
    ]
    assert all(changed)


def test_encoder_loss_is_izi_f():
    X, y = make_slices()
    detector = tiny(feature_weight=0.3).fit(X, y)
    networks, images = detector._networks, torch.from_numpy(X)
    brain = (X != 0).any(axis=1)
    with torch.no_grad():
        terms = detector._encoder_loss(networks, images)
        restored = detector._restore(networks, images)
        features = [
            networks.critic.features(slices).numpy().astype(float)
            for slices in (images, restored * torch.from_numpy(brain[:, None]))
        ]
    differences = (X.astype(float) - restored.numpy()).transpose(0, 2, 3, 1)[brain]
    residual = (differences**2).mean()
    assert terms["residual"].item() == pytest.approx(residual, rel=1e-5)
    feature_loss = ((features[0] - features[1]) ** 2).mean()
    assert terms["features"].item() == pytest.approx(feature_loss, rel=1e-4)
    assert terms["loss"].item() == pytest.approx(residual + 0.3 * feature_loss, rel=1e-5)


def test_background_of_what_is_generated_does_not_count():
    X, y = make_slices()
    detector = tiny().fit(X, y)
    networks, images = detector._networks, torch.from_numpy(X)
    outside = torch.from_numpy(~(X != 0).any(axis=1))[:, None]
    original = detector._restore
    with torch.no_grad():
        expected = detector._encoder_loss(networks, images)
        detector._restore = lambda *arguments: original(*arguments) + 100 * outside
        moved = detector._encoder_loss(networks, images)
    assert moved == expected


@pytest.mark.slow
def test_encoder_learns_to_restore():
    X, y = make_slices()
    detector = tiny(
        n_levels=1, batch_size=2, width=8, latent_dim=4, max_epochs=40, learning_rate=5e-3
    ).fit(X, y)
    residuals = [r["residual"] for r in detector.history_ if r["stage"] == "encoder"]
    assert np.mean(residuals[-3:]) < 0.8 * np.mean(residuals[:3])


@pytest.mark.slow
def test_training_restores_normal_slices_of_other_patients():
    """Both stages do: the encoder before an untrained generator is worse."""
    X, y = make_slices(16)
    X_other, y_other = make_slices(16, seed=1)
    normal = y_other == 0

    def error(**parameters):
        """Mean of two seeds: they differ by as much as a GAN gains in so few steps."""
        settings = {"n_levels": 1, "batch_size": 2}
        settings |= {"width": 8, "latent_dim": 8, "max_epochs": 20, "learning_rate": 8e-3}
        detectors = [
            tiny(**{**settings, **parameters, "random_state": seed}).fit(X, y)
            for seed in range(2)
        ]
        return np.mean([-each.score_samples(X_other)[normal].mean() for each in detectors])

    trained = error()
    assert trained < 0.95 * error(max_epochs=1, encoder_epochs=40)
    assert trained < 0.95 * error(learning_rate=1e-12, max_epochs=1)


def test_encoder_stays_within_the_noise():
    _, networks = untrained()
    latent = networks.encoder(1e3 * draw(2, 3, 16, 16))
    assert latent.abs().max() <= 1
    assert latent.shape == (2, 2, 4, 4)


# -- score --------------------------------------------------------------------------------


def test_score_is_the_residual():
    X, y = make_slices()
    detector = tiny().fit(X, y)
    with torch.no_grad():
        restored = detector._restore(detector._networks, torch.from_numpy(X)).numpy()
    brain = (X != 0).any(axis=1)
    expected = -np.abs(X - restored).mean(axis=1)
    np.testing.assert_allclose(
        detector.score_samples(X)[brain], expected[brain], rtol=1e-5, atol=1e-5
    )


@pytest.mark.slow
def test_a_broken_relation_of_contrasts_is_found():
    """T1 with its sign turned, in squares of normal slices: no intensity is unusual.

    An untrained twin, for which that is all there is, finds nothing.
    """
    stack = make_phantom(
        n_patients=6,
        n_slices=12,
        size=24,
        contrasts=("T1", "T2"),
        lesions=None,
        random_state=0,
    )
    X = IntensityNormalizer().fit_transform(stack).X
    training, test = X[:48], X[48:].copy()
    brain = (test != 0).any(axis=1)
    turned = np.zeros_like(brain)
    rng = np.random.default_rng(0)
    for n, pixels in enumerate(brain):
        row, column = rng.choice(np.argwhere(pixels))
        turned[n, max(row - 3, 0) : row + 3, max(column - 3, 0) : column + 3] = True
    test[:, 0] *= np.where(turned, -1, 1)

    detector = FAnoGANDetector(
        width=8,
        n_levels=2,
        max_epochs=20,
        batch_size=4,
        learning_rate=5e-3,
        augmentation=None,
        random_state=0,
    )

    def auc(detector):
        maps = detector.fit(training).score_samples(test)
        return roc_auc_score(turned[brain], -maps[brain])

    twin = clone(detector).set_params(learning_rate=1e-12, max_epochs=2)
    assert auc(detector) > auc(twin) + 0.08


@pytest.mark.slow
def test_same_seed_same_scores():
    X, y = make_slices()
    first, again, other = (
        tiny(random_state=seed).fit(X, y).score_samples(X) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


# -- parameters ---------------------------------------------------------------------------


@pytest.mark.slow
def test_history():
    X, y = make_slices()
    detector = tiny(batch_size=2, encoder_epochs=5).fit(X, y)
    assert [(r["stage"], r["epoch"]) for r in detector.history_] == [
        *[("adversarial", n) for n in range(3)],
        *[("encoder", n) for n in range(5)],
    ]
    assert set(records(detector, "adversarial")[0]) - {"stage", "epoch", "seconds"} == {
        "loss",
        "distance",
        "penalty",
        "generator",
    }
    assert set(records(detector, "encoder")[0]) - {"stage", "epoch", "seconds"} == {
        "loss",
        "residual",
        "features",
    }
    assert len(records(tiny().fit(X, y), "encoder")) == 3  # as max_epochs


def test_warm_start():
    X, y = make_slices()
    detector = tiny(warm_start=True).fit(X, y)
    before = dict(detector.weights_)
    detector.set_params(learning_rate=1e-12).fit(X, y)
    for name, weights in before.items():
        if name.endswith(("weight", "bias")):
            np.testing.assert_allclose(detector.weights_[name], weights, atol=1e-6)
    assert [r["epoch"] for r in records(detector, "adversarial")] == list(range(6))


def test_training_slices_are_not_cropped(monkeypatch):
    """A crop is padded below and to the right, where a whole slice goes on."""
    sizes = set()
    original = FAnoGANDetector._critic_loss

    def spy(self, networks, images, generator):
        sizes.add(images.shape[-2:])
        return original(self, networks, images, generator)

    monkeypatch.setattr(FAnoGANDetector, "_critic_loss", spy)
    X, y = make_slices()
    flipped = tiny().fit(X, y).score_samples(X)
    plain = tiny(augmentation=None).fit(X, y).score_samples(X)
    assert sizes == {X.shape[2:]}
    assert not np.array_equal(flipped, plain)


@pytest.mark.slow
@pytest.mark.parametrize("n_levels", [1, 4])
def test_levels(n_levels):
    X, y = make_slices()
    detector = tiny(n_levels=n_levels, max_epochs=1).fit(X, y)
    assert np.isfinite(detector.score_samples(X)).all()
    assert np.isfinite(detector.fit(X[:1, :, 6:7, 5:6]).score_samples(X[:, :, :1])).all()


def test_critic_is_computed_in_full_precision():
    critic = build_critic(2, 4, 2, generator())
    images = draw(2, 2, 16, 16)
    expected = critic(images), critic.features(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = critic(images), critic.features(images)
    for ours, theirs in zip(result, expected):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs)
    assert isinstance(critic, Critic)
