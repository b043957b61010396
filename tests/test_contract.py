"""The contract that every detector keeps; a new detector needs no line here."""

import functools
import pickle
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold, PredefinedSplit
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from skadm.data import ArrayVolume, SliceStack, make_phantom
from skadm.detectors import ADMDetector, IntensityDetector, all_detectors
from skadm.preprocessing import IntensityNormalizer
from skadm.presets import PRESETS

# Smaller than "quick", where that takes long.
_TINY = {
    "ADMDetector": {"width": 4, "n_blocks": 1, "n_components": 2, "max_epochs": 2},
    "GMVAEDetector": {
        "width": 4,
        "n_components": 2,
        "restoration_steps": 2,
        "max_epochs": 2,
    },
    "GaussianMixtureDetector": {"n_components": 2, "max_samples": 200},
    "PCADetector": {"max_samples": 200},
    "DAGDetector": {"width": 4, "n_components": 2, "max_epochs": 2},
    "DAGcDetector": {"width": 4, "n_components": 2, "max_epochs": 2},
    "DAEDetector": {"width": 4, "n_levels": 2, "median_size": 3, "max_epochs": 2},
    "DSVDDDetector": {
        "width": 4,
        "latent_dim": 8,
        "n_levels": 1,
        "pretraining_epochs": 1,
        "max_epochs": 10,
    },
    "EraserDetector": {
        "width": 4,
        "n_levels": 2,
        "lesion_scales": (2, 4),
        "n_components": 2,
        "max_epochs": 2,
    },
    "FAnoGANDetector": {"width": 4, "latent_dim": 2, "n_levels": 1, "max_epochs": 2},
}
TINY = {name: _TINY.get(name, PRESETS[name]["quick"]) for name, _ in all_detectors()}


