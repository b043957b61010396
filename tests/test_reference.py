"""What is remembered of the training, and when scoring warns."""

import hashlib
import warnings

import numpy as np
import pytest

from skadm import IntensityDetector, IntensityShiftWarning, PCADetector
from skadm._reference import LEVELS, TrainingReference
from skadm.base import _learning
from skadm.data import ArrayVolume, SliceStack, make_phantom, read_brats
from skadm.preprocessing import IntensityNormalizer


@pytest.fixture(scope="module")
def raw():
    return make_phantom(n_patients=6, n_slices=10, size=40, random_state=0)


@pytest.fixture(scope="module")
def normalised(raw):
    return IntensityNormalizer().fit_transform(raw).in_memory()


@pytest.fixture(scope="module")
def trained(normalised):
    half = np.isin(normalised.groups, np.unique(normalised.groups)[:3])
    return IntensityDetector().fit(normalised[half], normalised[half].y)


def heard(function, *arguments):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function(*arguments)
    return [str(w.message) for w in caught if w.category is IntensityShiftWarning]


def images(n=4, shift=0.0, scale=1.0, seed=0, n_contrasts=3):
    """Slices full of brain with normal intensities, of correlations 0.9, 0 and 0."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, n_contrasts, 30, 30))
    if n_contrasts > 1:
        X[:, 1] = 0.9 * X[:, 0] + np.sqrt(1 - 0.9**2) * X[:, 1]
    return (shift + scale * X).astype(np.float32)


def test_what_is_remembered():
    X = images()
    X[:, :, :10] = 0  # background
    reference = TrainingReference.of(X, ["a", "a", "b", "c"])
    values = np.moveaxis(X[:, :, 10:], 1, -1).reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(
        reference.quantiles, np.quantile(values, LEVELS, axis=0).T, rtol=1e-12
    )
    clipped = np.clip(values, *np.quantile(values, [0.01, 0.99], axis=0))
    np.testing.assert_allclose(reference.correlations, np.corrcoef(clipped.T), atol=1e-12)
    assert (reference.n_slices, reference.n_patients) == (4, 3)
    assert reference.n_brain_pixels == len(values)
    expected = hashlib.sha256(repr(X.shape).encode() + X.tobytes()).hexdigest()
    assert reference.sha256 == expected


def test_many_slices_are_sampled_the_same_way_in_any_blocks(monkeypatch):
    X = images(60)
    monkeypatch.setattr("skadm._reference._SAMPLE", 20_000)
    whole = TrainingReference.of(X)
    monkeypatch.setattr("skadm._disk.CHUNK_BYTES", 20_000)
    parts = TrainingReference.of(X[::1])
    np.testing.assert_array_equal(whole.quantiles, parts.quantiles)
    assert whole.sha256 == parts.sha256
    # Of 20,000 of the 54,000 pixels: near those of all, and not the same.
    exact = np.quantile(np.moveaxis(X, 1, -1).reshape(-1, 3), LEVELS, axis=0).T
    np.testing.assert_allclose(whole.quantiles, exact, atol=0.1)
    assert not np.array_equal(whole.quantiles, exact)


def test_slices_like_those_of_the_training_are_silent():
    reference = TrainingReference.of(images(seed=0))
    assert heard(reference.check, images(seed=1)) == []
    assert heard(reference.check, images(seed=1, shift=2, scale=2)) == []


@pytest.mark.parametrize("change", [(4, 1), (-4, 1), (0, 4), (0, 0.2), (300, 80)])
def test_shifted_and_stretched_contrasts_are_named(change):
    reference = TrainingReference.of(images())
    X = images(seed=1)
    X[:, 1] = change[0] + change[1] * X[:, 1]
    (message,) = heard(reference.check, X, ("T1", "T2", "FLAIR"))
    low, middle, high = np.quantile(X[:, 1], [0.05, 0.5, 0.95])
    assert message.startswith(f"T2: found intensities of {low:.3g} to {high:.3g} ")
    assert f"median {middle:.3g}; expected about" in message
    assert f"median {reference.quantiles[1][3]:.3g}, as in the training" in message


def test_missing_contrast_is_named():
    reference = TrainingReference.of(images())
    X = images(seed=1)
    X[:, 2] = 0
    (message,) = heard(reference.check, X)
    assert message.startswith("contrast 2: found intensities of 0 to 0")


def test_missing_contrast_of_a_patient_is_not_compared_but_the_others_are():
    reference = TrainingReference.of(images())
    X = images(n=8, seed=1)
    X[4:, 2] = np.nan
    assert heard(reference.check, X) == []
    assert heard(reference.check, X[4:]) == []
    X[:, 1] += 9
    (message,) = heard(reference.check, X[4:])
    assert message.startswith("contrast 1: found intensities of")


def test_exchanged_contrasts_are_named():
    reference = TrainingReference.of(images())
    X = images(seed=1)
    assert heard(reference.check, X[:, [1, 0, 2]]) == []  # which changes no correlation
    (message,) = heard(reference.check, X[:, [0, 2, 1]], ("T1", "T2", "FLAIR"))
    assert message.startswith("T2 and FLAIR may be swapped")


def test_extreme_and_few_pixels():
    reference = TrainingReference.of(images())
    assert heard(reference.check, images(1, shift=99)[:, :, :, :20]) == []
    assert TrainingReference.of(images(1)[:, :, :1]).check(images(shift=99)) is False
    assert len(heard(reference.check, images(scale=1e37))) == 3
    assert heard(reference.check, np.zeros((2, 3, 40, 40), np.float32)) == []
    assert heard(reference.check, np.zeros((0, 3, 40, 40), np.float32)) == []
    constant = TrainingReference.of(np.ones((4, 1, 30, 30), np.float32))
    assert heard(constant.check, images(n_contrasts=1)) == []


@pytest.mark.slow
def test_scoring_warns(trained, raw, normalised):
    others = ~np.isin(normalised.groups, np.unique(normalised.groups)[:3])
    for method in (trained.score_samples, trained.predict, trained.decision_function):
        assert heard(method, normalised[others]) == []
        messages = heard(method, raw[others])
        assert {text.split(":")[0] for text in messages} == set(raw.contrasts)


@pytest.mark.slow
def test_scoring_warns_once_whatever_is_read_at_a_time(trained, raw, normalised, tmp_path):
    """Of one patient among others too; the chunks of the rest are not looked at again."""
    patients = np.unique(raw.groups)
    for patient in patients[3:]:
        X = np.where(raw.groups[:, None, None, None] == patient, raw.X, normalised.X)
        volumes = [
            ArrayVolume(X[raw.groups == p], patient=p, contrasts=raw.contrasts)
            for p in patients
        ]
        messages = heard(trained.score_samples, SliceStack.from_volumes(volumes))
        assert sorted(text.split(":")[0] for text in messages) == sorted(raw.contrasts)
    path = tmp_path / "raw.npy"
    np.save(path, raw.X)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skadm._disk.CHUNK_BYTES", 10 * raw.X[:1].nbytes)
        for X in (raw.X, np.load(path, mmap_mode="r")):
            assert len(heard(trained.score_samples, X)) == len(raw.contrasts)


def test_slices_are_validated_once(trained, normalised, monkeypatch):
    seen, validate = [], _learning.validate_data

    def counting(estimator, X, **options):
        seen.append(len(X))
        return validate(estimator, X, **options)

    monkeypatch.setattr(_learning, "validate_data", counting)
    monkeypatch.setattr("skadm._disk.CHUNK_BYTES", 10 * normalised.X[:1].nbytes)
    trained.score_samples(normalised.X)
    assert seen == [len(normalised)]
    seen.clear()
    trained.score_samples(normalised)
    assert seen == [10] * len(normalised.volumes)


def test_fitting_does_not_warn(raw, normalised):
    assert heard(PCADetector().fit, raw, raw.y) == []
    assert heard(PCADetector().fit_predict, normalised, normalised.y) == []


def test_names_in_another_order_are_an_error(trained, normalised):
    X = normalised[:6].X[:, ::-1]
    names = normalised.contrasts[::-1]
    with pytest.raises(ValueError, match="Read them in the same order"):
        trained.score_samples(
            SliceStack.from_volumes([ArrayVolume(X, patient="p", contrasts=names)])
        )


@pytest.mark.slow
def test_real_patients(data_directory):
    """Train on three, score three others: silent, unless they are not normalised."""
    raw = read_brats(data_directory / "brats", contrasts=["T1", "FLAIR"])
    stack = IntensityNormalizer().fit_transform(raw)
    middle = (stack.z % 5 == 0) & (stack.z > 20) & (stack.z < 130)
    patients = sorted(set(stack.groups.tolist()))
    train = middle & np.isin(stack.groups, patients[:3])
    detector = IntensityDetector().fit(stack[train].without_labels())
    for patient in patients[3:]:
        own = middle & (stack.groups == patient)
        assert heard(detector.score_samples, stack[own]) == []
        assert len(heard(detector.score_samples, raw[own])) == len(raw.contrasts)
