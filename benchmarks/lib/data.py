"""The slices of a benchmark, and who is trained and tested on."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from benchmarks.lib.budget import with_fewer_slices
from benchmarks.lib.fingerprints import data_fingerprint
from skadm.augmentation import Augmentation
from skadm.data import ArrayVolume, SliceStack, make_phantom, read_any
from skadm.evaluation import patient_split
from skadm.preprocessing import BrainCropper, IntensityNormalizer, SliceResizer

AUGMENTED_TEST = 3  # as many test slices as there are; 2100 became 6300 in the paper


@dataclass(frozen=True)
class Split:
    """Slices of either side, and the data they are of."""

    name: str  # "phantom", or the folder the slices are from
    stack: SliceStack
    labels: NDArray[np.int8]  # (n_slices, H, W)
    train: NDArray[np.bool_]  # (n_slices,)
    test: NDArray[np.bool_]  # (n_slices,)

    @property
    def abnormal(self) -> NDArray[np.bool_]:
        """Slices with an anomaly."""
        return (self.labels == 1).any(axis=(1, 2))

    @property
    def learning(self) -> NDArray[np.bool_]:
        """Slices to train on: the normal ones of the training patients."""
        return self.train & ~self.abnormal

    @property
    def validation(self) -> NDArray[np.bool_]:
        """Slices to set thresholds on: the abnormal ones of the training patients."""
        return self.train & self.abnormal

    @property
    def patients(self) -> dict[str, list[str]]:
        """Patients of either side."""
        groups = self.stack.groups
        sides = {"training": self.train, "test": self.test}
        return {name: np.unique(groups[side]).tolist() for name, side in sides.items()}

    @property
    def n_test_patients_with_anomaly(self) -> int:
        """Over so many patients a spread can be told."""
        return len(np.unique(self.stack.groups[self.test & self.abnormal]))

    def describe(self) -> dict:
        """What the data were, for run.json."""
        return {
            "name": self.name,
            "fingerprint": data_fingerprint(self.stack),
            "contrasts": list(self.stack.contrasts),
            "shape": list(self.stack.shape),
            "n_slices": {
                "learning": int(self.learning.sum()),
                "validation": int(self.validation.sum()),
                "test": int(self.test.sum()),
            },
            "patients": self.patients,
        }


def load_stack(
    data: str, size: int, n_patients: int = 12, n_slices: int = 24, **phantom: Any
) -> SliceStack:
    """Normalised slices with brain and masks, in memory: "phantom", or a folder of scans.

    `n_patients`, `n_slices` and more parameters of `make_phantom` are of the phantom. Scans
    without masks are a ValueError.
    """
    if data == "phantom":
        stack = make_phantom(n_patients, n_slices, size, random_state=0, **phantom)
    else:
        stack = SliceResizer(size).fit_transform(read_any(data))
    if not stack.volumes[0].has_labels:
        raise ValueError(f"{data} has no masks: a benchmark needs them")
    stack = IntensityNormalizer().fit_transform(stack).in_memory()
    return stack[np.array([image.any() for image in stack])]


def normal_slices(stack: SliceStack, n_slices: int | None = None) -> NDArray[np.intp]:
    """Slices without lesion; so many at most, evenly spread. None is a ValueError."""
    normal = np.flatnonzero((stack.y != 1).all(axis=(1, 2)))
    if not len(normal):
        raise ValueError("no slice is without lesion: there is nothing to train on")
    return spread(normal, n_slices or len(normal))


def spread(values: NDArray, n: int) -> NDArray:
    """So many of the values at most, evenly spread."""
    return values[np.linspace(0, len(values) - 1, min(n, len(values))).astype(int)]


def load_split(options: argparse.Namespace) -> Split:
    """Slices of `options`, cropped to the brain and split by patient with seed 0."""
    split = split_of(options.data, crop(load_slices(options.data, options)))
    return with_augmented_test(split) if options.augment_test else split


def load_slices(data: str, options: argparse.Namespace) -> SliceStack:
    """Slices of "phantom" or a folder; fewer with --budget."""
    stack = load_stack(data, options.size, options.patients, options.slices)
    return with_fewer_slices(stack) if options.budget else stack


def crop(stack: SliceStack) -> SliceStack:
    """Slices without most of their background, in memory.

    Over half of the pixels are background: nothing to learn or to measure. The box is that
    of all brains, and says nothing about labels.
    """
    return BrainCropper(margin=4).fit_transform(stack).in_memory()


def split_of(name: str, stack: SliceStack) -> Split:
    """The split by patient with seed 0."""
    train, test = patient_split(stack.groups, random_state=0)
    return Split(name, stack, stack.y, train, test)


def with_augmented_test(split: Split) -> Split:
    """The split with changed copies of the test slices, as the paper's test sets had.

    Flipped, translated, cropped and scaled as in training, from seed 0.
    """
    chosen = split.stack[split.test]
    images = torch.from_numpy(chosen.X)
    labels = torch.from_numpy(split.labels[split.test].astype(np.float32))[:, None]
    generator = torch.Generator().manual_seed(0)
    augmentation = Augmentation()
    volumes = list(split.stack.in_memory().volumes)
    for number in range(1, AUGMENTED_TEST):
        moved = augmentation.move(torch.cat([images, labels], dim=1), generator)
        changed = augmentation.scale(moved[:, :-1], generator)
        # A crop is smaller: background around it makes it a slice of the old size again.
        rim = [a - b for a, b in zip(images.shape[2:], changed.shape[2:])]
        margins = (0, rim[1], 0, rim[0])
        changed, moved = (
            torch.nn.functional.pad(part, margins).numpy()
            for part in (changed, moved[:, -1])
        )
        for patient in dict.fromkeys(chosen.groups.tolist()):
            slices = chosen.groups == patient
            volumes.append(
                ArrayVolume(
                    changed[slices],
                    (moved[slices] > 0).astype(np.int8),
                    patient=patient,
                    name=f"{patient}, changed {number}",
                    contrasts=split.stack.contrasts,
                )
            )
    stack = SliceStack.from_volumes(volumes)
    stack = stack[np.array([image.any() for image in stack])]
    test = np.isin(stack.groups, split.patients["test"])
    return Split(split.name, stack, stack.y, ~test, test)


def of_contrasts(stack: SliceStack, contrasts: Sequence[str]) -> list[ArrayVolume]:
    """Volumes with these contrasts alone, in this order."""
    places = [stack.contrasts.index(name) for name in contrasts]
    X, y = stack.load()
    return [
        ArrayVolume(
            X[stack.groups == patient][:, places],
            y[stack.groups == patient],
            patient=patient,
            contrasts=contrasts,
        )
        for patient in dict.fromkeys(stack.groups.tolist())
    ]


def deal(name: str, stack: SliceStack, n_folds: int) -> list[Split]:
    """Splits in which each patient is tested once, dealt at random with seed 0.

    Fewer than two folds, or fewer patients than folds, are a ValueError.
    """
    patients = check_random_state(0).permutation(np.unique(stack.groups))
    if not 2 <= n_folds <= len(patients):
        raise ValueError(
            f"--folds {n_folds}: expected from 2 to {len(patients)}, the patients"
        )
    tests = [np.isin(stack.groups, patients[fold::n_folds]) for fold in range(n_folds)]
    labels = stack.y
    return [Split(name, stack, labels, ~test, test) for test in tests]


def join(first: SliceStack, second: SliceStack, contrasts: Sequence[str]) -> SliceStack:
    """Both data sets, with these contrasts; they must have them, and share no patient."""
    for stack in (first, second):
        if missing := set(contrasts) - set(stack.contrasts):
            raise ValueError(
                f"no contrasts {sorted(missing)} among {stack.contrasts}: both data sets "
                "need them"
            )
    if shared := set(first.groups.tolist()) & set(second.groups.tolist()):
        raise ValueError(f"patients of both data sets: {sorted(shared)[:5]}")
    return SliceStack.from_volumes(
        [*of_contrasts(first, contrasts), *of_contrasts(second, contrasts)]
    )