def make_slices(n_slices=12, n_contrasts=3, height=14, width=11, seed=0):
    """Correlated contrasts in an elliptic brain; the last third has a bright lesion."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    brain = np.broadcast_to(rows**2 + columns**2 < 0.9, (n_slices, height, width))
    common = rng.normal(size=(n_slices, 1, height, width))
    X = common + 0.3 * rng.normal(size=(n_slices, n_contrasts, height, width))
    y = np.where(brain, 0, -1).astype(np.int8)
    ill = slice(2 * n_slices // 3, None)
    y[ill, height // 2 - 2 : height // 2 + 2, width // 2 - 2 : width // 2 + 2] = 1
    X[:, -1][y == 1] += 4
    return np.where(brain[:, None], X, 0).astype(np.float32), y


def make_stack(n_patients=3, **shape):
    volumes = []
    for patient in range(n_patients):
        X, y = make_slices(6, seed=patient, **shape)
        names = ("T1", "T2", "FLAIR")[: X.shape[1]]
        volumes.append(ArrayVolume(X, y, patient=f"p{patient}", contrasts=names))
    return SliceStack.from_volumes(volumes)


def tiny(name, **parameters):
    detector = dict(all_detectors())[name](**TINY[name])
    if "random_state" in detector.get_params():
        detector.set_params(random_state=0)
    return detector.set_params(**parameters)


# Of the detectors that are networks, the one that is trained soonest stands for all of them
# where tests have to be quick.
QUICK_TO_TRAIN = ("DAEDetector", "IntensityDetector", "PCADetector")
EVERY_DETECTOR = [
    name if name in QUICK_TO_TRAIN else pytest.param(name, marks=pytest.mark.slow)
    for name, _ in all_detectors()
]


@pytest.fixture(params=EVERY_DETECTOR)
def detector(request):
    return tiny(request.param)


@functools.cache
def trained(name, on="slices"):
    """A trained detector in a pickle: for all tests that do not need to train it."""
    stack = make_stack()
    data = {"slices": make_slices(), "stack": (stack, stack.y)}[on]
    return pickle.dumps(tiny(name).fit(*data))


@pytest.fixture
def fitted(detector):
    """Trained on `make_slices()`."""
    return pickle.loads(trained(type(detector).__name__))


@pytest.fixture
def fitted_to_stack(detector):
    """Trained on `make_stack()` and its labels."""
    return pickle.loads(trained(type(detector).__name__, "stack"))


def is_trained(detector):
    return "max_epochs" in detector.get_params()


# -- maps ---------------------------------------------------------------------------------


@pytest.mark.numerical
def test_maps(fitted):
    X, y = make_slices(seed=1)
    scores, decision = fitted.score_samples(X), fitted.decision_function(X)
    labels = fitted.predict(X)
    for maps in (scores, decision, labels):
        assert maps.shape == y.shape
    assert scores.dtype == np.float32
    assert fitted.score_samples(X.astype(np.float64)).dtype == np.float64
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(decision, scores - np.float32(fitted.offset_))
    np.testing.assert_array_equal(labels == -1, decision < 0)
    assert set(np.unique(labels)) == {-1, 1}


def test_background(fitted):
    X, y = make_slices(seed=1)
    background = y == -1
    assert (fitted.predict(X)[background] == 1).all()
    assert (fitted.score_samples(X)[background] == fitted.background_score_).all()
    fitted.offset_ = fitted.background_score_ + 1  # as if a threshold were that high
    assert (fitted.predict(X)[background] == 1).all()
    assert (fitted.predict(X)[~background] == -1).all()


def test_higher_is_more_normal(fitted):
    X, y = make_slices(seed=1)
    maps = fitted.score_samples(X)
    brain = y >= 0
    auc = roc_auc_score(y[brain] == 1, -maps[brain])
    assert auc > 0.6
    assert fitted.score(X, y) == pytest.approx(auc, abs=1e-12)
    # The brain counts even where a mask says 0 in the background.
    assert fitted.score(X, np.maximum(y, 0)) == pytest.approx(auc, abs=1e-12)


def test_contamination(detector):
    X, y = make_slices()
    normal = ~(y == 1).any(axis=(1, 2))
    for contamination in (0.02, 0.3):
        fitted = clone(detector).set_params(contamination=contamination).fit(X, y)
        training = fitted.predict(X[normal])[y[normal] == 0]
        assert (training == -1).mean() == pytest.approx(contamination, abs=0.005)


def test_slice_without_brain(fitted):
    X, _ = make_slices(seed=1)
    with_empty = np.concatenate([X[:2], np.zeros_like(X[:1]), X[2:4]])
    maps = fitted.score_samples(with_empty)
    assert (maps[2] == fitted.background_score_).all()
    np.testing.assert_allclose(maps[[0, 1, 3, 4]], fitted.score_samples(X[:4]), rtol=1e-5)
    assert (fitted.score_samples(np.zeros_like(X)) == fitted.background_score_).all()


@pytest.mark.parametrize("shape", [(5, 1, 1, 1), (5, 6, 1, 9), (1, 2, 5, 9), (3, 1, 16, 8)])
def test_any_size(detector, shape):
    X = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    scores = detector.fit(X).score_samples(X)
    assert np.isfinite(scores).all()
    assert scores.shape == (shape[0], *shape[2:])
    assert detector.n_features_in_ == shape[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ADMDetector", "FAnoGANDetector"])
def test_precisions_agree(name):
    X, y = make_slices()
    single, half = (
        tiny(name, precision=precision).fit(X, y).score_samples(X)[y >= 0]
        for precision in ("float32", "bfloat16")
    )
    assert not np.array_equal(single, half)
    assert np.corrcoef(single, half)[0, 1] > 0.99


def test_absurd_intensities_give_finite_scores(fitted):
    X, _ = make_slices(seed=1)
    X[0, :, 7, 5] = 1e30
    X[1] *= -1e25
    X[2] *= 1e38
    X[2] = X[2].clip(-3e38, 3e38)
    assert np.isfinite(fitted.score_samples(X)).all()


# -- training -----------------------------------------------------------------------------


def test_trains_on_normal_slices_only(detector, fitted):
    X, y = make_slices()
    normal = ~(y == 1).any(axis=(1, 2))
    expected = fitted.score_samples(X)
    apart = clone(detector).fit(X[normal])
    np.testing.assert_array_equal(apart.score_samples(X), expected)
    assert apart.offset_ == fitted.offset_
    np.testing.assert_array_equal(clone(detector).fit_predict(X, y), fitted.predict(X))
    changed = X.copy()
    changed[~normal] *= 100
    np.testing.assert_array_equal(
        clone(detector).fit(changed, y).score_samples(X), expected
    )


def test_slices_without_brain_are_left_out(detector, fitted):
    X, y = make_slices()
    empty = np.zeros_like(X[:3])
    more = clone(detector).fit(
        np.concatenate([X, empty]), np.concatenate([y, np.full_like(y[:3], -1)])
    )
    np.testing.assert_array_equal(more.score_samples(X), fitted.score_samples(X))


def test_a_failed_fit_leaves_the_detector_as_it_was(fitted, monkeypatch):
    X, y = make_slices()
    expected = fitted.score_samples(X)
    before = {name: repr(value) for name, value in vars(fitted).items()}
    original = type(fitted)._score

    def interrupted(self, *arguments):
        raise KeyboardInterrupt  # after the training

    monkeypatch.setattr(type(fitted), "_score", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(2 * X[:, :2], y)
    monkeypatch.setattr(type(fitted), "_score", original)
    assert {name: repr(value) for name, value in vars(fitted).items()} == before
    np.testing.assert_array_equal(fitted.score_samples(X), expected)


def test_parameters_and_inputs_stay(detector):
    X, y = make_slices()
    copies = X.copy(), y.copy()
    before = detector.get_params()
    detector.fit(X, y).predict(X)
    np.testing.assert_array_equal(X, copies[0])
    np.testing.assert_array_equal(y, copies[1])
    assert detector.get_params() == before
    assert clone(detector).get_params().keys() == before.keys()


def test_same_seed_same_scores(detector, fitted):
    X, y = make_slices()
    first = fitted.score_samples(X)
    again = clone(detector).fit(X, y).score_samples(X)
    np.testing.assert_array_equal(first, again)
    if "random_state" in detector.get_params():
        other = clone(detector).set_params(random_state=1).fit(X, y).score_samples(X)
        assert not np.array_equal(first, other)


def test_global_state_is_not_touched(detector):
    before = np.random.get_state()[1].copy(), torch.get_rng_state(), torch.get_num_threads()
    X, y = make_slices()
    detector.fit(X, y).score_samples(X)
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])
    assert torch.equal(torch.get_rng_state(), before[1])
    assert torch.get_num_threads() == before[2]
    assert torch.is_grad_enabled()


@pytest.mark.numerical
@pytest.mark.parametrize(
    ("precision", "shape"),
    [
        *(("float32", shape) for shape in ((1, 1), (14, 11), (24, 20))),
        ("bfloat16", (14, 11)),
    ],
)
def test_scores_do_not_depend_on_the_batch(detector, shape, precision):
    """To the last bit, whatever kernels this processor has."""
    if "precision" in detector.get_params():
        detector.set_params(precision=precision, device="cpu")
    elif precision != "float32":
        pytest.skip("computes in one precision")
    X = np.random.default_rng(1).normal(size=(7, 3, *shape)).astype(np.float32)
    fitted = detector.fit(X[:4])
    expected = fitted.score_samples(X)
    one_by_one = [fitted.score_samples(X[i : i + 1]) for i in range(len(X))]
    np.testing.assert_array_equal(np.concatenate(one_by_one), expected)
    np.testing.assert_array_equal(fitted.score_samples(X[::-1])[::-1], expected)
    if "batch_size" in fitted.get_params():
        for batch_size in (1, 5, 100):
            fitted.set_params(batch_size=batch_size)
            np.testing.assert_array_equal(fitted.score_samples(X), expected)


def test_scores_depend_on_training(detector, fitted):
    """A trained net is not its untrained twin, and its scores are not constant."""
    X, y = make_slices()
    assert fitted.score_samples(X)[y >= 0].std() > 1e-3
    if is_trained(detector):
        twin = clone(detector).set_params(learning_rate=1e-12).fit(X, y)
        assert not np.allclose(fitted.score_samples(X), twin.score_samples(X), rtol=1e-3)


# Settings with which few slices of a phantom are enough to learn from; else "quick" with
# more epochs.
_LEARNING = {
    "ADMDetector": {"width": 4, "n_blocks": 1, "max_epochs": 6, "learning_rate": 5e-3},
    "DAEDetector": {"width": 4, "n_levels": 2, "max_epochs": 30, "learning_rate": 5e-3},
    "DAGDetector": {"max_epochs": 20, "learning_rate": 1e-2, "penalty_weight": 1e-5},
    "DAGcDetector": {"max_epochs": 10, "learning_rate": 1e-2, "penalty_weight": 1e-5},
    "DSVDDDetector": {"width": 8, "max_epochs": 10, "learning_rate": 5e-3},
    "EraserDetector": {"width": 4, "n_levels": 2, "max_epochs": 20, "learning_rate": 5e-3},
    # Untrained, its residual is nearly the image itself, which is no bad score.
    "GMVAEDetector": {
        "width": 4,
        "restoration_steps": 2,
        "max_epochs": 40,
        "learning_rate": 5e-3,
    },
}
LEARNING = {
    name: _LEARNING.get(
        name, PRESETS[name]["quick"] | {"max_epochs": 30, "learning_rate": 5e-3}
    )
    for name, detector in all_detectors()
    if is_trained(detector())
}
# A GAN needs more steps than a test may take, or a task that an untrained one cannot do:
# test_fanogan.test_a_broken_relation_of_contrasts_is_found.
del LEARNING["FAnoGANDetector"]


# Patients, slices of each and pixels of a side; two patients are tested on. Fewer are
# enough for networks that take long.
PHANTOM = (6, 12, 32)
SMALL_PHANTOM = {
    "ADMDetector": (4, 8, 24),
    "DAEDetector": (4, 8, 24),
    "DAGcDetector": (6, 8, 24),
    "DSVDDDetector": (6, 8, 24),
    "EraserDetector": (6, 8, 24),
    "GMVAEDetector": (4, 8, 24),
}


@functools.cache
def phantom(n_patients, n_slices, size):
    """Slices and masks of training patients and of two others."""
    stack = make_phantom(n_patients, n_slices, size, random_state=0)
    X, y = IntensityNormalizer().fit_transform(stack).load()
    test = np.isin(stack.groups, np.unique(stack.groups)[:2])
    return X[~test], y[~test], X[test], y[test]


@pytest.mark.parametrize("name", LEARNING)
@pytest.mark.slow
def test_a_trained_detector_beats_its_untrained_twin(name):
    """Three seeds: a single random network finds much or little by chance."""
    X, y, X_test, y_test = phantom(*SMALL_PHANTOM.get(name, PHANTOM))

    def mean_auc(**parameters):
        detector = dict(all_detectors())[name](**{**LEARNING[name], **parameters})
        return np.mean(
            [
                clone(detector)
                .set_params(random_state=seed)
                .fit(X, y)
                .score(X_test, y_test)
                for seed in range(3)
            ]
        )

    assert mean_auc() > mean_auc(learning_rate=1e-12, max_epochs=1) + 0.02


# -- persistence --------------------------------------------------------------------------


def test_pickle_and_joblib(detector, tmp_path):
    X, _ = make_slices(seed=1)
    # Not from a pickle, as `fitted` is.
    fitted = detector.fit(*make_slices())
    expected = fitted.score_samples(X)
    pickled = pickle.dumps(fitted)
    assert b"torch" not in pickled
    joblib.dump(fitted, tmp_path / "model.joblib")
    for copy in (pickle.loads(pickled), joblib.load(tmp_path / "model.joblib")):
        np.testing.assert_array_equal(copy.score_samples(X), expected)
        assert copy.skadm_version_ == fitted.skadm_version_


@pytest.mark.slow
def test_pickles_work_in_another_process(tmp_path):
    X, _ = make_slices(2, seed=1)
    models = [pickle.loads(trained(name)) for name, _ in all_detectors()]
    expected = [model.score_samples(X) for model in models]
    joblib.dump((models, X, expected), tmp_path / "all.joblib")
    code = (
        "import joblib, numpy as np\n"
        f"models, X, expected = joblib.load({str(tmp_path / 'all.joblib')!r})\n"
        "for model, scores in zip(models, expected):\n"
        "    np.testing.assert_allclose(model.score_samples(X), scores, rtol=1e-5)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- stacks and scikit-learn --------------------------------------------------------------


def test_stack_instead_of_arrays(detector, fitted_to_stack):
    stack, from_stack = make_stack(), fitted_to_stack
    from_arrays = clone(detector).fit(stack.X, stack.y)
    np.testing.assert_array_equal(
        from_stack.score_samples(stack), from_arrays.score_samples(stack.X)
    )
    assert from_stack.contrasts_ == ("T1", "T2", "FLAIR")
    assert from_arrays.contrasts_ is None


def test_stack_with_other_contrasts_is_refused(fitted_to_stack):
    stack = make_stack()
    swapped = SliceStack.from_volumes(
        [
            ArrayVolume(stack.X[:6], patient="p", contrasts=("T2", "T1", "FLAIR")),
        ]
    )
    with pytest.raises(
        ValueError, match=r"contrasts \('T2', 'T1', 'FLAIR'\).*on which .* was fitted"
    ):
        fitted_to_stack.score_samples(swapped)


def test_grid_search_over_a_pipeline(detector):
    stack = make_stack(2)
    pipeline = Pipeline([("normalise", IntensityNormalizer()), ("detect", detector)])
    search = GridSearchCV(
        pipeline, {"detect__contamination": [0.01, 0.1]}, cv=GroupKFold(2)
    ).fit(stack, stack.y, groups=stack.groups)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.predict(stack).shape == stack.y.shape


@pytest.mark.slow
def test_folds_train_on_normal_slices_only(monkeypatch):
    """What the networks see in each fold and in the refit, slice by slice."""
    X, y = make_slices(n_slices=18)
    X[:, 0, 0, 0] = np.arange(1, 19)  # names each slice
    seen = []
    original = ADMDetector._train

    def spy(self, networks, images, trainer):
        seen.append(set(images[:, 0, 0, 0].astype(int).tolist()))
        return original(self, networks, images, trainer)

    monkeypatch.setattr(ADMDetector, "_train", spy)
    groups = np.arange(18) % 3
    GridSearchCV(
        tiny("ADMDetector", max_epochs=1), {"n_components": [1]}, cv=GroupKFold(3)
    ).fit(X, y, groups=groups)
    normal = set(range(1, 13))
    folds = [{n for n in normal if (n - 1) % 3 != fold} for fold in (0, 1, 2)]
    assert sorted(map(sorted, seen[:3])) == sorted(map(sorted, folds))
    assert seen[3] == normal


@pytest.mark.slow
def test_predefined_split_with_refit():
    """The paper's hold-out: validate on the abnormal slices of the same patients."""
    X, y = make_slices()
    held_out = np.where((y == 1).any(axis=(1, 2)), 0, -1)
    search = GridSearchCV(
        tiny("ADMDetector"), {"n_components": [1, 2]}, cv=PredefinedSplit(held_out)
    ).fit(X, y)
    assert 0.5 < search.best_score_ <= 1


