"""f-AnoGAN: penalty, turns of the adversaries, frozen second stage, score."""

import numpy as np
import pytest
import torch
from test_contract import make_slices

from skadm import FAnoGANDetector
from skadm.nn.adversarial import Critic, build_critic, gradient_penalty
from skadm.nn.blocks import build


def tiny(**parameters):
    settings = {"width": 4, "latent_dim": 2, "n_levels": 1, "max_epochs": 2}
    settings |= {"batch_size": 2, "precision": "float32", "random_state": 0}
    return FAnoGANDetector(**{**settings, **parameters})


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Linear(torch.nn.Module):
    """A critic whose gradient is the same everywhere."""

    def __init__(self, weight):
        super().__init__()
        self.weight = torch.nn.Parameter(weight)

    def forward(self, images):
        return (images * self.weight).sum(dim=(1, 2, 3))


# -- the penalty --------------------------------------------------------------------------


def test_penalty_is_over_all_axes_but_the_batch():
    weight = torch.randn(3, 5, 4, dtype=torch.float64, generator=generator())
    real, fake = torch.randn(2, 6, 3, 5, 4, dtype=torch.float64, generator=generator(1))
    shares = torch.rand(6, dtype=torch.float64, generator=generator(2))
    penalty = gradient_penalty(Linear(weight), real, fake, shares)
    norm = np.linalg.norm(weight.numpy().ravel())
    assert penalty.item() == pytest.approx((norm - 1) ** 2)
    over_channels = (np.linalg.norm(weight.numpy(), axis=0) - 1) ** 2
    assert penalty.item() != pytest.approx(over_channels.mean(), rel=0.1)


def test_penalty_does_not_depend_on_the_size_of_the_batch():
    critic = build_critic(2, 4, 2, generator())
    real, fake = torch.randn(2, 5, 2, 8, 8, generator=generator(1))
    shares = torch.rand(5, generator=generator(2))
    each = [
        gradient_penalty(critic, real[[n]], fake[[n]], shares[[n]]).item() for n in range(5)
    ]
    together = gradient_penalty(critic, real, fake, shares).item()
    assert together == pytest.approx(np.mean(each), rel=1e-4)


def test_penalty_looks_between_real_and_generated_slices():
    seen = []

    class Spy(Linear):
        def forward(self, images):
            seen.append(images.detach().clone())
            return super().forward(images)

    real, fake = torch.ones(3, 1, 2, 2), torch.zeros(3, 1, 2, 2)
    shares = torch.tensor([0.0, 0.25, 1.0])
    gradient_penalty(Spy(torch.ones(1, 2, 2)), real, fake, shares)
    torch.testing.assert_close(seen[0][:, 0, 0, 0], shares)


def test_penalty_trains_the_critic():
    """Its gradient by the weights, against finite differences."""
    weight = torch.randn(2, 3, 3, dtype=torch.float64, generator=generator())
    real, fake = torch.randn(2, 4, 2, 3, 3, dtype=torch.float64, generator=generator(1))
    shares = torch.rand(4, dtype=torch.float64, generator=generator(2))

    class Smooth(Linear):
        def forward(self, images):
            return torch.tanh(super().forward(images))

    critic = Smooth(weight)
    gradient_penalty(critic, real, fake, shares).backward()
    step = 1e-6
    for index in ((0, 0, 0), (1, 2, 1)):
        values = []
        for sign in (1, -1):
            moved = weight.clone()
            moved[index] += sign * step
            values.append(gradient_penalty(Smooth(moved), real, fake, shares).item())
        expected = (values[0] - values[1]) / (2 * step)
        assert critic.weight.grad[index].item() == pytest.approx(expected, rel=1e-4)


def test_critic_sees_slices_one_by_one():
    critic = build_critic(2, 4, 2, generator())
    slices = torch.randn(4, 2, 11, 9, generator=generator(1))
    apart = torch.cat([critic(slices[n : n + 1]) for n in range(4)])
    torch.testing.assert_close(critic(slices), apart)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in critic.modules())


def test_critics_gradient_begins_near_one():
    slices = torch.randn(16, 4, 32, 32, generator=generator(1))
    ours = build_critic(4, 8, 3, generator())
    plain = build(lambda: Critic(4, 8, 3), generator())
    shares = torch.zeros(16)
    penalties = [gradient_penalty(c, slices, slices, shares).item() for c in (ours, plain)]
    assert penalties[0] < 0.5 < penalties[1]


# -- the losses ---------------------------------------------------------------------------


def test_critic_tells_real_slices_by_higher_scores():
    X = torch.from_numpy(make_slices()[0])
    detector = tiny()
    networks = detector._build(3, generator())
    terms = detector._critic_loss(networks, X, generator(1))
    expected = 10 * terms["penalty"] - terms["distance"]
    torch.testing.assert_close(terms["loss"], expected)
    fake = detector._imagine(networks, X, generator(1))
    with torch.no_grad():
        distance = networks.critic(X).mean() - networks.critic(fake).mean()
    torch.testing.assert_close(terms["distance"].detach(), distance, rtol=1e-3, atol=1e-4)
    optimiser = torch.optim.Adam(networks.critic.parameters(), lr=1e-2)
    for _ in range(20):
        optimiser.zero_grad()
        detector._critic_loss(networks, X, generator(1))["loss"].backward()
        optimiser.step()
    assert detector._critic_loss(networks, X, generator(1))["distance"] > distance + 0.1
    assert all(weight.grad is None for weight in networks.generator.parameters())


