"""Scans of several collections as slices with the same pixels, in mm."""

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skadm.data import ArrayVolume, SliceStack, read_any
from skadm.preprocessing import IntensityNormalizer, SliceResizer

FIELD_OF_VIEW = 240.0  # mm: the side of a slice


def load_scans(
    folders: Iterable[Path],
    contrasts: Sequence[str],
    size: int,
    gap: float,
    patients: Sequence[str] | None = None,
) -> SliceStack:
    """Normalised slices in memory, with labels; scans without masks are of healthy people.

    Slices show `FIELD_OF_VIEW` around the middle of the brain in `size` pixels. Slices that
    are kept are about `gap` mm apart, or as far as those of the scan.
    """
    volumes = []
    for folder in folders:
        with warnings.catch_warnings():
            # Files of other contrasts, and masks of normal ageing.
            warnings.filterwarnings("ignore", "[0-9]+ image files? (is|are) not read")
            stack = read_any(
                folder, contrasts=contrasts, patients=patients, allow_empty_masks=True
            )
        for volume, places in stack.volume_places():
            scan = stack[places]
            X, y = scan.load()
            shown = (X != 0).any(axis=(1, 2, 3))
            X = X[shown]
            labels = np.zeros(X[:, 0].shape, np.int8) if y is None else y[shown]
            across, along, through = volume.grid.voxel_size
            window = round(FIELD_OF_VIEW / along), round(FIELD_OF_VIEW / across)
            images, labels = in_the_middle(X, labels, window, volume.name)
            pixel = FIELD_OF_VIEW / window[1], FIELD_OF_VIEW / window[0]
            volumes.append(
                ArrayVolume(
                    images,
                    labels,
                    patient=volume.patient,
                    name=volume.name,
                    contrasts=stack.contrasts,
                    affine=np.diag([*pixel, through, 1.0]),
                )
            )
    resized = SliceResizer(size).fit_transform(SliceStack.from_volumes(volumes))
    stack = IntensityNormalizer().fit_transform(resized).in_memory()
    return SliceStack.from_volumes(
        [thinned(stack[places], gap) for _, places in stack.volume_places()]
    )


def thinned(scan: SliceStack, gap: float) -> ArrayVolume:
    """A scan with slices that are about `gap` mm apart."""
    volume = scan.volumes[0]
    step = max(1, round(gap / volume.grid.voxel_size[2]))
    X, y = scan.load()
    shown = np.flatnonzero((X != 0).any(axis=(1, 2, 3)))[::step]
    return ArrayVolume(
        X[shown],
        y[shown],
        patient=volume.patient,
        name=volume.name,
        contrasts=scan.contrasts,
        affine=volume.grid.affine @ np.diag([1.0, 1.0, step, 1.0]),
    )


def slice_distance(stack: SliceStack) -> float:
    """Mm from slice to slice; scans that differ by over a fifth are a ValueError."""
    found = stack.voxel_sizes[:, 2]
    if found.max() > 1.2 * found.min():
        raise ValueError(
            f"slices are {found.min():.1f} to {found.max():.1f} mm apart; expected "
            "scans of one slice distance, since scores are smoothed through slices"
        )
    return float(found.mean())


def in_the_middle(
    images: NDArray, labels: NDArray, window: tuple[int, int], name: str
) -> tuple[NDArray, NDArray]:
    """Images (n, K, H, W) and labels (n, H, W) in a window around the brain's middle.

    A brain that is larger than the window is a ValueError.
    """
    brain = (images != 0).any(axis=(0, 1))
    cut, padding = [], []
    for axis, wanted in enumerate(window):
        shown = np.flatnonzero(brain.any(axis=1 - axis))
        first, last = int(shown[0]), int(shown[-1]) + 1
        if last - first > wanted:
            raise ValueError(
                f"{name}: the brain has {last - first} pixels along axis {axis} of its "
                f"slices; expected at most {wanted}, {FIELD_OF_VIEW:g} mm"
            )
        start = (first + last - wanted) // 2
        stop = start + wanted
        cut.append(slice(max(start, 0), min(stop, brain.shape[axis])))
        padding.append((max(-start, 0), max(stop - brain.shape[axis], 0)))
    images = np.pad(images[..., cut[0], cut[1]], [(0, 0), (0, 0), *padding])
    return images, np.pad(
        labels[..., cut[0], cut[1]], [(0, 0), *padding], constant_values=-1
    )
