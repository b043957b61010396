"""ADMDetector: stages, ablations, the singularity study, stopping, callbacks."""

import warnings

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.exceptions import ConvergenceWarning
from test_contract import make_slices

from skadm import ADMDetector, Augmentation
from skadm.presets import make_detector
from skadm.training import Trainer


def tiny(**parameters):
    defaults = {"width": 4, "n_blocks": 1, "max_epochs": 3, "random_state": 0}
    return ADMDetector(**{**defaults, **parameters})


def records(detector, stage):
    return [record for record in detector.history_ if record["stage"] == stage]


class Recorder:
    """A callback that notes the tasks, and stops a stage after some epochs."""

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.tasks = []

    def setup(self, estimator, context):
        self.tasks.append("setup")

    def teardown(self, estimator, context):
        self.tasks.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        self.tasks.append(context.task_name)
        return context.task_name == "epoch" and context.task_id + 1 == self.stop_after


# -- what is computed ---------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("density", ["network", "em"])
def test_score_is_the_log_likelihood_of_the_features(density):
    """The whole of Eq. 4-12 once more, in float64 with SciPy."""
    X, y = make_slices()
    detector = tiny(precision="float32", density=density).fit(X, y)
    networks, images = detector._networks, torch.from_numpy(X)
    with torch.inference_mode():
        errors = detector._translation_errors(networks.translation, images)
        reduced, _ = networks.reduction(images)
        features = torch.cat([errors, reduced], dim=1).permute(0, 2, 3, 1).numpy()
    weights, means, covariances = (
        detector.weights_[f"mixture.{name}"] for name in ("weights", "means", "covariances")
    )
    brain = y >= 0
    pixels = features[brain].astype(np.float64)
    logs = []
    for weight, mean, covariance in zip(weights, means, covariances):
        eigenvalues, vectors = np.linalg.eigh(covariance)
        floored = vectors * np.maximum(eigenvalues, 1e-6) @ vectors.T
        logs.append(np.log(weight) + multivariate_normal(mean, floored).logpdf(pixels))
    np.testing.assert_allclose(
        detector.score_samples(X)[brain], logsumexp(logs, axis=0), rtol=1e-4, atol=1e-3
    )


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_final_mixture_is_that_of_all_training_pixels(batch_size):
    X, y = make_slices()
    normal = ~(y == 1).any(axis=(1, 2))
    detector = tiny(precision="float32", batch_size=batch_size).fit(X, y)
    networks = detector._networks
    with torch.inference_mode():
        images = torch.from_numpy(X[normal])
        errors = detector._translation_errors(networks.translation, images)
        features, _ = detector._density_features(networks, images, errors)
        pixels = features.permute(0, 2, 3, 1)[torch.from_numpy(y[normal] >= 0)].double()
        shares = networks.estimation(pixels.float()).double()
    weights = shares.mean(dim=0)
    means = (shares.T @ pixels) / shares.sum(dim=0)[:, None]
    np.testing.assert_allclose(detector.weights_["mixture.weights"], weights, rtol=1e-5)
    np.testing.assert_allclose(
        detector.weights_["mixture.means"], means, rtol=1e-4, atol=1e-5
    )
    for c in range(len(weights)):
        expected = np.cov(pixels.numpy().T, aweights=shares[:, c].numpy(), ddof=0)
        np.testing.assert_allclose(
            detector.weights_["mixture.covariances"][c], expected, rtol=1e-3, atol=1e-6
        )


@pytest.mark.slow
def test_every_contrast_is_a_target():
    """One target per slice and step is an unbiased estimate of all of them (Eq. 13)."""
    X, y = make_slices()
    detector = tiny().fit(X, y)
    networks, images = detector._networks, torch.from_numpy(X)

    def loss(targets, seed):
        generator = torch.Generator().manual_seed(seed)
        part = clone(detector).set_params(targets_per_step=targets)
        with torch.inference_mode():
            return part._translation_loss(networks.translation, images, generator)[
                "loss"
            ].item()

    everything = loss(3, 0)
    assert loss(3, 1) == pytest.approx(everything, rel=1e-5)
    assert loss(99, 1) == pytest.approx(everything, rel=1e-5)
    draws = [loss(1, seed) for seed in range(200)]
    assert np.std(draws) > 0
    assert np.mean(draws) == pytest.approx(
        everything, abs=4 * np.std(draws) / np.sqrt(len(draws))
    )