def test_pipeline(detector):
    stack = make_stack()
    pipeline = make_pipeline(IntensityNormalizer(), clone(detector)).fit(stack, stack.y)
    assert pipeline.predict(stack).shape == stack.y.shape
    normalised = IntensityNormalizer().fit_transform(stack).X
    np.testing.assert_array_equal(
        pipeline.score_samples(stack),
        clone(detector).fit(normalised, stack.y).score_samples(normalised),
    )


def one_pixel(base):
    """A detector of 2-D data: each row is a slice of one pixel."""

    class OnePixel(base):
        # scikit-learn looks for these as plain attributes.
        __init__ = base.__init__
        __doc__ = base.__doc__

        def fit(self, X, y=None):
            # Class labels are not masks; checks of scikit-learn pass them along.
            return super().fit(self._as_slices(X, reset=True))

        def score_samples(self, X):
            return super().score_samples(self._as_slices(X))[:, 0, 0]

        def decision_function(self, X):
            return super().decision_function(self._as_slices(X))[:, 0, 0]

        def predict(self, X):
            return np.where(self.decision_function(X) < 0, -1, 1)

        def score(self, X, y):
            return float(self.score_samples(X).mean())

        def _as_slices(self, X, reset=False):
            from sklearn.utils.validation import check_is_fitted, validate_data

            if not reset:
                check_is_fitted(self)
            return validate_data(self, X, reset=reset)[:, :, None, None]

        def __sklearn_tags__(self):
            tags = super().__sklearn_tags__()
            tags.input_tags.two_d_array = True
            return tags

    OnePixel.__name__ = OnePixel.__qualname__ = f"OnePixel{base.__name__}"
    globals()[OnePixel.__name__] = OnePixel  # so that it pickles
    return OnePixel


