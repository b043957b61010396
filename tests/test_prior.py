"""What is known of lesions: the same prior in every detector, learned axes, tiers."""

import pickle

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from test_contract import make_slices, make_stack, tiny

import skadm
from skadm import (
    ConformalDetector,
    EnsembleDetector,
    FlipAveragedDetector,
    GaussianMixtureDetector,
    IntensityDetector,
    PCADetector,
    PostprocessedDetector,
    SliceDetector,
)
from skadm._catalogue import METHODS
from skadm.detectors import all_detectors, supervision
from skadm.detectors._patches import patches_at
from skadm.detectors._prior import learned_axis
from skadm.postprocessing import GaussianSmoother
from skadm.preprocessing import IntensityNormalizer

TAKERS = [name for name, cls in all_detectors() if "prior" in cls().get_params()]
CHANGES = {
    "DAEDetector": {"median_size": 1, "precision": "float32"},
    "EraserDetector": {"sigma": 0.0, "precision": "float32"},
}


def taker(name, **parameters):
    return tiny(name, **CHANGES.get(name, {}), **parameters)


def contrastive_axis(abnormal, normal):
    """Contrastive PCA of rows of deviations, by plain sums and a general solver."""
    difference = sum(np.outer(row, row) for row in abnormal) / len(abnormal)
    difference -= sum(np.outer(row, row) for row in normal) / len(normal)
    values, vectors = np.linalg.eig(difference)
    axis = vectors[:, np.argmax(values.real)].real
    axis /= np.abs(axis).max()
    return axis * np.sign(np.mean((abnormal @ axis) ** 3) - np.mean((normal @ axis) ** 3))


def test_who_takes_a_prior():
    assert TAKERS == [
        "DAEDetector",
        "EraserDetector",
        "GaussianMixtureDetector",
        "IntensityDetector",
        "PCADetector",
    ]
    for name in TAKERS:
        documentation = dict(all_detectors())[name].__doc__
        assert "prior_sign : {" in documentation
        assert "axis_ : ndarray" in documentation
        assert "%(" not in documentation


# -- sign ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TAKERS)
@pytest.mark.parametrize("weight", [1.0, -1.0])
def test_known_sign_is_one_sided(name, weight):
    """What is too high along the axis is less normal, and what is too low is not."""
    X, y = make_slices()
    detector = taker(name, prior={2: weight}).fit(X, y)
    normal, brain = X[:4], (X[:4] != 0).any(axis=1)
    means = []
    for change in (-6.0, 0.0, 6.0):
        changed = normal.copy()
        changed[:, 2][brain] += change * weight
        means.append(detector.score_samples(changed)[brain].mean())
    assert means[0] >= means[1] > means[2]


@pytest.mark.slow
@pytest.mark.parametrize("name", TAKERS)
def test_unknown_sign_is_two_sided(name):
    """The other sign of the weights, and their scale, say the same."""
    X, y = make_slices()
    maps = [
        taker(name, prior=prior, prior_sign="unknown").fit(X, y).score_samples(X)
        for prior in ({2: 1.0, 0: -0.5}, {2: -2.0, 0: 1.0})
    ]
    np.testing.assert_allclose(maps[0], maps[1], rtol=1e-4, atol=1e-4)
    known = taker(name, prior={2: 1.0, 0: -0.5}).fit(X, y).score_samples(X)
    assert np.abs(known - maps[0]).max() > 0.1


@pytest.mark.parametrize("name", ["DAEDetector", "IntensityDetector", "PCADetector"])
def test_unknown_sign_takes_the_distance(name):
    X, y = make_slices()
    brain = (X != 0).any(axis=1)
    known, unknown = (
        taker(name, prior=[2], prior_sign=sign).fit(X, y) for sign in ("known", "unknown")
    )
    center = X[y.max(axis=(1, 2)) == 0, 2][brain[y.max(axis=(1, 2)) == 0]].mean()
    sums = -known.score_samples(X) - (center if name == "IntensityDetector" else 0)
    expected = -np.abs(sums)
    np.testing.assert_allclose(unknown.score_samples(X)[brain], expected[brain], atol=1e-5)