def test_generator_wants_high_scores():
    X = torch.from_numpy(make_slices()[0])
    detector = tiny()
    networks = detector._build(3, generator())
    loss = detector._generator_loss(networks, X, generator(1))["generator"]
    with torch.no_grad():
        scores = networks.critic(detector._imagine(networks, X, generator(1)))
    torch.testing.assert_close(loss.detach(), -scores.mean(), rtol=1e-3, atol=1e-4)


def test_encoder_loss_is_residual_and_features():
    X = torch.from_numpy(make_slices()[0])
    detector = tiny(feature_weight=0.5)
    networks = detector._build(3, generator()).eval()
    with torch.no_grad():
        terms = detector._encoder_loss(networks, X)
        restored = detector._restore(networks, X)
        brain = (X != 0).any(dim=1)
        residual = (X - restored).square().permute(0, 2, 3, 1)[brain].mean()
        inside = restored * brain.unsqueeze(1)
        features = networks.critic.features(inside) - networks.critic.features(X)
    torch.testing.assert_close(terms["residual"], residual)
    torch.testing.assert_close(terms["features"], features.square().mean())
    torch.testing.assert_close(terms["loss"], residual + 0.5 * features.square().mean())


# -- the training -------------------------------------------------------------------------


def test_generator_steps_after_every_fifth_step_of_the_critic(monkeypatch):
    log = []
    for name in ("_critic_loss", "_generator_loss"):
        original = getattr(FAnoGANDetector, name)

        def spy(self, *arguments, name=name, original=original):
            log.append(name)
            return original(self, *arguments)

        monkeypatch.setattr(FAnoGANDetector, name, spy)
    X, _ = make_slices(6)
    tiny(max_epochs=4).fit(X)  # three batches an epoch
    assert log.count("_critic_loss") == 12
    assert log.count("_generator_loss") == 3
    places = [i for i, name in enumerate(log) if name == "_generator_loss"]
    assert np.diff(places).tolist() == [6, 6]


def test_generator_and_critic_are_frozen_in_the_second_stage(monkeypatch):
    seen = []
    original = FAnoGANDetector._encoder_loss

    def spy(self, networks, images):
        assert not networks.generator.training
        assert not networks.critic.training
        assert networks.encoder.training
        seen.append({n: t.clone() for n, t in networks.state_dict().items()})
        return original(self, networks, images)

    monkeypatch.setattr(FAnoGANDetector, "_encoder_loss", spy)
    X, y = make_slices()
    detector = tiny(max_epochs=3).fit(X, y)
    assert len(seen) > 3
    moved = False
    for name, first in seen[0].items():
        after = detector.weights_[name]
        if name.startswith("encoder"):
            moved |= not np.array_equal(first, after)
        else:  # weights and the norms' running statistics
            np.testing.assert_array_equal(first, after)
    assert moved
    stages = [record["stage"] for record in detector.history_]
    assert stages == ["adversarial"] * 3 + ["encoder"] * 3


def test_encoder_epochs():
    X, y = make_slices()
    stages = [r["stage"] for r in tiny(encoder_epochs=5).fit(X, y).history_]
    assert stages == ["adversarial"] * 2 + ["encoder"] * 5


def test_encoder_learns_to_restore():
    X, y = make_slices()
    detector = tiny(width=8, latent_dim=4, max_epochs=40, learning_rate=5e-3).fit(X, y)
    residuals = [r["residual"] for r in detector.history_ if r["stage"] == "encoder"]
    assert np.mean(residuals[-3:]) < 0.8 * np.mean(residuals[:3])


def test_training_restores_normal_slices_of_other_patients():
    """Both stages do: the encoder before an untrained generator is worse."""
    X, y = make_slices(16)
    X_other, y_other = make_slices(16, seed=1)
    normal = y_other == 0

    def error(**parameters):
        settings = {"width": 8, "latent_dim": 4, "max_epochs": 40, "learning_rate": 5e-3}
        detector = tiny(**{**settings, **parameters}).fit(X, y)
        return -detector.score_samples(X_other)[normal].mean()

    trained = error()
    assert trained < 0.95 * error(max_epochs=1, encoder_epochs=40)
    assert trained < 0.9 * error(learning_rate=1e-12, max_epochs=1)


# -- the score ----------------------------------------------------------------------------


def test_score_is_the_residual():
    X, y = make_slices()
    detector = tiny().fit(X, y)
    with torch.inference_mode():
        restored = detector._restore(detector._networks, torch.from_numpy(X)).numpy()
    residual = np.abs(X - restored).mean(axis=1)
    np.testing.assert_allclose(
        detector.score_samples(X)[y >= 0], -residual[y >= 0], rtol=1e-4, atol=1e-5
    )