@pytest.mark.numerical
@pytest.mark.parametrize(("name", "base"), all_detectors())
@pytest.mark.slow
def test_estimator_checks(name, base, monkeypatch):
    estimator = one_pixel(base)(**TINY[name])
    # The checks score some 8,000 slices of one pixel, which is all that takes time.
    monkeypatch.setattr("skadm.training._engine._TOGETHER", 64)
    cheap = {"max_epochs": 1, "batch_size": 500, "n_blocks": 0, "tv_weight": 0}
    cheap |= {"pretraining_epochs": 1, "restoration_steps": 1}
    parameters = estimator.get_params()
    estimator.set_params(**{key: cheap[key] for key in cheap if key in parameters})
    results = check_estimator(estimator, on_fail=None, on_skip=None)
    failed = [r for r in results if r["status"] == "failed"]
    assert not failed, "\n".join(f"{r['check_name']}: {r['exception']!r}" for r in failed)
    passed = [r for r in results if r["status"] == "passed"]
    assert len(passed) > 30


# -- bad input ----------------------------------------------------------------------------


def bad_inputs():
    """Arguments of `fit`, and the message with which they are refused."""
    X, y = make_slices()
    nan, infinite = X.copy(), X.copy()
    nan[0, 0, 5, 5], infinite[0, 0, 5, 5] = np.nan, np.inf
    two = y.copy()
    two[0, 5, 5] = 2
    return [
        ((X[0],), r"4 dimensions .*got 3: shape \(3, 14, 11\)"),
        ((X[:, :0],), "no contrast or no pixel"),
        ((X[:0],), "minimum of 1 is required"),
        ((nan,), "contains NaN"),
        ((infinite,), "contains infinity"),
        ((np.zeros_like(X),), "no brain pixel in the 12 slices"),
        ((X[8:], y[8:]), "no normal slice left: each of the 4 slices"),
        ((X, y[:, :-1]), r"shape \(12, 14, 11\).*got \(12, 13, 11\)"),
        ((X, y[:-1]), r"shape \(12, 14, 11\).*got \(11, 14, 11\)"),
        ((X, two), r"0 \(normal\), 1 \(anomaly\).*found \[2\]"),
        (([[[["thick"]]]],), "X holds text"),
    ]