@pytest.mark.parametrize("name", TAKERS)
def test_all_contrasts_must_change(name):
    """The contrast that changes least counts, so scores are the highest of each alone."""
    X, y = make_slices()
    change = {"sigma": 1.5} if name == "IntensityDetector" else {}

    def scores(prior, **parameters):
        return taker(name, prior=prior, **change, **parameters).fit(X, y).score_samples(X)

    expected = np.maximum(scores({2: 1}), scores({0: -0.5}))
    found = scores({2: 1, 0: -0.5}, prior_rule="all")
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert np.abs(found - scores({2: 1, 0: -0.5})).max() > 0.1
    np.testing.assert_allclose(scores([2], prior_rule="all"), scores([2]), atol=1e-5)


@pytest.mark.parametrize("name", TAKERS)
@pytest.mark.parametrize(
    "unknown", [{}, {"prior": "learned"}, {"prior": [2], "prior_sign": "unknown"}]
)
def test_all_contrasts_need_a_stated_direction(name, unknown):
    X, y = make_slices()
    with pytest.raises(ValueError, match="needs the contrasts that lesions change"):
        taker(name, prior_rule="all", **unknown).fit(X, y)


@pytest.mark.parametrize("name", TAKERS)
def test_names_indices_and_sequences_are_the_same_prior(name):
    stack = make_stack()
    maps = [
        taker(name, prior=prior).fit(X, stack.y).score_samples(X)
        for prior, X in (
            ({"FLAIR": 1, "T1": 1}, stack),
            (["T1", "FLAIR"], stack),
            ((2, 0), stack.X),
        )
    ]
    np.testing.assert_array_equal(maps[0], maps[1])
    np.testing.assert_array_equal(maps[0], maps[2])


@pytest.mark.parametrize("name", TAKERS)
def test_axis(name):
    X, y = make_slices()
    none = taker(name).fit(X, y).axis_
    if name == "IntensityDetector":  # which assumes that lesions are bright everywhere
        np.testing.assert_array_equal(none, [1, 1, 1])
    else:
        assert none is None
    prior = {1: 2, 0: -1}
    np.testing.assert_array_equal(taker(name, prior=prior).fit(X, y).axis_, [-1, 2, 0])
    unknown = taker(name, prior=prior, prior_sign="unknown").fit(X, y)
    np.testing.assert_array_equal(unknown.axis_, [-0.5, 1, 0])


@pytest.mark.slow
@pytest.mark.parametrize("name", TAKERS)
def test_scores_with_a_prior_are_finite_and_do_not_depend_on_the_batch(name):
    X, y = make_slices()
    for sign in ("known", "unknown"):
        detector = taker(name, prior={2: 1, 0: 0.3}, prior_sign=sign).fit(X, y)
        whole = detector.score_samples(X)
        np.testing.assert_allclose(
            detector.score_samples(X[3:5]), whole[3:5], rtol=1e-5, atol=1e-5
        )
        absurd = X[:2].copy()
        absurd[absurd != 0] *= 1e30
        with np.errstate(over="ignore", invalid="ignore"):
            assert np.isfinite(detector.score_samples(absurd)).all()


