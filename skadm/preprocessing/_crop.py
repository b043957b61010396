"""Cropping of slices to the brain."""

from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from skadm.data import SliceStack, brain_mask
from skadm.data._interfaces import Grid, VolumeStep
from skadm.preprocessing._stack_transformer import NO_BRAIN, StackTransformer, check_maps


class Box(NamedTuple):
    """A box of pixels, ends excluded: rows top to bottom, columns left to right."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def inside(self) -> tuple[slice, slice]:
        """Rows and columns of the box as an index."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left


class BrainCropper(StackTransformer):
    """Crop slices to one box around the brains of the training data.

    Much of a slice is background, which costs time and memory. `fit` computes the
    bounding box of all brain pixels of the training slices and adds a margin; `transform`
    crops all slices to this box, so they keep a common size and alignment.

    A brain that extends beyond the box raises an error and is never cut, since scores of
    a partial brain would not be comparable. In that case use a larger margin or fit on
    all the data: the box does not depend on labels.

    Parameters
    ----------
    margin : int, default=8
        Pixels added on every side, up to the edge of the slice.

    Attributes
    ----------
    box_ : Box
        First row, last row + 1, first column, last column + 1.
    image_shape_ : tuple of int
        Height and width of the slices seen in `fit`.
    n_features_in_ : int
        Number of contrasts seen in `fit`.
    """

    box_: Box
    image_shape_: tuple[int, int]

    def __init__(self, margin: int = 8) -> None:
        self.margin = margin

    def _fit(self, X: Any) -> None:
        if not isinstance(self.margin, Integral) or self.margin < 0:
            raise ValueError(f"margin={self.margin!r}; expected an integer of at least 0")
        self.image_shape_ = (X.shape[2], X.shape[3])
        tight = _bounding_box(_footprints(X), self.image_shape_)
        height, width = self.image_shape_
        self.box_ = Box(
            max(tight.top - self.margin, 0),
            min(tight.bottom + self.margin, height),
            max(tight.left - self.margin, 0),
            min(tight.right + self.margin, width),
        )

    def _check_loaded(self) -> None:
        """Check that a box read from a file is within the slices."""
        if not hasattr(self, "box_"):
            return
        (top, bottom, left, right), (height, width) = self.box_, self.image_shape_
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise ValueError(
                f"{self.box_} exceeds the slices; expected one within {self.image_shape_}."
            )

    def transform(self, X: Any) -> Any:
        """Crop slices to the box.

        Parameters
        ----------
        X : SliceStack or array-like of shape (n_slices, n_contrasts, H, W)
            Slices of the size seen in `fit`. A stack is cropped lazily, with its labels and
            affines.

        Returns
        -------
        SliceStack or ndarray of float32, shape (n_slices, n_contrasts, height, width)
            Cropped slices, a stack for a stack.

        Raises
        ------
        ValueError
            If X has a wrong shape, or its brain extends beyond the box (for a stack: when
            it is read).
        """
        check_is_fitted(self)
        X = self._check(X)
        if tuple(X.shape[2:]) != self.image_shape_:
            raise ValueError(
                f"X has slices of shape {tuple(X.shape[2:])}; expected "
                f"{self.image_shape_} (H, W), with which BrainCropper was fitted"
            )
        if isinstance(X, SliceStack):
            return X.map(Crop(self.box_))
        return _crop_images(X, brain_mask(X), self.box_).copy()

    def transform_labels(self, y: ArrayLike) -> NDArray[np.int8]:
        """Crop labels to the box.

        Parameters
        ----------
        y : array-like of shape (n_slices, H, W)
            Labels.

        Returns
        -------
        ndarray of int8, shape (n_slices, height, width)
            Cropped labels.
        """
        check_is_fitted(self)
        labels = check_maps(y, self.image_shape_).astype(np.int8)
        return _crop_labels(labels, self.box_).copy()

    def inverse_transform(self, maps: ArrayLike, fill: float = 0) -> NDArray:
        """Place maps of cropped slices in the original slices.

        Parameters
        ----------
        maps : array-like of shape (n_slices, height, width)
            Score maps, labels or predictions of cropped slices.
        fill : float, default=0
            Value outside the box.

        Returns
        -------
        ndarray of shape (n_slices, H, W)
            The maps, of the same type.
        """
        check_is_fitted(self)
        return _uncrop(
            check_maps(maps, self.box_.shape), self.box_, self.image_shape_, fill
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = True
        return tags


def _footprints(X: Any) -> Iterable[NDArray[np.bool_]]:
    """Yield the pixels (H, W) that are brain in any slice, once or per volume."""
    if isinstance(X, SliceStack):
        for volume in X.volumes:
            yield _footprint(volume.decode(labels=False).brain)
    else:
        yield _footprint(brain_mask(X))


def _footprint(brain: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(brain.any(axis=0))


def _bounding_box(footprints: Iterable[NDArray[np.bool_]], shape: tuple[int, int]) -> Box:
    union = np.zeros(shape, dtype=bool)
    for footprint in footprints:
        union |= footprint
    rows, columns = np.flatnonzero(union.any(axis=1)), np.flatnonzero(union.any(axis=0))
    if not rows.size:
        raise ValueError(NO_BRAIN)
    return Box(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)


def _crop_images(
    images: NDArray[np.float32], brain: NDArray[np.bool_], box: Box
) -> NDArray[np.float32]:
    footprint = _footprint(brain)
    if footprint.any():
        extent = _bounding_box([footprint], footprint.shape)
        overhang = max(
            box.top - extent.top,
            extent.bottom - box.bottom,
            box.left - extent.left,
            extent.right - box.right,
        )
        if overhang > 0:
            raise ValueError(
                f"the brain {tuple(extent)} extends beyond the box {tuple(box)} (top, "
                f"bottom, left, right) by {overhang} pixels. Increase the margin of "
                f"BrainCropper by {overhang}, or fit it on all the data"
            )
    return images[(slice(None), slice(None), *box.inside)]


def _crop_labels(labels: NDArray[np.int8], box: Box) -> NDArray[np.int8]:
    inside = labels[(slice(None), *box.inside)]
    cut = np.count_nonzero(labels == 1) - np.count_nonzero(inside == 1)
    if cut:
        raise ValueError(
            f"{cut} pixels of an anomaly are outside the box {tuple(box)} (top, bottom, "
            "left, right) and outside the brain; expected anomalies within the box. "
            "Increase the margin of BrainCropper, or check the mask"
        )
    return inside


def _uncrop(maps: NDArray, box: Box, shape: tuple[int, int], fill: float) -> NDArray:
    out = np.full((len(maps), *shape), fill, dtype=maps.dtype)
    out[(slice(None), *box.inside)] = maps
    return out


@dataclass(frozen=True)
class Crop(VolumeStep):
    """The step of `BrainCropper` for a whole volume."""

    box: Box

    def images(
        self, images: NDArray[np.float32], brain: NDArray[np.bool_], grid: Grid
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return cropped images; raise if the brain extends beyond the box."""
        return (
            _crop_images(images, brain, self.box),
            brain[(slice(None), *self.box.inside)],
        )

    def labels(
        self, labels: NDArray[np.int8], brain: NDArray[np.bool_], grid: Grid
    ) -> NDArray[np.int8]:
        """Return cropped labels; raise if an anomaly extends beyond the box."""
        return _crop_labels(labels, self.box)

    def grid(self, grid: Grid) -> Grid:
        """Return the new slice size and affine; pixels keep their position in space."""
        affine = grid.affine.copy()
        affine[:3, 3] += affine[:3, 0] * self.box.left + affine[:3, 1] * self.box.top
        return Grid(self.box.shape, affine)

    def invert(self, maps: NDArray, grid: Grid) -> NDArray:
        """Place maps in the uncropped slices, 0 outside the box."""
        return _uncrop(maps, self.box, grid.shape, 0)