def test_bad_training_input(detector):
    for arguments, message in bad_inputs():
        with pytest.raises(ValueError, match=message):
            detector.fit(*arguments)


def test_bad_scoring_input(fitted):
    X, y = make_slices()
    with pytest.raises(ValueError, match=r"X has 2 features.*\(n_slices, 3, H, W\)"):
        fitted.score_samples(X[:, :2])
    with pytest.raises(ValueError, match="4 dimensions"):
        fitted.predict(X[0])
    with pytest.raises(ValueError, match="contains NaN"):
        fitted.decision_function(X * np.nan)
    with pytest.raises(ValueError, match="must have shape"):
        fitted.score(X, y[:, 0])


# Values that no detector takes for a parameter of this name.
BAD_PARAMETERS = {
    "augmentation": "strong",
    "batch_size": 0,
    "brain_channel": "yes",
    "constraint": "hope",
    "contamination": 0.7,
    "covariance_floor": 0,
    "critic_steps": 0,
    "density": "kernel",
    "device": "abacus",
    "encoder_epochs": 0,
    "energy_weight": -1,
    "feature_weight": -1,
    "features": "all",
    "free_bits": -1,
    "gradient_penalty": -1,
    "latent_dim": 0,
    "learning_rate": -1,
    "max_epochs": 0,
    "mixture_latent_dim": 0,
    "n_components": 0,
    "n_levels": 0,
    "norm": "layer",
    "precision": "float8",
    "random_state": "seed",
    "restoration_steps": 0,
    "step_size": 0,
    "tv_weight": -1,
    "width": 0,
}