def test_network_gets_the_median_prior():
    X, y = make_slices()
    images = torch.from_numpy(X)
    medians = tiny()._priors(images)
    for n, k in [(0, 0), (3, 2)]:
        values = np.sort(X[n, k][y[n] >= 0])
        assert medians[n, k] == values[(len(values) - 1) // 2]
    assert (tiny(median_prior=False)._priors(images) == 0).all()


@pytest.mark.slow
def test_density_loss_is_equation_14():
    X, y = make_slices()
    detector = tiny(energy_weight=0.3, precision="float32").fit(X, y)
    networks, images = detector._networks, torch.from_numpy(X)
    with torch.inference_mode():
        errors = detector._translation_errors(networks.translation, images)
        terms = detector._density_loss(networks, torch.cat([images, errors], 1), 3)
        _, restored = networks.reduction(images)
    residual = ((X - restored.numpy()) ** 2).sum(axis=1)[y >= 0].mean()
    assert terms["reconstruction"].item() == pytest.approx(residual, rel=1e-5)
    assert terms["loss"].item() == pytest.approx(
        residual + 0.3 * terms["energy"].item(), rel=1e-5
    )


# -- ablations ----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("features", "stages", "networks", "n_features"),
    [
        ("both", {"translation", "density"}, {"translation", "reduction"}, 3 + 2),
        ("translation", {"translation", "density"}, {"translation"}, 3),
        ("reduction", {"density"}, {"reduction"}, 2),
    ],
)
def test_features(features, stages, networks, n_features):
    X, y = make_slices()
    detector = tiny(features=features).fit(X, y)
    assert {record["stage"] for record in detector.history_} == stages
    trained = {name.split(".")[0] for name in detector.weights_}
    assert trained - {"estimation", "mixture", "substitution"} == networks
    assert detector.weights_["mixture.means"].shape == (6, n_features)


def test_without_joint_training_the_energy_leaves_the_reduction_alone():
    X, _ = make_slices()

    def gradient(joint, energy_weight):
        detector = tiny(
            features="reduction", joint=joint, energy_weight=energy_weight, max_epochs=1
        )
        networks = detector._build(3, torch.Generator().manual_seed(0))
        detector._density_loss(networks, torch.from_numpy(X), 3)["loss"].backward()
        weight = networks.reduction.encoder[0][0].weight.grad
        return weight, networks.estimation.hidden[0].weight.grad

    apart, estimation = gradient(False, 1.0)
    without, _ = gradient(True, 0.0)
    together, _ = gradient(True, 1.0)
    torch.testing.assert_close(apart, without)
    assert not torch.allclose(together, without, rtol=1e-3)
    assert estimation.abs().max() > 0


@pytest.mark.slow
def test_latent_dim():
    X, y = make_slices()
    assert tiny(latent_dim=5).fit(X, y).weights_["mixture.means"].shape == (6, 3 + 5)
    single = tiny().fit(X[:, :1], y)
    assert single.weights_["mixture.means"].shape == (6, 1 + 1)


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
def test_norms(norm):
    X, y = make_slices()
    assert np.isfinite(tiny(norm=norm).fit(X, y).score_samples(X)).all()


# -- singularity (2.7) --------------------------------------------------------------------

# Two contrasts that are copies of each other, and more latent dimensions than contrasts:
# the intrinsic dimension is 1.
COLLAPSING = {
    "features": "reduction",
    "latent_dim": 4,
    "energy_weight": 1.0,
    "learning_rate": 0.03,
    "max_epochs": 40,
    "augmentation": None,
}