# -- refusals -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", TAKERS)
@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ({"T9": 1}, "'T9'; expected one of .*'T1', 'T2', 'FLAIR'"),
        (["FLAIR", "flair"], "'flair'; expected one of"),
        ({3: 1}, "3; expected a name or an index from 0 to 2"),
        ({"FLAIR": 1, 2: 1}, "one contrast twice, as 'FLAIR' and 2"),
        (["FLAIR", "FLAIR"], "one contrast twice"),
        ({"FLAIR": "much"}, "'much'; expected a finite number"),
        ({"FLAIR": np.nan}, "nan; expected a finite number"),
        ({}, "has no nonzero weight"),
        ([], "has no nonzero weight"),
        ({"FLAIR": 0}, "has no nonzero weight"),
        ("FLAIR", "'prior' parameter .*'learned'"),
    ],
)
def test_wrong_priors_are_refused_before_the_training(name, prior, message, monkeypatch):
    stack, detector = make_stack(), taker(name, prior=prior)
    monkeypatch.setattr(type(detector), "_fit", None)
    with pytest.raises(ValueError, match=message):
        detector.fit(stack, stack.y)


@pytest.mark.parametrize("name", TAKERS)
def test_names_need_names(name):
    with pytest.raises(ValueError, match="array without names"):
        taker(name, prior=["FLAIR"]).fit(*make_slices())


@pytest.mark.parametrize("name", TAKERS)
@pytest.mark.parametrize("with_y", [False, True])
def test_axis_is_not_learned_from_normal_slices(name, with_y):
    X, y = make_slices()
    normal = ~(y == 1).any(axis=(1, 2))
    detector = taker(name, prior="learned")
    with pytest.raises(ValueError, match="needs slices with an anomaly, but there"):
        detector.fit(X[normal], y[normal] if with_y else None)
    assert not hasattr(detector, "axis_")


# -- learned axes -------------------------------------------------------------------------


@pytest.mark.numerical
def test_learned_axis_is_contrastive_pca():
    rng = np.random.default_rng(0)
    normal = rng.multivariate_normal(np.zeros(3), np.diag([9.0, 1.0, 0.5]), 20_000)
    abnormal = rng.multivariate_normal(np.zeros(3), np.diag([9.0, 1.0, 0.5]), 20_000)
    abnormal[:1000] += 4 * np.array([0.1, 0.5, -1.0])  # a lesion, in noisier company
    found = learned_axis(np.array_split(abnormal, 2), np.array_split(normal, 3))
    np.testing.assert_allclose(found, contrastive_axis(abnormal, normal), atol=1e-9)
    assert found[2] == pytest.approx(-1)  # the direction of the lesion
    abnormal[:1000] *= -1
    assert learned_axis([abnormal], [normal])[2] > 0
    with pytest.warns(UserWarning, match="vary 0.01 times as much as normal ones"):
        learned_axis([0.1 * normal], [normal])
    with pytest.warns(UserWarning, match=r"unreliable.*expected more than 3 times"):
        learned_axis([abnormal], [normal], least_ratio=3.0)


