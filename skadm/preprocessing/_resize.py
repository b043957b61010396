"""Resizing of slices."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skadm._brain import ignore_background
from skadm._missing import missing_contrasts
from skadm.data import SliceStack, brain_mask
from skadm.data._interfaces import Grid, VolumeStep
from skadm.preprocessing._stack_transformer import (
    StackTransformer,
    check_maps,
    keep_brain,
)


class SliceResizer(StackTransformer):
    """Resize slices bilinearly with anti-aliasing, using brain pixels only.

    Brain intensities are interpolated with the brain mask as weight, so background does
    not darken the border. A new pixel is brain if at least half of its weight is on
    brain, and exactly 0 otherwise. When downsampling, the kernel widens with the step
    (anti-aliasing). Labels use the nearest pixel, and a lesion never vanishes from its
    slice.

    As in the paper, height and width have separate factors: the aspect ratio of
    non-square slices changes (the affine of a `SliceStack` is updated).

    Parameters
    ----------
    size : int or pair of int, default=128
        Height and width of the new slices in pixels; one number sets both.

    Attributes
    ----------
    n_features_in_ : int
        Number of contrasts seen in `fit`.

    Notes
    -----
    Labels must be resized with the images. A resized `SliceStack` has resized labels in
    ``stack.y``; for arrays, use `transform_labels`. A scikit-learn ``Pipeline`` only
    transforms X, so resize before the pipeline if it uses labels.
    """

    def __init__(self, size: int | tuple[int, int] = 128) -> None:
        self.size = size

    def _fit(self, X: Any) -> None:
        _check_size(self.size)

    def transform(self, X: Any) -> Any:
        """Resize slices.

        Parameters
        ----------
        X : SliceStack or array-like of shape (n_slices, n_contrasts, H, W)
            Slices. A stack is resized lazily, with its labels and affines; its volumes may
            differ in slice size.

        Returns
        -------
        SliceStack or ndarray of float32, shape (n_slices, n_contrasts, height, width)
            Resized slices, a stack for a stack.

        Raises
        ------
        ValueError
            If X has a wrong shape, is not finite or has no brain.
        """
        size = _check_size(self.size)
        X = self._check(X)
        if isinstance(X, SliceStack):
            return X.map(Resize(size))
        return resize_images(X, brain_mask(X), size)[0]

    def transform_labels(self, y: ArrayLike) -> NDArray[np.int8]:
        """Resize labels to match the images.

        Parameters
        ----------
        y : array-like of shape (n_slices, H, W)
            Labels: 0 normal, 1 anomaly, -1 outside the brain.

        Returns
        -------
        ndarray of int8, shape (n_slices, height, width)
            Labels, -1 exactly outside the brain of the resized images if y is -1 exactly
            outside the brain of the original images.
        """
        size = _check_size(self.size)
        labels = check_maps(y).astype(np.int8)
        brain = np.zeros((len(labels), *size), dtype=bool)
        for new, mask in zip(brain, labels != -1):
            if mask.any():
                window, resized = _resize_within(mask, (), size)
                new[window] = resized[-1] >= 0.5
        return resize_labels(labels, brain, size)

    def inverse_transform(self, maps: ArrayLike, shape: tuple[int, int]) -> NDArray:
        """Resize maps to the size of the original slices.

        Parameters
        ----------
        maps : array-like of shape (n_slices, height, width)
            Score maps, labels or predictions on the resized grid.
        shape : tuple of int
            Height and width of the original slices.

        Returns
        -------
        ndarray of shape (n_slices, H, W)
            Bilinear for floating-point maps, nearest pixel for other types. Values
            outside the original brain are not masked, unlike in `skadm.data.write_maps`.
        """
        return resize_maps(check_maps(maps, _check_size(self.size)), _check_size(shape))


def _check_size(size: Any) -> tuple[int, int]:
    pair = (size, size) if isinstance(size, Integral) else size
    if (
        not isinstance(pair, tuple | list)
        or len(pair) != 2
        or not all(isinstance(length, Integral) and int(length) >= 1 for length in pair)
    ):
        raise ValueError(f"size={size!r}; expected a positive integer or a pair of them")
    return int(pair[0]), int(pair[1])


@lru_cache(maxsize=64)
def _bilinear(old: int, new: int) -> NDArray[np.float32]:
    """Return the (new, old) weights of linear interpolation along one axis.

    The kernel is a triangle with the width of the coarser grid, truncated and
    renormalised at the edges; pixel centres are at half integers.
    """
    scale = old / new
    centres = (np.arange(new) + 0.5) * scale - 0.5
    distance = np.abs(np.arange(old) - centres[:, None])
    triangle = np.clip(1 - distance / max(scale, 1.0), 0, None)
    weights = (triangle / triangle.sum(axis=1, keepdims=True)).astype(np.float32)
    weights.flags.writeable = False
    return weights


def _interpolate(planes: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Interpolate (..., H, W) along both axes with one matrix product per axis."""
    rows, columns = (
        _bilinear(planes.shape[-2], size[0]),
        _bilinear(planes.shape[-1], size[1]),
    )
    return np.matmul(rows, np.matmul(planes, columns.T))


def _nearest(planes: NDArray, size: tuple[int, int]) -> NDArray:
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(np.intp), old - 1)
        for old, new in zip(planes.shape[-2:], size)
    )
    return planes[..., rows[:, None], columns]


