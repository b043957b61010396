"""The slices of an experiment: one split by patient, the same for every script."""

import argparse
from dataclasses import dataclass

import numpy as np
import torch
from benchmarks.lib.budget import with_fewer_slices
from benchmarks.lib.cache import data_fingerprint
from benchmarks.lib.options import load_stack
from numpy.typing import NDArray

from skadm.augmentation import Augmentation
from skadm.data import ArrayVolume, SliceStack
from skadm.evaluation import patient_split
from skadm.preprocessing import BrainCropper

AUGMENTED_TEST = 3  # as many test slices as there are; 2100 became 6300 in the paper


@dataclass(frozen=True)
class Split:
    """Slices of either side, and the data they are of.

    Attributes
    ----------
    name : str
        "phantom", or the folder the slices are from.
    stack : SliceStack
    labels : ndarray of shape (n_slices, H, W)
    train, test : ndarray of bool, shape (n_slices,)
    """

    name: str
    stack: SliceStack
    labels: NDArray[np.int8]
    train: NDArray[np.bool_]
    test: NDArray[np.bool_]

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


def load_split(options: argparse.Namespace) -> Split:
    """Slices of `options`, cropped to the brain and split by patient with seed 0.

    Parameters
    ----------
    options : Namespace
        As `_common.experiment_parser` reads it.
    """
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
            own = chosen.groups == patient
            volumes.append(
                ArrayVolume(
                    changed[own],
                    (moved[own] > 0).astype(np.int8),
                    patient=patient,
                    name=f"{patient}, changed {number}",
                    contrasts=split.stack.contrasts,
                )
            )
    stack = SliceStack.from_volumes(volumes)
    stack = stack[np.array([image.any() for image in stack])]
    test = np.isin(stack.groups, split.patients["test"])
    return Split(split.name, stack, stack.y, ~test, test)