def deviations_by_hand(detector, X, brain, normal):
    """How far the brain pixels of each slice deviate, (n_slices, n_pixels, K)."""
    n = getattr(detector, "neighbourhood", 1)
    patches = np.stack(
        [patches_at(X[[i]], np.flatnonzero(brain[i]), n) for i in range(len(X))]
    )
    if isinstance(detector, PCADetector):
        pca = detector.pca_
        flat = patches.reshape(-1, patches.shape[-1])
        restored = pca.inverse_transform(pca.transform(flat))
        patches = (flat - restored).reshape(patches.shape)
    elif isinstance(detector, IntensityDetector | GaussianMixtureDetector):
        patches = patches - patches[normal].mean(axis=(0, 1))
    else:
        import torch

        with torch.inference_mode():
            restored = detector._networks(torch.from_numpy(X)).numpy()
        return np.stack([(X - restored)[i][:, brain[i]].T for i in range(len(X))])
    return patches.reshape(*patches.shape[:2], n * n, -1).mean(axis=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "detector",
    [
        taker("DAEDetector"),
        taker("IntensityDetector"),
        taker("PCADetector", n_components=1),
        taker("PCADetector", n_components=3, neighbourhood=3),
        taker("GaussianMixtureDetector", max_samples=None),
        taker("GaussianMixtureDetector", max_samples=None, n_components=1, neighbourhood=3),
    ],
)
def test_learned_axis_of_each_detector(detector, tmp_path):
    X, y = make_slices()
    brain, abnormal = (X != 0).any(axis=1), (y == 1).any(axis=(1, 2))
    detector.set_params(prior="learned").fit(X, y)
    deviations = deviations_by_hand(detector, X, brain, ~abnormal)
    pixels = (deviations[s].reshape(-1, 3) for s in (abnormal, ~abnormal))
    np.testing.assert_allclose(detector.axis_, contrastive_axis(*pixels), atol=1e-4)
    assert np.abs(detector.axis_).max() == pytest.approx(1)
    if getattr(detector, "neighbourhood", 1) == 1:
        assert np.argmax(detector.axis_) == 2  # where the lesion is bright
    scores = detector.score_samples(X)
    assert scores[y == 1].mean() < scores[y == 0].mean()
    # Which slices are abnormal is all that is used.
    everywhere = np.where(abnormal[:, None, None] & brain, 1, np.where(brain, 0, -1))
    again = detector.fit(X, everywhere.astype(np.int8))
    np.testing.assert_array_equal(again.score_samples(X), scores)
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(detector)).score_samples(X), scores
    )
    skadm.save(detector, tmp_path / "model.skadm")
    loaded = skadm.load(tmp_path / "model.skadm")
    np.testing.assert_array_equal(loaded.score_samples(X), scores)


@pytest.mark.slow
@pytest.mark.parametrize("name", TAKERS)
def test_axis_that_does_not_fit_the_prior_is_not_loaded(name):
    """As of a file that somebody has changed."""
    stack = make_stack()
    detector = taker(name, prior=["FLAIR"]).fit(stack, stack.y)
    detector._check_loaded()
    for axis in (None, np.ones(4), 1.0):
        detector.axis_ = axis
        with pytest.raises(ValueError, match="axis_ of a"):
            detector._check_loaded()
    if name != "IntensityDetector":
        detector = taker(name).fit(stack, stack.y)
        detector.axis_ = np.ones(3)
        with pytest.raises(ValueError, match="since prior is None"):
            detector._check_loaded()


# -- scores -------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", ["known", "unknown"])
@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("neighbourhood", [1, 3])
def test_mixture_scores_the_axis_given_the_rest(kind, sign, neighbourhood):
    """Against marginals and conditionals in coordinates of which the axis is the first."""
    X, y = make_slices()
    settings = {"n_components": 2, "covariance_type": kind, "reg_covar": 1e-2}
    detector = GaussianMixtureDetector(
        prior={0: 0.5, 2: -2.0}, prior_sign=sign, neighbourhood=neighbourhood,
        random_state=0, **settings,
    ).fit(X, y)  # fmt: skip
    pixels = np.flatnonzero((X != 0).any(axis=1))[::7]
    patches = patches_at(X, pixels, neighbourhood)
    d = patches.shape[1]
    axis = np.tile([0.5, 0.0, -2.0], neighbourhood**2)
    turn, _ = np.linalg.qr(np.column_stack([axis, np.eye(d)])[:, :d])
    turn[:, 0] *= np.sign(turn[:, 0] @ axis)
    mixture = detector.mixture_
    covariances = {
        "full": mixture.covariances_,
        "tied": [mixture.covariances_] * 2,
        "diag": [np.diag(c) for c in mixture.covariances_] if kind == "diag" else (),
        "spherical": [c * np.eye(d) for c in mixture.covariances_],
    }[kind]
    weights, parts = [], []
    for w, mean, covariance in zip(mixture.weights_, mixture.means_, covariances):
        z, m, S = patches @ turn, mean @ turn, turn.T @ covariance @ turn
        weights.append(w * multivariate_normal(m[1:], S[1:, 1:]).pdf(z[:, 1:]))
        gain = np.linalg.solve(S[1:, 1:], S[1:, 0])
        spread = np.sqrt(S[0, 0] - S[0, 1:] @ gain)
        of_axis = norm(m[0] + (z[:, 1:] - m[1:]) @ gain, spread)
        parts.append(of_axis.sf(z[:, 0]) if sign == "known" else of_axis.pdf(z[:, 0]))
    expected = np.log(np.average(parts, axis=0, weights=weights))
    scores = detector.score_samples(X).ravel()[pixels]
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("neighbourhood", [1, 3])
def test_pca_scores_signed_errors(neighbourhood):
    X, y = make_slices()
    detector = PCADetector(
        n_components=2, neighbourhood=neighbourhood, prior={2: 1, 0: -0.5}, random_state=0
    ).fit(X, y)
    pixels = np.flatnonzero((X != 0).any(axis=1))
    patches = patches_at(X, pixels, neighbourhood)
    errors = patches - detector.pca_.inverse_transform(detector.pca_.transform(patches))
    by_contrast = errors.reshape(len(errors), -1, 3).mean(axis=1)
    expected = -(by_contrast[:, 2] - 0.5 * by_contrast[:, 0])
    scores = detector.score_samples(X).ravel()[pixels]
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


