"""Slices of a benchmark, and their split into training and test patients."""

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
    """Training and test slices, and their data."""

    name: str  # "phantom" or a folder
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
        """Patients of both sides."""
        groups = self.stack.groups
        sides = {"training": self.train, "test": self.test}
        return {name: np.unique(groups[side]).tolist() for name, side in sides.items()}

    @property
    def n_test_patients_with_anomaly(self) -> int:
        """Number of test patients with an anomaly, over which results can be averaged."""
        return len(np.unique(self.stack.groups[self.test & self.abnormal]))

    def describe(self) -> dict:
        """Describe the data for run.json."""
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
    """Read normalised slices that show brain, with masks: "phantom" or a folder of scans.

    `n_patients`, `n_slices` and other parameters of `make_phantom` apply to the phantom.
    Scans without masks raise a ValueError.
    """
    if data == "phantom":
        stack = make_phantom(n_patients, n_slices, size, random_state=0, **phantom)
    else:
        stack = SliceResizer(size).fit_transform(read_any(data))
    if not stack.volumes[0].has_labels:
        raise ValueError(f"{data} has no masks; benchmarks need them")
    stack = IntensityNormalizer().fit_transform(stack).in_memory()
    return stack[np.array([image.any() for image in stack])]


def normal_slices(stack: SliceStack, n_slices: int | None = None) -> NDArray[np.intp]:
    """Return at most some slices without lesion, evenly spread; a ValueError if none."""
    normal = np.flatnonzero((stack.y != 1).all(axis=(1, 2)))
    if not len(normal):
        raise ValueError("every slice contains a lesion; training needs normal slices")
    return spread(normal, n_slices or len(normal))


def spread(values: NDArray, n: int) -> NDArray:
    """Return at most some of the values, evenly spread."""
    return values[np.linspace(0, len(values) - 1, min(n, len(values))).astype(int)]


def load_split(options: argparse.Namespace) -> Split:
    """Read the slices of `options`, crop them to the brain, and split them by patient."""
    split = split_of(options.data, crop(load_slices(options.data, options)))
    return with_augmented_test(split) if options.augment_test else split


def load_slices(data: str, options: argparse.Namespace) -> SliceStack:
    """Read the slices of "phantom" or a folder; fewer with --budget."""
    stack = load_stack(data, options.size, options.patients, options.slices)
    return with_fewer_slices(stack) if options.budget else stack


def crop(stack: SliceStack) -> SliceStack:
    """Crop slices to the brain.

    Over half of the pixels are background, which is neither trained on nor measured. The
    box is that of all brains and does not depend on labels.
    """
    return BrainCropper(margin=4).fit_transform(stack).in_memory()


def split_of(name: str, stack: SliceStack) -> Split:
    """Split by patient with seed 0."""
    train, test = patient_split(stack.groups, random_state=0)
    return Split(name, stack, stack.y, train, test)


def with_augmented_test(split: Split) -> Split:
    """Add augmented copies of the test slices to a split, as in the paper.

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
        # A crop is smaller and is padded with background.
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
    """Return volumes with these contrasts only, in this order."""
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
    """Return random splits (seed 0) that test each patient once.

    Fewer than two folds, or fewer patients than folds, raise a ValueError.
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
    """Read both data sets with these contrasts; they must not share a patient."""
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
