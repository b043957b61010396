"""DSVDD: nothing to collapse with, the centre, both objectives."""

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from test_contract import make_slices

from skadm import DSVDDDetector


def tiny(**parameters):
    settings = {"width": 4, "latent_dim": 8, "n_levels": 1, "max_epochs": 5}
    settings |= {"pretraining_epochs": 2, "warm_up_epochs": 2}
    settings |= {"precision": "float32", "random_state": 0}
    return DSVDDDetector(**{**settings, **parameters})


def features_of(detector, X):
    encoder, images = detector._networks.encoder, torch.from_numpy(X)
    with torch.inference_mode():
        features = encoder.to_pixels(encoder(images), images)
    return features.permute(0, 2, 3, 1).numpy()[(X != 0).any(axis=1)]


def test_the_encoder_cannot_shift():
    """No bias and no affine norm: it maps 0 to 0, whatever its weights."""
    encoder = tiny().fit(*make_slices())._networks.encoder
    assert all(name.endswith("weight") for name, _ in encoder.named_parameters())
    assert all(weight.ndim == 4 for weight in encoder.parameters())  # of convolutions
    for layer in encoder.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.zero_()
    assert (encoder(torch.zeros(1, 3, 8, 8)) == 0).all()


@pytest.mark.parametrize("objective", ["one-class", "soft-boundary"])
def test_scores_do_not_collapse(objective):
    """After a long training: still spread, and not by a few pixels alone."""
    X, y = make_slices()
    detector = tiny(objective=objective, max_epochs=60).fit(X, y)
    scores = detector.score_samples(X)[y >= 0]
    assert scores.std() > 0.05 * np.abs(scores - scores.max()).mean()
    low, middle, high = np.quantile(scores, [0.1, 0.5, 0.9])
    assert low < middle < high
    assert high - low > 1e-4
    assert detector.score(X, y) > 0.6


def test_centre_is_the_mean_before_training():
    X, y = make_slices()
    # A step as small as this one leaves the features, and the norms' statistics move.
    detector = tiny(max_epochs=1, learning_rate=1e-12, pretraining_epochs=0)
    networks = detector._build(3, torch.Generator().manual_seed(0))
    from skadm.detectors._dsvdd import _centre
    from skadm.training._engine import Engine

    engine = Engine(torch.device("cpu"), None, 5)
    normal = X[~(y == 1).any(axis=(1, 2))]
    found = _centre(networks.encoder, normal, engine).numpy()
    detector._networks = networks.eval()
    mean = features_of(detector, normal).mean(axis=0)
    near = np.abs(mean) < 0.1
    assert near.any()
    np.testing.assert_allclose(found[~near], mean[~near], rtol=1e-4)
    np.testing.assert_array_equal(
        found[near], np.where(mean[near] < 0, -0.1, 0.1).astype("f4")
    )
    assert not networks.encoder.training


def test_centre_stays_in_training(monkeypatch):
    seen = []
    original = DSVDDDetector._one_class

    def spy(self, networks, images):
        seen.append(networks.centre.clone())
        return original(self, networks, images)

    monkeypatch.setattr(DSVDDDetector, "_one_class", spy)
    detector = tiny().fit(*make_slices())
    assert len(seen) == 5
    for centre in seen:
        np.testing.assert_array_equal(centre, detector.weights_["centre"])
    assert (np.abs(detector.weights_["centre"]) >= 0.1 - 1e-7).all()


def test_score_is_the_squared_distance():
    X, y = make_slices()
    detector = tiny().fit(X, y)
    with torch.inference_mode():
        grid = detector._networks.encoder(torch.from_numpy(X)).numpy()
    difference = grid - detector.weights_["centre"][:, None, None]
    squared = np.square(difference).sum(axis=1)
    # Pixel 2 n is a quarter of a step above point n of the grid, 2 n + 1 a quarter below.
    rows, columns = (np.clip((np.arange(n) - 0.5) / 2, 0, None) for n in X.shape[2:])
    expected = [
        map_coordinates(own, np.meshgrid(rows, columns, indexing="ij"), order=1)
        for own in squared
    ]
    np.testing.assert_allclose(
        detector.score_samples(X)[y >= 0], -np.array(expected)[y >= 0], rtol=1e-4
    )
    assert detector.weights_["radius"] == 0