# -- tiers --------------------------------------------------------------------------------


def test_supervision():
    for name, _ in all_detectors():
        if name != "IntensityDetector":
            assert supervision(tiny(name)) == "none"
    for name in TAKERS:
        for sign in ("known", "unknown"):
            assert supervision(tiny(name, prior="learned", prior_sign=sign)) == (
                "slice labels"
            )
        assert supervision(tiny(name, prior=["FLAIR"])) == "known direction"
        stated = tiny(name, prior=["FLAIR"], prior_sign="unknown")
        assert supervision(stated) == "known contrasts"
    # That all contrasts are bright is an assumption, though nobody has stated it.
    assert supervision(IntensityDetector()) == "known direction"
    assert supervision(IntensityDetector(prior_sign="unknown")) == "known contrasts"


def test_supervision_is_that_of_the_innermost_detector():
    detector = PCADetector(prior="learned")
    for wrapped in (
        PostprocessedDetector(FlipAveragedDetector(detector), GaussianSmoother(1.0)),
        EnsembleDetector(make_pipeline(IntensityNormalizer(), detector)),
        ConformalDetector(FrozenEstimator(make_pipeline(IntensityNormalizer(), detector))),
        make_pipeline(IntensityNormalizer(), SliceDetector(detector)),
    ):
        assert supervision(wrapped) == "slice labels"
    assert supervision(GridSearchCV(detector, {"n_components": [1]})) == "slice labels"
    assert supervision(object()) is None


def test_catalogue_names_the_tiers():
    tiers = ("none", "slice labels", "known contrasts", "known direction")
    for name, method in METHODS.items():
        expected = tiers if name in TAKERS else tiers[:1]
        assert method.supervision == expected[name == "IntensityDetector" :]


def test_supervision_stands_in_rows_and_cards(tmp_path):
    from skadm.evaluation import evaluate, format_table

    stack = make_stack()
    detectors = {
        "PCA": PCADetector(random_state=0),
        "learned": PCADetector(prior="learned", random_state=0),
        "FLAIR": IntensityDetector(prior=["FLAIR"]),
    }
    for detector in detectors.values():
        detector.fit(stack, stack.y)
    found = evaluate(detectors, stack)
    shown = {row["method"]: row["supervision"] for row in found.rows}
    assert shown == {
        "PCA": "none",
        "learned": "slice labels",
        "FLAIR": "known direction",
    }
    assert "slice labels" in format_table(found.rows)
    path = tmp_path / "model.skadm"
    skadm.save(make_pipeline(IntensityNormalizer().fit(stack), detectors["learned"]), path)
    assert skadm.card(path)["supervision"] == "slice labels"
