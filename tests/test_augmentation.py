"""Augmentation: each kind does its own thing, and only when it is on."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skadm import Augmentation

OFF = {"flip": 0, "translation": 0, "crop": 1, "intensity_scaling": 0}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def slices():
    return torch.randn(50, 2, 20, 10, generator=generator(7))


def test_all_off_changes_nothing(slices):
    assert Augmentation(**OFF)(slices, generator()) is slices


def test_flip(slices):
    changed = Augmentation(**{**OFF, "flip": 0.5})(slices, generator())
    same = (changed == slices).all(dim=(1, 2, 3))
    mirrored = (changed == slices.flip(-1)).all(dim=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 10 < mirrored.sum() < 40
    always = Augmentation(**{**OFF, "flip": 1})(slices, generator())
    assert torch.equal(always, slices.flip(-1))


def test_translation(slices):
    changed = Augmentation(**{**OFF, "translation": 0.2})(slices, generator())
    assert changed.shape == slices.shape
    seen = set()
    for before, after in zip(slices.numpy(), changed.numpy()):
        shifts = [
            (dy, dx)
            for dy in range(-4, 5)
            for dx in range(-2, 3)
            if np.array_equal(_shifted(before, dy, dx), after)
        ]
        assert len(shifts) == 1
        seen.update(shifts)
    assert {dy for dy, _ in seen} == set(range(-4, 5))
    assert {dx for _, dx in seen} == set(range(-2, 3))


def _shifted(image, dy, dx):
    result = np.zeros_like(image)
    height, width = image.shape[1:]
    rows, columns = np.mgrid[:height, :width]
    inside = (
        (rows - dy >= 0)
        & (rows - dy < height)
        & (columns - dx >= 0)
        & (columns - dx < width)
    )
    result[:, inside] = image[:, rows[inside] - dy, columns[inside] - dx]
    return result


def test_crop(slices):
    changed = Augmentation(**{**OFF, "crop": 0.5})(slices, generator())
    assert changed.shape == (50, 2, 10, 5)
    windows = slices.unfold(2, 10, 1).unfold(3, 5, 1)
    for n in range(50):
        match = (windows[n] == changed[n, :, None, None]).all(dim=(0, 3, 4))
        assert match.sum() == 1


def test_intensity_scaling(slices):
    slices[:, :, :5] = 0
    changed = Augmentation(**{**OFF, "intensity_scaling": 0.2})(slices, generator())
    factors = (changed / slices)[:, :, 5:].flatten(2)
    torch.testing.assert_close(factors, factors[:, :, :1].expand_as(factors))
    factors = factors[:, :, 0].flatten()
    assert 0.8 <= factors.min() < 0.85
    assert 1.15 < factors.max() <= 1.2
    assert len(factors.unique()) > 90  # contrasts and slices apart
    assert (changed[:, :, :5] == 0).all()


def test_drawn_from_the_generator_alone(slices):
    before = torch.get_rng_state()
    first, again, other = (Augmentation()(slices, generator(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "value"),
    [("flip", 1.5), ("translation", 1), ("crop", 0), ("intensity_scaling", -0.1)],
)
def test_bad_parameters(name, value):
    with pytest.raises(ValueError, match=f"'{name}' parameter of Augmentation"):
        Augmentation(**{name: value}).check()


def test_clone():
    assert clone(Augmentation(flip=0.25)).get_params()["flip"] == 0.25