def test_bad_parameters(detector):
    X, y = make_slices()
    for name in BAD_PARAMETERS.keys() & detector.get_params().keys():
        with pytest.raises(ValueError, match=f"'{name}' parameter of |{name}="):
            clone(detector).set_params(**{name: BAD_PARAMETERS[name]}).fit(X, y)


def test_not_fitted(detector):
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        detector.score_samples(make_slices()[0])


def test_intensity_detector_is_the_weighted_sum():
    stack = make_stack()
    X = stack.X
    brain = (X != 0).any(axis=1)
    fitted = IntensityDetector(prior={"FLAIR": 1, "T1": -0.5}).fit(stack, stack.y)
    maps = fitted.score_samples(X)
    np.testing.assert_allclose(
        maps[brain], (0.5 * X[:, 0] - X[:, 2])[brain], rtol=1e-5, atol=1e-6
    )


def test_smoothing_stays_in_the_brain():
    constant = np.zeros((1, 1, 20, 20), np.float32)
    constant[:, :, 5:15, 5:15] = 3
    fitted = IntensityDetector(sigma=2).fit(constant)
    brain = constant[:, 0] != 0
    np.testing.assert_allclose(fitted.score_samples(constant)[brain], -3, rtol=1e-5)


@pytest.mark.slow
def test_callbacks_pass_through_a_pipeline():
    from test_adm import Recorder

    class Everywhere(Recorder):
        max_propagation_depth = None

    stack = make_stack()
    recorder = Everywhere()
    pipeline = make_pipeline(IntensityNormalizer(), tiny("ADMDetector"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipeline.set_callbacks(recorder).fit(stack, stack.y)
    assert recorder.tasks.count("epoch") == 2 * 2


def test_masks_of_any_type(fitted):
    from skadm.model_selection import set_offset_by_f1

    X, y = make_slices()
    expected = fitted.score(X, y), set_offset_by_f1(fitted, X, y).offset_
    for dtype in (bool, np.uint8, np.int64, np.float32):
        mask = (y == 1).astype(dtype)
        found = fitted.score(X, mask), set_offset_by_f1(fitted, X, mask).offset_
        assert found == expected


def test_backward_and_read_only_views(detector):
    X, _ = make_slices()
    flipped = X[:, :, ::-1]
    read_only = flipped.copy()
    read_only.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        maps = clone(detector).fit(flipped).score_samples(flipped)
        again = clone(detector).fit(read_only).score_samples(read_only)
    np.testing.assert_array_equal(maps, again)


def test_crops_without_brain_are_no_error():
    X = np.zeros((1, 2, 20, 20), np.float32)
    X[:, :, 0, 0] = 1
    assert np.isfinite(tiny("ADMDetector").fit(X).score_samples(X)).all()