def test_training_draws_features_together():
    X, y = make_slices()
    detector = tiny(max_epochs=30).fit(X, y)
    distances = [r["distance"] for r in detector.history_ if r["stage"] == "one-class"]
    assert distances[-1] < 0.8 * distances[0]
    assert [r["stage"] for r in detector.history_[:3]] == ["pretraining"] * 2 + [
        "one-class"
    ]


@pytest.mark.parametrize("nu", [0.1, 0.4])
def test_soft_boundary_leaves_a_share_outside(nu):
    X, y = make_slices()
    normal = ~(y == 1).any(axis=(1, 2))
    detector = tiny(objective="soft-boundary", nu=nu, max_epochs=30, augmentation=None).fit(
        X, y
    )
    stages = [record["stage"] for record in detector.history_]
    assert stages == ["pretraining"] * 2 + ["one-class"] * 2 + ["soft-boundary"] * 30
    # Scores are squared radius minus squared distance: negative outside of the sphere.
    outside = (detector.score_samples(X[normal])[y[normal] >= 0] < 0).mean()
    assert outside == pytest.approx(nu, abs=0.005)


def test_soft_boundary_loss():
    X, _ = make_slices()
    detector = tiny(nu=0.2, weight_decay=0.01)
    networks = detector._build(3, torch.Generator().manual_seed(0)).eval()
    networks.centre.fill_(0.5)
    with torch.no_grad():
        terms = detector._soft_boundary(networks, torch.from_numpy(X))
        distances = networks.distances(torch.from_numpy(X)).numpy()
    distances = distances[(X != 0).any(axis=1)].astype(np.float64)
    square = np.sort(distances)[round(0.8 * len(distances)) - 1]
    beyond = np.maximum(distances - square, 0).mean()
    decay = 0.005 * sum(
        float(w.detach().square().sum()) for w in networks.encoder.parameters()
    )
    assert terms["loss"].item() == pytest.approx(square + beyond / 0.2 + decay, rel=1e-4)
    assert terms["radius"].item() == pytest.approx(np.sqrt(square), rel=1e-5)


def test_each_stage_trains_what_it_should(monkeypatch):
    """The autoencoder moves the encoder; the soft boundary has a stage of its own loss."""
    X, y = make_slices()
    networks = tiny()._build(3, torch.Generator().manual_seed(0))
    before = {n: w.clone() for n, w in networks.encoder.named_parameters()}
    calls = []
    for name in ("_one_class", "_soft_boundary"):
        original = getattr(DSVDDDetector, name)

        def spy(self, networks, images, name=name, original=original):
            if not calls:  # the first step after the pre-training
                after = dict(networks.encoder.named_parameters())
                assert all(not torch.equal(before[n], after[n]) for n in before)
            calls.append(name)
            return original(self, networks, images)

        monkeypatch.setattr(DSVDDDetector, name, spy)
    monkeypatch.setattr(DSVDDDetector, "_build", lambda *_: networks)
    tiny(objective="soft-boundary").fit(X, y)
    assert calls == ["_one_class"] * 2 + ["_soft_boundary"] * 5


def test_one_class_loss_is_distance_and_decay():
    X, _ = make_slices()
    networks = tiny()._build(3, torch.Generator().manual_seed(0)).eval()
    with torch.no_grad():
        terms = tiny(weight_decay=0.02)._one_class(networks, torch.from_numpy(X))
    squares = sum(float(w.detach().square().sum()) for w in networks.encoder.parameters())
    expected = terms["distance"].item() + 0.01 * squares
    assert terms["loss"].item() == pytest.approx(expected, rel=1e-5)


def test_warm_start_continues_with_the_soft_boundary():
    X, y = make_slices()
    detector = tiny(warm_start=True, objective="soft-boundary").fit(X, y).fit(X, y)
    stages = [record["stage"] for record in detector.history_]
    assert stages == ["pretraining"] * 2 + ["one-class"] * 2 + ["soft-boundary"] * 10
    assert detector.weights_["radius"] > 0
    detector.set_params(objective="one-class").fit(X, y)
    assert detector.weights_["radius"] == 0


def test_warm_start_keeps_the_centre():
    X, y = make_slices()
    detector = tiny(warm_start=True).fit(X, y)
    centre = detector.weights_["centre"]
    detector.fit(X, y)
    np.testing.assert_array_equal(detector.weights_["centre"], centre)
    assert sum(record["stage"] == "pretraining" for record in detector.history_) == 2
    assert sum(record["stage"] == "one-class" for record in detector.history_) == 10
