"""PCA and Gaussian mixture of pixels, against computations of their own."""

import warnings

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.exceptions import ConvergenceWarning

from skadm.detectors import GaussianMixtureDetector, PCADetector, _patches
from skadm.detectors._patches import draw_patches, patches_at, score_patches
from skadm.presets import PRESETS, make_detector

BOTH = [PCADetector, GaussianMixtureDetector]


def make_slices(n_slices=3, n_contrasts=2, height=7, width=9, seed=0):
    """Correlated contrasts, with holes in the brain and brain at every border."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(n_contrasts, n_contrasts))
    # What the pixels of a slice share makes neighbours alike.
    shared = rng.normal(size=(n_slices, n_contrasts, 1, 1))
    sources = shared + rng.normal(size=(n_slices, n_contrasts, height, width))
    X = np.einsum("kl,nlhw->nkhw", mixing, sources)
    brain = rng.random((n_slices, 1, height, width)) < 0.8
    return (X * brain).astype(np.float32)


def patches_by_loop(X, neighbourhood):
    """Patches of all brain pixels, one value after the other."""
    n_slices, n_contrasts, height, width = X.shape
    margin = neighbourhood // 2
    patches = []
    for n, row, column in np.ndindex(n_slices, height, width):
        if not X[n, :, row, column].any():
            continue
        patch = []
        for r in range(row - margin, row + margin + 1):
            for c in range(column - margin, column + margin + 1):
                inside = 0 <= r < height and 0 <= c < width
                patch += [X[n, k, r, c] if inside else 0.0 for k in range(n_contrasts)]
        patches.append(patch)
    return np.array(patches, np.float64)


# -- patches ------------------------------------------------------------------------------


@pytest.mark.parametrize("neighbourhood", [1, 3, 5])
@pytest.mark.parametrize(("height", "width"), [(7, 9), (1, 1), (2, 1)])
def test_patches_are_those_of_a_loop(neighbourhood, height, width):
    X = make_slices(4, 3, height, width)
    pixels = np.flatnonzero((X != 0).any(axis=1))
    expected = patches_by_loop(X, neighbourhood)
    np.testing.assert_array_equal(patches_at(X, pixels, neighbourhood), expected)
    everything = draw_patches(X, neighbourhood, None, np.random.RandomState(0))
    np.testing.assert_array_equal(everything, expected)


def test_drawn_pixels():
    X = make_slices()
    X[:, 0][(X != 0).any(axis=1)] = np.arange((X != 0).any(axis=1).sum()) + 1  # names
    n_brain = int(X[:, 0].max())

    def draw(max_samples, seed):
        return draw_patches(X, 1, max_samples, np.random.RandomState(seed))[:, 0]

    first = draw(20, 0)
    assert len(first) == 20
    assert (np.diff(first) > 0).all()  # none twice
    assert first[0] >= 1  # none of the background
    np.testing.assert_array_equal(first, draw(20, 0))
    assert not np.array_equal(first, draw(20, 1))
    assert set(np.concatenate([draw(20, seed) for seed in range(60)])) == set(
        range(1, n_brain + 1)
    )
    np.testing.assert_array_equal(draw(n_brain + 5, 0), np.arange(n_brain) + 1)


def test_only_patches_of_drawn_pixels_are_made(monkeypatch):
    seen = []

    def spy(X, pixels, neighbourhood):
        seen.append(len(pixels))
        return patches_at(X, pixels, neighbourhood)

    monkeypatch.setattr(_patches, "patches_at", spy)
    draw_patches(make_slices(), 5, 10, np.random.RandomState(0))
    assert seen == [10]


def test_maps_come_from_small_chunks_and_are_finite(monkeypatch):
    X = make_slices()
    brain = (X != 0).any(axis=1)
    sizes = []

    def first_values(patches):
        sizes.append(patches.size)
        return np.where(patches[:, 0] > 0, np.inf, patches[:, 0] * 1e200)

    monkeypatch.setattr(_patches, "CHUNK_VALUES", 100)
    maps = score_patches(X, brain, 3, first_values)
    assert max(sizes) <= 100
    assert sum(sizes) == brain.sum() * 9 * 2
    most = np.finfo(np.float32).max
    expected = np.sign(patches_by_loop(X, 3)[:, 0]) * most
    np.testing.assert_array_equal(maps[brain], expected.astype(np.float32))
    assert (maps[~brain] == 0).all()


@pytest.mark.parametrize("detector", BOTH)
def test_scores_do_not_depend_on_the_chunks(detector, monkeypatch):
    X = make_slices(6)
    fitted = detector(n_components=3, neighbourhood=3, random_state=0).fit(X)
    expected = fitted.score_samples(X)
    monkeypatch.setattr(_patches, "CHUNK_VALUES", 1)
    np.testing.assert_allclose(fitted.score_samples(X), expected, rtol=1e-5)


@pytest.mark.parametrize("detector", BOTH)
def test_even_neighbourhood(detector):
    with pytest.raises(ValueError, match="neighbourhood=4 is even; expected an odd"):
        detector(neighbourhood=4).fit(make_slices())


@pytest.mark.parametrize("detector", BOTH)
@pytest.mark.parametrize(
    ("name", "value"),
    [("neighbourhood", 0), ("max_samples", 0), ("n_components", 0), ("n_components", 1.5)],
)
def test_bad_parameters(detector, name, value):
    with pytest.raises(ValueError, match=name):
        detector(**{name: value}).fit(make_slices())


@pytest.mark.parametrize("detector", BOTH)
def test_random_state_decides(detector):
    X = make_slices(6)

    def maps(random_state):
        parameters = {"n_components": 2, "max_samples": 60, "random_state": random_state}
        return detector(**parameters).fit(X).score_samples(X)

    np.testing.assert_array_equal(maps(0), maps(np.random.RandomState(0)))
    assert not np.array_equal(maps(0), maps(1))
    shared = np.random.RandomState(0)
    assert not np.array_equal(maps(shared), maps(shared))


# -- PCA ----------------------------------------------------------------------------------


def residuals(X, neighbourhood, n_components):
    """Mean squared error of each patch, and the spectrum, by an SVD of all patches."""
    patches = patches_by_loop(X, neighbourhood)
    centred = patches - patches.mean(axis=0)
    left, singular, right = np.linalg.svd(centred, full_matrices=False)
    kept = np.s_[:n_components]
    restored = (left[:, kept] * singular[kept]) @ right[kept]
    return ((centred - restored) ** 2).mean(axis=1), singular**2


@pytest.mark.parametrize("neighbourhood", [1, 3])
@pytest.mark.parametrize("n_components", [1, 2])
def test_pca_error_is_that_of_an_svd(neighbourhood, n_components):
    X = make_slices(n_contrasts=3)
    fitted = PCADetector(
        n_components=n_components, neighbourhood=neighbourhood, max_samples=None
    ).fit(X)
    expected, _ = residuals(X, neighbourhood, n_components)
    found = fitted.score_samples(X)[(X != 0).any(axis=1)]
    np.testing.assert_allclose(found, -expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_pca_explains_the_share_of_the_variance(share):
    X = make_slices(10, n_contrasts=3)
    fitted = PCADetector(n_components=share, neighbourhood=3, max_samples=None).fit(X)
    spectrum = residuals(X, 3, 0)[1]
    explained = np.cumsum(spectrum) / spectrum.sum()
    n_components = np.flatnonzero(explained > share)[0] + 1
    assert fitted.pca_.n_components_ == n_components
    expected, _ = residuals(X, 3, n_components)
    found = fitted.score_samples(X)[(X != 0).any(axis=1)]
    np.testing.assert_allclose(found, -expected, rtol=1e-4, atol=1e-6)


def test_pca_of_single_values_is_the_distance_from_the_mean():
    X = make_slices(n_contrasts=1)
    brain = X[:, 0] != 0
    fitted = PCADetector(neighbourhood=1).fit(X)
    assert fitted.pca_.n_components_ == 0
    values = X[:, 0][brain].astype(np.float64)
    np.testing.assert_allclose(
        fitted.score_samples(X)[brain], -((values - values.mean()) ** 2), rtol=1e-5
    )


@pytest.mark.parametrize("n_components", [0.999999, 3, 50])
def test_pca_leaves_out_the_last_component(n_components):
    X = make_slices(n_contrasts=3)
    fitted = PCADetector(n_components=n_components, neighbourhood=1).fit(X)
    assert fitted.pca_.n_components_ == 2
    assert fitted.score_samples(X)[(X != 0).any(axis=1)].std() > 1e-3


def test_pca_leaves_out_a_component_that_varies():
    """Not one of those that are 0 in all patches anyway."""
    rng = np.random.default_rng(0)
    one_pixel = rng.normal(size=(30, 2, 1, 1)).astype(np.float32)
    fitted = PCADetector(n_components=0.999999, neighbourhood=5).fit(one_pixel)
    assert fitted.pca_.n_components_ == 1
    assert fitted.score_samples(one_pixel).std() > 1e-3
    X = make_slices(n_contrasts=1)
    multiple = np.concatenate([X, X / 3], axis=1)
    fitted = PCADetector(n_components=0.999999, neighbourhood=1).fit(multiple)
    assert fitted.pca_.n_components_ == 0
    assert fitted.score_samples(multiple)[(X[:, 0] != 0)].std() > 1e-3


def test_pca_of_identical_pixels():
    X = np.full((2, 3, 4, 4), 7, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = PCADetector(neighbourhood=1).fit(X)
    np.testing.assert_allclose(fitted.score_samples(X), 0, atol=1e-12)
    np.testing.assert_allclose(fitted.score_samples(X + 2), -4, rtol=1e-6)


def test_pca_learns_from_so_many_pixels():
    X = make_slices(6)
    n_brain = (X != 0).any(axis=1).sum()
    for max_samples, expected in ((40, 40), (None, n_brain), (10_000, n_brain)):
        fitted = PCADetector(max_samples=max_samples, random_state=0).fit(X)
        assert fitted.pca_.n_samples_ == expected


def test_pca_needs_two_pixels():
    X = np.zeros((1, 2, 4, 4), np.float32)
    X[:, :, 1, 1] = 1
    with pytest.raises(ValueError, match="at least 2 brain pixels"):
        PCADetector().fit(X)


# -- Gaussian mixture ---------------------------------------------------------------------


@pytest.mark.parametrize("neighbourhood", [1, 3])
@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_mixture_scores_are_those_of_scipy(covariance_type, neighbourhood):
    X = make_slices(30)
    fitted = GaussianMixtureDetector(
        n_components=3,
        neighbourhood=neighbourhood,
        covariance_type=covariance_type,
        random_state=0,
    ).fit(X)
    mixture = fitted.mixture_
    patches = patches_by_loop(X, neighbourhood)
    n_features = patches.shape[1]
    covariances = {
        "full": lambda c: mixture.covariances_[c],
        "tied": lambda c: mixture.covariances_,
        "diag": lambda c: np.diag(mixture.covariances_[c]),
        "spherical": lambda c: mixture.covariances_[c] * np.eye(n_features),
    }[covariance_type]
    expected = logsumexp(
        [
            np.log(mixture.weights_[c])
            + multivariate_normal(mixture.means_[c], covariances(c)).logpdf(patches)
            for c in range(3)
        ],
        axis=0,
    )
    found = fitted.score_samples(X)[(X != 0).any(axis=1)]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_one_gaussian_is_the_moments_of_the_drawn_pixels():
    X = make_slices(6)
    fitted = GaussianMixtureDetector(
        n_components=1, reg_covar=0.5, max_samples=None, random_state=0
    ).fit(X)
    pixels = patches_by_loop(X, 1)
    np.testing.assert_allclose(fitted.mixture_.means_[0], pixels.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(
        fitted.mixture_.covariances_[0],
        np.cov(pixels.T, bias=True) + 0.5 * np.eye(2),
        rtol=1e-6,
    )
    fewer = fitted.set_params(max_samples=40).fit(X).mixture_.means_[0]
    assert not np.allclose(fewer, pixels.mean(axis=0))


def test_more_starts_are_not_less_likely():
    X = make_slices(6)
    bounds = [
        GaussianMixtureDetector(n_init=n_init, random_state=0).fit(X).mixture_.lower_bound_
        for n_init in (1, 5)
    ]
    assert bounds[1] > bounds[0]


def test_no_convergence_is_a_warning():
    X = make_slices(6)
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        fitted = GaussianMixtureDetector(max_iter=2, random_state=0).fit(X)
    assert fitted.n_iter_ == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        GaussianMixtureDetector(random_state=0).fit(X)


def test_mixture_keeps_no_generator_of_the_user():
    fitted = GaussianMixtureDetector(random_state=np.random.RandomState(0))
    assert isinstance(fitted.fit(make_slices()).mixture_.random_state, int)


def test_mixture_needs_a_pixel_for_each_gaussian():
    X = make_slices(1)
    with pytest.raises(ValueError, match="needs at least 6 brain pixels.*n_samples = 5"):
        GaussianMixtureDetector(max_samples=5).fit(X)
    with pytest.raises(ValueError, match="needs at least 2 brain pixels"):
        GaussianMixtureDetector(n_components=1, max_samples=1).fit(X)


# -- both ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("detector", "n_components"), [(PCADetector, 3), (GaussianMixtureDetector, 2)]
)
def test_neighbours_show_texture(detector, n_components):
    """A region of a smooth image whose pixels are shuffled: intensities stay the same."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(24, 1, 24, 24))
    X = gaussian_filter(noise, (0, 0, 2, 2), mode="wrap")
    X = (X / X.std()).astype(np.float32)
    y = np.zeros((24, 24, 24), np.int8)
    y[16:, 8:16, 8:16] = 1
    X[:, 0][y == 1] = rng.permutation(X[:, 0][y == 1])
    auc = {
        neighbourhood: detector(
            n_components=n_components, neighbourhood=neighbourhood, random_state=0
        )
        .fit(X, y)
        .score(X, y)
        for neighbourhood in (1, 3)
    }
    assert auc[1] == pytest.approx(0.5, abs=0.1)
    assert auc[3] > 0.9


@pytest.mark.parametrize("name", [detector.__name__ for detector in BOTH])
def test_presets(name):
    X = make_slices(6)
    assert set(PRESETS[name]) == {"quick", "cpu", "paper"}
    for preset in PRESETS[name]:
        fitted = make_detector(name, preset, random_state=0).fit(X)
        assert np.isfinite(fitted.score_samples(X)).all()
    assert make_detector(name, "paper").max_samples is None
