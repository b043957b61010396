"""ADM with departures from the paper: another density, a brain channel, and ADM+."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, GroupKFold
from test_adm import COLLAPSING, degenerate_slices, tiny
from test_cli import QUICK, write_brats
from test_contract import make_slices, make_stack

from skadm.cli import main
from skadm.io import load, save
from skadm.nn.reduction import ReductionNet
from skadm.nn.translation import TranslationNet
from skadm.presets import make_detector

DEPARTURES = {"density": "em", "brain_channel": True}
TINY = {"width": 4, "n_blocks": 1, "n_components": 2, "max_epochs": 2, "random_state": 0}


def mixture_of(detector):
    return tuple(
        detector.weights_[f"mixture.{name}"] for name in ("weights", "means", "covariances")
    )


def training_pixels(detector, X, y):
    """z of the brain pixels of the normal slices, float64."""
    normal = ~(y == 1).any(axis=(1, 2))
    features = detector.pixel_features(X[normal]).transpose(0, 2, 3, 1)
    return features[y[normal] >= 0].astype(np.float64)


def log_densities(mixture, pixels):
    """Log of weight times density of each component, (C, n), with SciPy."""
    return np.array(
        [
            np.log(weight) + multivariate_normal(mean, covariance).logpdf(pixels)
            for weight, mean, covariance in zip(*mixture)
        ]
    )


# -- density ------------------------------------------------------------------------------


@pytest.mark.slow
def test_em_finds_a_likelier_mixture_of_the_same_features():
    X, y = make_slices()
    network, em = (
        tiny(precision="float32", density=density).fit(X, y)
        for density in ("network", "em")
    )
    for name, value in network.weights_.items():
        if name.split(".")[0] not in ("mixture", "substitution"):
            np.testing.assert_array_equal(em.weights_[name], value)
    pixels = training_pixels(em, X, y)
    likelihoods = [
        logsumexp(log_densities(mixture_of(detector), pixels), axis=0).mean()
        for detector in (network, em)
    ]
    assert likelihoods[1] > likelihoods[0] + 0.1


@pytest.mark.slow
def test_a_further_step_of_em_changes_little():
    """Fewer pixels than are drawn at most: the mixture is that of all of them."""
    X, y = make_slices()
    detector = tiny(precision="float32", density="em", n_components=2).fit(X, y)
    mixture, pixels = mixture_of(detector), training_pixels(detector, X, y)
    logs = log_densities(mixture, pixels)
    shares = np.exp(logs - logsumexp(logs, axis=0))
    weights = shares.mean(axis=1)
    np.testing.assert_allclose(weights, mixture[0], atol=0.01)
    for c, share in enumerate(shares):
        np.testing.assert_allclose(
            np.average(pixels, axis=0, weights=share), mixture[1][c], atol=0.02
        )
        np.testing.assert_allclose(
            np.cov(pixels.T, aweights=share, ddof=0), mixture[2][c], atol=0.02
        )


@pytest.mark.slow
@pytest.mark.parametrize("constraint", ["floor", "none"])
def test_no_covariance_by_em_is_singular(constraint):
    X = degenerate_slices()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        detector = tiny(**COLLAPSING, density="em", constraint=constraint).fit(X)
    floor = 1e-6 if constraint == "floor" else np.finfo(np.float32).eps
    least = np.linalg.eigvalsh(mixture_of(detector)[2]).min()
    assert least > 0.9 * floor
    assert np.isfinite(detector.score_samples(X)).all()


@pytest.mark.slow
def test_the_density_alone_is_learned_again_from_trained_networks():
    X, y = make_slices()
    detector = tiny(warm_start=True, precision="float32").fit(X, y)
    expected = tiny(density="em", precision="float32").fit(X, y)
    detector.set_params(density="em", max_epochs=0).fit(X, y)
    pixels = training_pixels(detector, X, y)
    found, other = (
        logsumexp(log_densities(mixture_of(each), pixels), axis=0).mean()
        for each in (detector, expected)
    )
    assert found == pytest.approx(other, abs=0.2)


# -- brain channel ------------------------------------------------------------------------


@pytest.mark.parametrize("brain_channel", [False, True])
def test_networks_with_a_brain_channel_tell_mean_brain_from_background(brain_channel):
    """A pixel at the mean of the brain holds 0, up to rounding, like the background."""
    torch.manual_seed(0)
    translation = TranslationNet(3, 4, 1, brain_channel=brain_channel).eval()
    reduction = ReductionNet(3, 2, 4, brain_channel=brain_channel).eval()
    background = torch.zeros(1, 3, 10, 9)
    brain = torch.full_like(background, 1e-20)
    target, prior = torch.tensor([1]), torch.tensor([0.5])
    with torch.inference_mode():
        pairs = [
            [translation(images, target, prior) for images in (background, brain)],
            [reduction(images)[0] for images in (background, brain)],
        ]
        hidden = [
            translation(images, target, prior)
            for images in (brain, brain + torch.tensor([0.0, 9.0, 0.0])[:, None, None])
        ]
    for one, other in pairs:
        assert torch.equal(one, other) != brain_channel
    # The target is still not looked at.
    torch.testing.assert_close(*hidden)


# -- all of it ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted():
    X, y = make_slices()
    return tiny(**TINY, **DEPARTURES).fit(X, y)


@pytest.mark.slow
def test_files_and_pickles_keep_scores(fitted, tmp_path):
    X, _ = make_slices(seed=1)
    save(fitted, tmp_path / "model.skadm")
    for copy in (load(tmp_path / "model.skadm"), pickle.loads(pickle.dumps(fitted))):
        assert copy.get_params() == fitted.get_params()
        np.testing.assert_array_equal(copy.score_samples(X), fitted.score_samples(X))


@pytest.mark.slow
def test_one_seed_gives_one_result_whatever_the_batch_size(fitted):
    X, y = make_slices()
    again = clone(fitted).fit(X, y)
    np.testing.assert_array_equal(again.score_samples(X), fitted.score_samples(X))
    again.set_params(batch_size=1)
    np.testing.assert_array_equal(again.score_samples(X), fitted.score_samples(X))


def test_explanation_adds_up(fitted):
    X, y = make_slices(seed=1)
    found = fitted.explain(X)
    total = found.features.sum(axis=1) + found.baseline
    np.testing.assert_allclose(total[y >= 0], -fitted.score_samples(X)[y >= 0], rtol=1e-4)


def test_a_missing_contrast_is_left_out(fitted):
    X, _ = make_slices(seed=1)
    X[:, 1] = np.nan
    scores = fitted.score_samples(X)
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(fitted.explain(X).features[:, 1], 0)


@pytest.mark.slow
def test_grid_search():
    stack = make_stack()
    grid = {"n_components": [1, 2], "energy_weight": [5e-4, 0.1]}
    search = GridSearchCV(
        tiny(**{**TINY, "max_epochs": 1}, **DEPARTURES),
        grid,
        cv=GroupKFold(2),
        error_score="raise",
    ).fit(stack, stack.y, groups=stack.groups)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


# -- ADM+ ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_adm_plus_is_adm_with_departures_smoothed_and_without_the_rim():
    stack = make_stack(height=20, width=20)
    plus = make_detector("ADM+", "quick", **TINY).fit(stack, stack.y)
    inner = plus.detector_
    faithful = make_detector("ADMDetector", "quick", **TINY)
    changed = {
        name
        for name, value in faithful.get_params().items()
        if inner.get_params()[name] != value
    }
    assert changed == set(DEPARTURES)
    maps, brain = inner.score_samples(stack), stack.y >= 0
    normal = ~(stack.y == 1).any(axis=(1, 2))
    padded = np.pad(brain, ((0, 0), (1, 1), (1, 1)))
    depth = np.stack([distance_transform_edt(mask) for mask in padded])[:, 1:-1, 1:-1]
    eroded = np.where(depth <= 1, maps[normal][brain[normal]].max(), maps)
    total, share = (
        np.stack([gaussian_filter(each, 2.0) for each in parts])
        for parts in (eroded * brain, brain.astype(float))
    )
    np.testing.assert_allclose(
        plus.score_samples(stack)[brain], (total / share)[brain], rtol=1e-3
    )


@pytest.mark.slow
def test_adm_plus_on_the_command_line(tmp_path):
    scans, model = write_brats(tmp_path / "scans"), tmp_path / "model.skadm"
    arguments = ["--data", str(scans), "--seed", "3", "--smooth-through", "2", *QUICK]
    assert main(["fit", "--detector", "ADM+", "--out", str(model), *arguments]) == 0
    trained = load(model)[-1].detector.detector.get_params()
    expected = {**DEPARTURES, "max_epochs": 1, "random_state": 3}
    assert trained.items() >= expected.items()
    tested = ["evaluate", "--model", str(model), "--data", str(scans), "--no-figures"]
    assert main([*tested, "--out", str(tmp_path / "tables")]) == 0
