"""DAE: its noise, its residuals, its filter."""

import numpy as np
import pytest
import torch
from test_contract import make_slices, make_stack

from skadm import DAEDetector
from skadm._filters import median_in_brain
from skadm.nn.noise import coarse_noise


def tiny(**parameters):
    settings = {"width": 4, "n_levels": 2, "noise_scale": 4, "max_epochs": 3}
    return DAEDetector(**{**settings, "random_state": 0, **parameters})


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("scale", [1, 2, 3, 5, 8])
def test_noise_is_standard_at_every_place(scale):
    noise = coarse_noise((200, 3, 33, 40), scale, generator())
    assert noise.shape == (200, 3, 33, 40)
    assert noise.std() == pytest.approx(1, abs=0.02)
    assert abs(noise.mean()) < 0.05
    # The grid moves from draw to draw: no pixel is always on one of its points.
    draws = torch.cat(
        [coarse_noise((200, 1, 9, 9), scale, generator(s)) for s in range(40)]
    )
    spread = draws.std(dim=0)
    assert spread.max() / spread.min() < 1.25


@pytest.mark.parametrize("scale", [1, 4, 8])
def test_noise_is_as_coarse_as_asked(scale):
    noise = coarse_noise((50, 2, 64, 64), scale, generator()).numpy()

    def correlation(distance):
        return np.corrcoef(noise[..., distance:].ravel(), noise[..., :-distance].ravel())[
            0, 1
        ]

    assert abs(correlation(2 * scale)) < 0.1
    if scale > 1:
        assert correlation(scale // 2) > 0.5
    channels = noise[:, 0].ravel(), noise[:, 1].ravel()
    assert abs(np.corrcoef(*channels)[0, 1]) < 0.1


def test_noise_is_within_the_brain_only(monkeypatch):
    seen = []
    from skadm.nn.unet import UNet

    original = UNet.forward

    def spy(self, images):
        if self.training:
            seen.append(images.detach().clone())
        return original(self, images)

    monkeypatch.setattr(UNet, "forward", spy)
    X, y = make_slices(2, height=60, width=60)
    y[:] = np.minimum(y, 0)  # so large that the noise's spread is known
    tiny(augmentation=None, max_epochs=1, noise_scale=1, noise_std=2.0).fit(X, y)
    noisy = seen[0].numpy()
    background = (X == 0).all(axis=1)  # the same in every slice
    assert (noisy[:, :, background[0]] == 0).all()
    order = (
        [0, 1] if np.abs(noisy[0] - X[0]).sum() < np.abs(noisy[0] - X[1]).sum() else [1, 0]
    )
    noise = (noisy - X[order])[:, :, ~background[0]]
    assert noise.std() == pytest.approx(2.0, rel=0.05)


def test_score_is_the_filtered_residual():
    X, y = make_slices()
    detector = tiny().fit(X, y)
    with torch.inference_mode():
        restored = detector._networks(torch.from_numpy(X)).numpy()
    brain = y >= 0
    residual = np.abs(X - restored).mean(axis=1)
    plain = tiny(median_size=1).fit(X, y)
    np.testing.assert_allclose(
        plain.score_samples(X)[brain], -residual[brain], rtol=0.05, atol=0.02
    )
    np.testing.assert_allclose(
        detector.score_samples(X)[brain],
        median_in_brain(plain.score_samples(X), brain, 5)[brain],
        rtol=1e-5,
    )


def test_signed_residuals_by_name_and_by_index():
    stack = make_stack()
    X, brain = stack.X, (stack.X != 0).any(axis=1)
    by_name = tiny(prior={"FLAIR": 1, "T1": -2}, median_size=1).fit(stack, stack.y)
    by_index = tiny(prior={2: 1, 0: -2}, median_size=1).fit(X, stack.y)
    maps = by_name.score_samples(stack)
    np.testing.assert_array_equal(maps, by_index.score_samples(X))
    assert (maps[brain] > 0).any()
    assert (maps[brain] < 0).any()
    parts = [
        tiny(prior={index: 1}, median_size=1).fit(X, stack.y).score_samples(X)
        for index in (0, 2)
    ]
    np.testing.assert_allclose(maps[brain], (parts[1] - 2 * parts[0])[brain], atol=1e-4)


def test_bright_lesions_score_lower_than_dark_ones_with_a_positive_weight():
    X, y = make_slices()
    detector = tiny(prior={2: 1}, max_epochs=20).fit(X, y)
    dark = X.copy()
    dark[:, 2][y == 1] -= 8  # from 4 above to 4 below
    lesion = y == 1
    assert (
        detector.score_samples(X)[lesion].mean()
        < detector.score_samples(dark)[lesion].mean()
    )


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"median_size": 4}, "median_size=4 .*odd"),
    ],
)
def test_bad_parameters_raise_before_training(parameters, message, monkeypatch):
    monkeypatch.setattr(DAEDetector, "_train", lambda *_: pytest.fail("it was trained"))
    with pytest.raises(ValueError, match=message):
        tiny(**parameters).fit(*make_slices())


def test_memory_trains_once(tmp_path, monkeypatch):
    X, y = make_slices()
    first = tiny(memory=str(tmp_path)).fit(X, y)
    alone = tiny().fit(X, y)
    monkeypatch.setattr("skadm.training.Trainer._begin_stage", None)
    other = tiny(memory=str(tmp_path), median_size=3, prior={0: 1}).fit(X, y)
    for name, weights in first.weights_.items():
        np.testing.assert_array_equal(weights, alone.weights_[name])
        np.testing.assert_array_equal(weights, other.weights_[name])
    assert other.history_ == first.history_
    with pytest.raises(TypeError, match="not callable"):  # another training is another
        tiny(memory=str(tmp_path), noise_std=0.5).fit(X, y)
