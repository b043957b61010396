"""Self-training of the eraser: its targets, its score, and what it learns."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.base import clone
from test_contract import make_slices, make_stack

import skadm
from skadm import EraserDetector, PostprocessedDetector
from skadm._brain import brain_mask
from skadm._filters import smooth_in_brain
from skadm.detectors import supervision
from skadm.detectors._self_training import lesion_loss, targets_of_slices
from skadm.metrics import pixel_average_precision_score
from skadm.postprocessing import GaussianSmoother

SETTINGS = {
    "width": 4,
    "n_levels": 2,
    "lesion_scales": (2, 4),
    "n_components": 2,
    "max_epochs": 2,
    "self_training_epochs": 2,
    "random_state": 0,
}
UNRELIABLE = "ignore:self-training is unreliable"


def tiny(**parameters):
    return EraserDetector(**{**SETTINGS, **parameters})


# -- targets ------------------------------------------------------------------------------


def region_of(high, start):
    """Pixels that are connected with one, by a search from neighbour to neighbour."""
    found, waiting = set(), [start]
    while waiting:
        pixel = waiting.pop()
        if pixel in found or not high[pixel]:
            continue
        found.add(pixel)
        row, column = pixel
        waiting += [
            (r, c)
            for r in range(max(row - 1, 0), min(row + 2, high.shape[0]))
            for c in range(max(column - 1, 0), min(column + 2, high.shape[1]))
        ]
    return found


def test_targets_are_regions_with_a_certain_pixel():
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(20, 30, 30)).astype(np.float32)
    ill = rng.normal(size=(3, 30, 30)).astype(np.float32)
    ill[:, 5:12, 5:12] += 2.5
    images, abnormal = (np.ones((len(m), 2, 30, 30), np.float32) for m in (maps, ill))
    images[:, :, :4] = abnormal[:, :, :4] = 0  # background, whatever its score
    maps[:, :4] = ill[:, :4] = 99
    targets, usual = targets_of_slices(maps, ill, images, abnormal)

    normal = maps[:, 4:].ravel()
    region, certain = np.quantile(normal, [0.98, 0.999])
    assert usual == pytest.approx(np.median(normal))
    assert targets.shape == (23, 1, 30, 30)
    assert (targets[:20] == 0).all()
    found = targets[20:, 0]
    for scores, target in zip(ill, found):
        high = scores > region
        high[:4] = False
        expected = np.where(high, -1, 0)
        for start in zip(*np.nonzero(high & (scores > certain))):
            for pixel in region_of(high, start):
                expected[pixel] = 1
        np.testing.assert_array_equal(target, expected)
    assert {-1, 0, 1} == set(np.unique(found))


def test_regions_are_those_of_single_slices():
    rng = np.random.default_rng(0)
    maps = rng.uniform(size=(20, 20, 20)).astype(np.float32)
    ill = np.zeros((2, 20, 20), np.float32)
    ill[0, 5:9, 5:9] = 2.0  # certain
    ill[1, 5:9, 5:9] = np.quantile(maps, 0.99)  # behind it, but not certain itself
    images, abnormal = (np.ones((n, 1, 20, 20), np.float32) for n in (20, 2))
    targets, _ = targets_of_slices(maps, ill, images, abnormal)
    assert (targets[20, 0, 5:9, 5:9] == 1).all()
    assert (targets[21, 0, 5:9, 5:9] == -1).all()


def test_abnormal_slices_that_look_normal_are_warned_about():
    rng = np.random.default_rng(0)
    maps, ill = (rng.normal(size=(20, 30, 30)).astype(np.float32) for _ in range(2))
    images = np.ones((20, 1, 30, 30), np.float32)
    with pytest.warns(UserWarning, match=r"unreliable here: [01]\.\d\d times as many"):
        targets_of_slices(maps, ill, images, images)
    ill[:, :3, :3] = 9
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        targets_of_slices(maps, ill, images, images)


def test_loss_is_that_of_the_used_brain_pixels():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 3, 6, 5)).astype(np.float32)
    images[:, :, :2] = 0
    targets = rng.choice([-1, 0, 1], size=(2, 6, 5)).astype(np.float32)
    logits = rng.normal(size=(2, 6, 5)).astype(np.float32)
    batch = torch.from_numpy(np.concatenate([images, targets[:, None]], axis=1))
    found = lesion_loss(lambda _: torch.from_numpy(logits), batch)["loss"]
    used = (targets >= 0) & brain_mask(images)
    p = expit(logits[used].astype(float))
    expected = -np.log(np.where(targets[used] == 1, p, 1 - p)).mean()
    assert float(found) == pytest.approx(expected, rel=1e-5)
    batch[:, -1] = -1  # nothing to learn, but no division by 0 either
    assert float(lesion_loss(lambda _: torch.from_numpy(logits), batch)["loss"]) == 0


# -- score --------------------------------------------------------------------------------


@pytest.mark.filterwarnings(UNRELIABLE)
@pytest.mark.parametrize("prior", [None, "learned", {2: 1.0}])
def test_score_is_weighted_by_the_probability_of_a_lesion(prior):
    X, y = make_slices(height=40, width=36)
    settings = {"prior": prior, "sigma": 1.0, "n_networks": 2, "precision": "float32"}
    detector = tiny(**settings).fit(X, y)
    base = tiny(**settings, self_training_epochs=0).fit(X, y)
    brain = brain_mask(X)
    normal = (y != 1).all(axis=(1, 2))
    before = -base.score_samples(X)
    usual = np.median(before[normal][brain[normal]])
    seen = torch.from_numpy(X)
    with torch.inference_mode():
        students = detector._networks.students.nets
        logits = [detector._output(net, seen)[:, -1].numpy() for net in students]
    probability = smooth_in_brain(expit(np.stack(logits)).mean(axis=0), brain, 1.0)
    expected = probability * np.maximum(before - usual, 0)
    inner = brain.copy()  # filters differ where the slice ends
    inner[:, :5], inner[:, -5:], inner[:, :, :5], inner[:, :, -5:] = (False,) * 4
    found = -detector.score_samples(X)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found[inner], expected[inner], atol=1e-3 * scale)
    assert found[inner].max() > 0


def test_supervision_is_at_least_slice_labels():
    assert supervision(tiny()) == supervision(tiny(prior="learned")) == "slice labels"
    assert supervision(tiny(self_training_epochs=0)) == "none"
    assert supervision(tiny(prior=[0])) == "known direction"
    assert supervision(tiny(prior=[0], prior_sign="unknown")) == "known contrasts"


@pytest.mark.filterwarnings(UNRELIABLE)
def test_only_slice_labels_are_used():
    X, y = make_slices()
    other = np.where(y == 1, 0, y)
    other[(y == 1).any(axis=(1, 2)), 7, 2] = 1  # one pixel, somewhere else
    one, two = (tiny(prior="learned").fit(X, labels) for labels in (y, other))
    np.testing.assert_array_equal(one.score_samples(X), two.score_samples(X))


@pytest.mark.parametrize("y", [None, "normal"])
def test_abnormal_slices_are_needed(y):
    X, labels = make_slices()
    X, labels = X[:8], labels[:8]
    with pytest.raises(ValueError, match="self-training needs slices with an anomaly.*=0"):
        tiny(prior=[2]).fit(X, None if y is None else labels)
    with pytest.raises(ValueError, match="prior='learned' needs slices with an anomaly"):
        tiny(prior="learned").fit(X, None if y is None else labels)


@pytest.mark.filterwarnings(UNRELIABLE)
def test_contract():
    """What test_contract.py asks of a detector, with self-training."""
    stack = make_stack()
    detector = tiny(prior={"FLAIR": 1.0}).fit(stack, stack.y)
    expected = detector.score_samples(stack)
    again = clone(detector).fit(stack, stack.y)
    np.testing.assert_array_equal(again.score_samples(stack), expected)
    other = clone(detector).set_params(random_state=1).fit(stack, stack.y)
    assert not np.array_equal(other.score_samples(stack), expected)
    copy = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(copy.score_samples(stack), expected)
    alone = np.concatenate([detector.score_samples(stack[[i]]) for i in range(len(stack))])
    np.testing.assert_array_equal(alone, expected)
    stages = [record["stage"] for record in detector.history_]
    assert stages == ["erasing 1"] * 2 + ["self-training 1"] * 2


@pytest.mark.filterwarnings(UNRELIABLE)
def test_model_files(tmp_path):
    stack = make_stack()
    detector = tiny(prior="learned").fit(stack, stack.y)
    skadm.save(detector, tmp_path / "model.skadm")
    loaded = skadm.load(tmp_path / "model.skadm")
    np.testing.assert_array_equal(
        loaded.score_samples(stack), detector.score_samples(stack)
    )
    assert loaded.self_training_epochs == 2
    loaded.self_training_epochs = 0  # then there would be weights too many
    with pytest.raises(ValueError, match="students"):
        loaded._check_loaded()


@pytest.mark.filterwarnings(UNRELIABLE)
def test_wrappers_pass_abnormal_slices_on():
    stack = make_stack()
    wrapper = PostprocessedDetector(tiny(), GaussianSmoother(1.0, sigma_through=1.0))
    wrapper.fit(stack, stack.y)
    assert supervision(wrapper) == "slice labels"
    alone = tiny().fit(stack, stack.y)
    for name, array in wrapper.detector_.weights_.items():
        np.testing.assert_array_equal(array, alone.weights_[name], err_msg=name)


@pytest.mark.filterwarnings(UNRELIABLE)
def test_memory_shares_the_first_stage(tmp_path):
    X, y = make_slices()
    expected = tiny(prior=[2]).fit(X, y).score_samples(X)
    cached = tiny(prior=[2], memory=str(tmp_path))
    cached.set_params(self_training_epochs=1).fit(X, y)
    seconds = cached.history_[0]["seconds"]
    cached.set_params(self_training_epochs=2).fit(X, y)
    assert cached.history_[0]["seconds"] == seconds  # not trained twice
    np.testing.assert_array_equal(cached.score_samples(X), expected)


# -- learning -----------------------------------------------------------------------------


def make_confusing_slices(n_slices, seed):
    """Lesions in every second slice, three vessels in all: both are bright on contrast 1.

    Contrast 0 is darker in lesions and brighter in vessels.
    """
    rng = np.random.default_rng(seed)
    X = rng.normal(scale=0.3, size=(n_slices, 2, 32, 32)) + 1
    y = np.zeros((n_slices, 32, 32), np.int8)
    for number in range(n_slices):
        for is_lesion in (False, False, False, True)[: 3 + number % 2]:
            top, left = rng.integers(2, 24, size=2)
            place = np.s_[top : top + 6, left : left + 6]
            X[number, 1][place] += 2.0
            X[number, 0][place] += -1 if is_lesion else 1
            y[number][place] = is_lesion
    return X.astype(np.float32), y


@pytest.mark.slow
def test_lesions_are_told_from_rare_normal_structures():
    X, y = make_confusing_slices(40, seed=0)
    X_test, y_test = make_confusing_slices(16, seed=1)
    found = {}
    for epochs in (0, 20):
        detector = tiny(
            prior={1: 1.0},
            max_epochs=5,
            learning_rate=5e-3,
            lesion_scales=(4, 8),
            batch_size=4,
            sigma=1.0,
            self_training_epochs=epochs,
        ).fit(X, y)
        maps = detector.score_samples(X_test)
        found[epochs] = pixel_average_precision_score(y_test, maps)
    assert found[20] > found[0] + 0.05, found