def degenerate_slices():
    X, _ = make_slices()
    return np.repeat(X[:, :1], 2, axis=1)


@pytest.mark.parametrize("constraint", ["none", "penalty"])
def test_training_without_a_floor_stops_with_a_record(constraint):
    X = degenerate_slices()
    detector = tiny(**COLLAPSING, constraint=constraint, penalty_weight=1e-9)
    with pytest.warns(ConvergenceWarning, match="density stopped in epoch .* singular"):
        detector.fit(X)
    *before, last = detector.history_
    assert "least eigenvalue" in last["singular"]
    assert all("singular" not in record for record in before)
    assert all(np.isfinite(record["loss"]) for record in before)
    assert np.isfinite(detector.score_samples(X)).all()


@pytest.mark.slow
def test_training_with_the_floor_never_stops():
    X = degenerate_slices()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detector = tiny(**COLLAPSING).fit(X)
    assert len(detector.history_) == 40
    assert all(np.isfinite(record["loss"]) for record in detector.history_)
    # The floor was needed: the same run would have been singular.
    assert min(record["least_eigenvalue"] for record in detector.history_) < 1e-6
    assert np.isfinite(detector.score_samples(X)).all()


@pytest.mark.slow
def test_penalty_is_in_the_loss():
    X, y = make_slices()
    detector = tiny(constraint="penalty", penalty_weight=0.0).fit(X, y)
    networks, images = detector._networks, torch.from_numpy(X)
    with torch.inference_mode():
        batch = torch.cat(
            [images, detector._translation_errors(networks.translation, images)], 1
        )
        without = detector._density_loss(networks, batch, 3)["loss"].item()
        detector.set_params(penalty_weight=0.5)
        with_penalty = detector._density_loss(networks, batch, 3)["loss"].item()
    assert with_penalty > without


# -- training -----------------------------------------------------------------------------


@pytest.mark.slow
def test_history():
    X, y = make_slices()
    detector = tiny().fit(X, y)
    assert [(r["stage"], r["epoch"]) for r in detector.history_] == [
        (stage, epoch) for stage in ("translation", "density") for epoch in range(3)
    ]
    assert {"loss", "seconds"} <= set(records(detector, "translation")[0])
    assert {"loss", "reconstruction", "energy", "least_eigenvalue"} <= set(
        records(detector, "density")[0]
    )


@pytest.mark.slow
def test_training_lowers_both_losses():
    X, y = make_slices(30)
    detector = tiny(max_epochs=15, learning_rate=5e-3, augmentation=None).fit(X, y)
    for stage in ("translation", "density"):
        losses = [record["loss"] for record in records(detector, stage)]
        assert losses[-1] < 0.8 * losses[0]


@pytest.mark.slow
def test_warm_start():
    X, y = make_slices()
    detector = tiny(warm_start=True).fit(X, y)
    before = detector.weights_["translation.head.weight"]
    detector.set_params(learning_rate=1e-12).fit(X, y)
    np.testing.assert_allclose(
        detector.weights_["translation.head.weight"], before, atol=1e-6
    )
    assert [record["epoch"] for record in records(detector, "density")] == list(range(6))
    detector.set_params(warm_start=False).fit(X, y)
    assert len(records(detector, "density")) == 3
    assert not np.allclose(detector.weights_["translation.head.weight"], before)


@pytest.mark.slow
def test_remembered_translation_gives_the_same_detector(tmp_path):
    X, y = make_slices()
    plain, first, second = (
        tiny(memory=memory).fit(X, y) for memory in (None, str(tmp_path), str(tmp_path))
    )
    for detector in (first, second):
        np.testing.assert_array_equal(plain.score_samples(X), detector.score_samples(X))
        assert [r["loss"] for r in plain.history_] == [r["loss"] for r in detector.history_]