def _weight(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.float32]:
    return _interpolate(mask.astype(np.float32), size)


def resize_images(
    images: NDArray[np.float32], brain: NDArray[np.bool_], size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Resize images (n_slices, n_contrasts, H, W) and their brain; see `SliceResizer`."""
    out = np.zeros((*images.shape[:2], *size), dtype=np.float32)
    out[missing_contrasts(images)] = np.nan
    new_brain = np.zeros((len(images), *size), dtype=bool)
    # Slice by slice: the data stay in the cache, and slices without brain are skipped.
    for index in np.flatnonzero(brain.any(axis=(1, 2))):
        window, resized = _resize_within(brain[index], images[index], size)
        target, weight = out[index][:, *window], resized[-1]
        inside = new_brain[index][window]
        np.greater_equal(weight, 0.5, out=inside)
        np.divide(resized[:-1], weight, out=target, where=inside)
        keep_brain(target[None], inside[None])
    return out, new_brain


def _resize_within(
    brain: NDArray[np.bool_], planes: Iterable[NDArray], size: tuple[int, int]
) -> tuple[tuple[slice, slice], NDArray[np.float32]]:
    """Interpolate planes, the brain last, within the bounding box of the brain.

    Returns the affected window of the new slice and the planes in it.
    """
    rows, new_rows, row_weights = _reach(brain.any(axis=1), size[0])
    columns, new_columns, column_weights = _reach(brain.any(axis=0), size[1])
    inside = np.stack(
        [plane[rows, columns] for plane in (*planes, brain)], dtype=np.float32
    )
    resized = np.matmul(row_weights, np.matmul(inside, column_weights.T))
    return (new_rows, new_columns), resized


def _reach(filled: Any, new: int) -> tuple[slice, slice, NDArray[np.float32]]:
    """Return the range of filled entries, its range after resizing, and the weights."""
    old_range = _range(filled)
    weights = _bilinear(len(filled), new)[:, old_range]
    new_range = _range(weights.any(axis=1))
    return old_range, new_range, weights[new_range]


def _range(filled: Any) -> slice:
    places = np.flatnonzero(filled)
    return slice(places[0], places[-1] + 1)


def resize_labels(
    labels: NDArray[np.int8], brain: NDArray[np.bool_], size: tuple[int, int]
) -> NDArray[np.int8]:
    """Resize labels to the brain (n_slices, height, width) of the resized images.

    They are -1 outside it, except for anomalies. If the nearest pixel was outside the old
    brain, the label with the larger weight is used. A lesion without any nearest pixel
    keeps the pixel that contains most of it, in the brain if possible.
    """
    out = ignore_background(_nearest(labels, size), brain)
    gained, labelled = brain & (out == -1), labels != -1
    for index in np.flatnonzero(gained.any(axis=(1, 2)) & labelled.any(axis=(1, 2))):
        kinds = (labels[index] == 1, labels[index] == 0)
        window, (lesion, normal, _) = _resize_within(labelled[index], kinds, size)
        # Still -1 where all neighbours are ignored: the caller excluded this part of the
        # brain.
        label = np.where(lesion > normal, 1, np.where(normal > 0, 0, -1))
        np.copyto(out[index][window], label, where=gained[index][window], casting="unsafe")
    # A slice whose lesion falls between the pixels would count as normal and be trained
    # on: label the pixel that contains most of the lesion.
    lost = (labels == 1).any(axis=(1, 2)) & ~(out == 1).any(axis=(1, 2))
    for index in np.flatnonzero(lost):
        weight = _weight(labels[index] == 1, size)
        inside = np.where(brain[index], weight, 0)
        out[index].flat[(inside if inside.any() else weight).argmax()] = 1
    return out


def resize_maps(maps: NDArray, size: tuple[int, int]) -> NDArray:
    """Resize maps: bilinear for floating-point numbers, nearest pixel for other types."""
    if maps.dtype.kind != "f":
        return _nearest(maps, size)
    return _interpolate(maps.astype(np.float32, copy=False), size)


@dataclass(frozen=True)
class Resize(VolumeStep):
    """The step of `SliceResizer` for a whole volume."""

    size: tuple[int, int]

    def images(
        self, images: NDArray[np.float32], brain: NDArray[np.bool_], grid: Grid
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return resized images."""
        return resize_images(images, brain, self.size)

    def labels(
        self, labels: NDArray[np.int8], brain: NDArray[np.bool_], grid: Grid
    ) -> NDArray[np.int8]:
        """Return resized labels."""
        return resize_labels(labels, brain, self.size)

    def grid(self, grid: Grid) -> Grid:
        """Return the new slice size and affine: the slices cover the same area."""
        (height, width), (new_height, new_width) = grid.shape, self.size
        # The affine is in file order: W first, then H.
        scale = np.array([width / new_width, height / new_height, 1.0])
        to_old = np.eye(4)
        to_old[:3, :3] = np.diag(scale)
        to_old[:3, 3] = (scale - 1) / 2
        return Grid(self.size, grid.affine @ to_old)

    def invert(self, maps: NDArray, grid: Grid) -> NDArray:
        """Resize maps to the old slice size."""
        return resize_maps(maps, grid.shape)