@pytest.mark.slow
def test_what_a_stage_depends_on_is_not_taken_from_memory(tmp_path, monkeypatch):
    X, y = make_slices()
    trained = []
    begin_stage = Trainer._begin_stage

    def counted(self, stage):
        trained.append(stage.name)
        begin_stage(self, stage)

    monkeypatch.setattr(Trainer, "_begin_stage", counted)

    def stages(X=X, **parameters):
        trained.clear()
        tiny(memory=str(tmp_path), **parameters).fit(X, y)
        return trained.copy()

    both = ["translation", "density"]
    assert stages() == both
    for same in ({}, {"density": "em"}):
        assert stages(**same) == []
    for second_stage in (
        {"n_components": 2},
        {"energy_weight": 0.1},
        {"latent_dim": 1},
        {"joint": False},
        {"covariance_floor": 1e-3},
    ):
        assert stages(**second_stage) == ["density"]
    for other in (
        {"median_prior": False},
        {"norm": "none"},
        {"random_state": 7},
        {"brain_channel": True},
    ):
        assert stages(**other) == both
    assert stages(X=2 * X) == both


def test_stops_when_the_loss_stalls():
    X, y = make_slices()
    detector = tiny(max_epochs=20, n_iter_no_change=2, tol=1e6).fit(X, y)
    for stage in ("translation", "density"):
        assert len(records(detector, stage)) == 3  # the first improves on nothing


def test_callbacks():
    X, y = make_slices()
    recorder = Recorder()
    detector = tiny(max_epochs=2).set_callbacks(recorder).fit(X, y)
    assert recorder.tasks == [
        "setup",
        *["epoch", "epoch", "translation"],
        *["epoch", "epoch", "density"],
        "fit",
        "teardown",
    ]
    assert len(detector.history_) == 4


def test_callback_stops_a_stage():
    X, y = make_slices()
    detector = tiny(max_epochs=10).set_callbacks(Recorder(stop_after=2)).fit(X, y)
    assert len(records(detector, "translation")) == 2
    assert len(records(detector, "density")) == 2


def test_progress_bar(capsys):
    X, y = make_slices()
    pytest.importorskip("rich")
    tiny(max_epochs=1).set_callbacks(ProgressBar()).fit(X, y)
    # On stderr if a command ran in this process before.
    assert "ADMDetector" in "".join(capsys.readouterr())


def test_teardown_after_an_error():
    X, y = make_slices()
    recorder = Recorder()
    detector = tiny(learning_rate=1e30, norm="none", precision="float32")
    with pytest.raises(RuntimeError, match="became"):
        detector.set_callbacks(recorder).fit(X, y)
    assert recorder.tasks[0] == "setup"
    assert recorder.tasks[-1] == "teardown"


@pytest.mark.slow
def test_augmentation_is_used_and_can_be_off():
    X, y = make_slices()
    on, off, other = (
        tiny(augmentation=augmentation).fit(X, y).score_samples(X)
        for augmentation in ("default", None, Augmentation(flip=0.1))
    )
    assert not np.array_equal(on, off)
    assert not np.array_equal(on, other)
    with pytest.raises(ValueError, match="'crop' parameter of Augmentation"):
        tiny(augmentation=Augmentation(crop=2)).fit(X, y)


def test_diverging_training_is_an_error():
    X, y = make_slices()
    with pytest.raises(RuntimeError, match=r"stage 'translation' became .*learning_rate"):
        tiny(learning_rate=1e30, norm="none", precision="float32").fit(X, y)


# -- presets ------------------------------------------------------------------------------


def test_parameters_go_before_those_of_the_preset():
    assert make_detector("ADMDetector", "cpu", width=7).width == 7


def test_unknown_presets():
    with pytest.raises(ValueError, match="no detector 'ADM'.*ADMDetector"):
        make_detector("ADM")
    with pytest.raises(ValueError, match="no preset 'gpu'.*cpu"):
        make_detector("ADMDetector", "gpu")


@pytest.mark.slow
def test_weights_of_another_architecture_are_refused():
    X, y = make_slices()
    detector = tiny(warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match=r"fitted weights .* warm_start=False"):
        detector.set_params(width=8).fit(X, y)
