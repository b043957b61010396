"""Sources of voxels: arrays in memory or image files."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skadm._arrays import as_numbers
from skadm._brain import brain_mask, ignore_background
from skadm._missing import check_missing
from skadm.data._image_files import ImageHeader, read_mask, read_slices
from skadm.data._interfaces import Grid, Slices
from skadm.data._masks import MaskValues, require_many_values
from skadm.data._recent import RecentArrays

# A larger fraction indicates an inverted mask or a brain mask.
_MOST_OF_BRAIN = 0.5

# Masks are kept as bits and separately, so that images do not evict them.
_IMAGES, _MASKS = RecentArrays(1.0), RecentArrays(1 / 8)


@dataclass(frozen=True, eq=False, kw_only=True)
class Source:
    """Metadata of a volume; subclasses decode its voxels."""

    patient: str  # the unit that a split must not cut
    name: str  # unique within a stack
    session: str  # of the patient; "" if unknown
    contrasts: tuple[str, ...]
    n_slices: int
    grid: Grid
    has_labels: bool

    def decode(self, labels: bool) -> Slices:
        """Return all slices, read-only, with the brain and optionally the labels."""
        raise ValueError(
            f"volume {self.name!r} was in memory and only its cache is left; decode the "
            "cached volume"
        )

    def release(self) -> None:
        """Free arrays that are kept for the next reading."""

    @property
    def outline(self) -> "Source":
        """The source without its arrays: it keeps the grid and pickles small."""
        return self


@dataclass(frozen=True, eq=False, kw_only=True)
class ArraySource(Source):
    """Checked read-only arrays in memory, as in `Slices`."""

    images: NDArray[np.float32]
    brain: NDArray[np.bool_]
    labels: NDArray[np.int8] | None

    def decode(self, labels: bool) -> Slices:
        """Return the arrays, not copied."""
        return Slices(self.images, self.brain, self.labels if labels else None)

    @property
    def outline(self) -> Source:
        """The source without its arrays."""
        return Source(**{field.name: getattr(self, field.name) for field in fields(Source)})


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageSource(Source):
    """Image files on one grid."""

    paths: tuple[Path | None, ...]  # of each contrast; None for one that is missing
    mask_path: Path | None  # mask of anomalies
    brain_path: Path | None
    values: MaskValues  # foreground values of the masks
    header: ImageHeader  # of the first file

    def decode(self, labels: bool) -> Slices:
        """Decode the files unless they are in the cache.

        Raises a ValueError for a truncated file, NaN or infinite voxels, an image with
        only two values, and anomalies that fill most of the brain.
        """
        files = [path for path in (*self.paths, self.brain_path) if path is not None]
        images, brain = _IMAGES.get(self, files, self._decode_images)
        mask = self.mask() if labels else None
        if mask is None:
            return Slices(images, brain)
        inside = np.count_nonzero(mask & brain)
        if inside > _MOST_OF_BRAIN * np.count_nonzero(brain):
            raise ValueError(
                f"{self.mask_path}: the anomalies fill {inside / brain.sum():.0%} of the "
                "brain; expected less than half. Check whether the mask is inverted, or "
                "a brain mask"
            )
        return Slices(images, brain, ignore_background(mask, brain))

    def release(self) -> None:
        """Free the arrays that are kept for the next reading."""
        _IMAGES.release(self)
        _MASKS.release(self)

    def mask(self) -> NDArray[np.bool_] | None:
        """Decode the mask of anomalies, inside and outside the brain."""
        if self.mask_path is None:
            return None
        (bits,) = _MASKS.get(self, [self.mask_path], self._decode_mask)
        return unpack(bits, self.grid)

    def _decode_mask(self) -> tuple[NDArray[np.uint8]]:
        assert self.mask_path is not None
        return (pack(read_mask(self.mask_path, self.values)),)

    def _decode_images(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        shape = (self.n_slices, len(self.paths), *self.grid.shape)
        try:
            images = np.empty(shape, dtype=np.float32)
        except MemoryError as error:
            raise MemoryError(f"{self.header.path}: {error}") from error
        outside = None
        if self.brain_path is not None:
            outside = ~read_mask(self.brain_path, self.values.of_brain())
        for index, (path, contrast) in enumerate(zip(self.paths, self.contrasts)):
            if path is None:
                images[:, index] = np.nan
                continue
            images[:, index] = read_slices(path)
            require_many_values(images[:, index], path, contrast)
            if outside is not None:
                images[:, index][outside] = 0
        return images, brain_mask(images)


def pack(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return a mask as bits along its rows, (n_slices, H, ceil(W / 8))."""
    return np.packbits(mask, axis=-1)


def unpack(bits: ArrayLike, grid: Grid) -> NDArray[np.bool_]:
    """Return a packed mask as booleans (n_slices, H, W)."""
    return np.unpackbits(np.asarray(bits), axis=-1, count=grid.shape[1]).view(bool)


def check_images(
    images: ArrayLike, contrasts: tuple[str, ...], who: str
) -> NDArray[np.float32]:
    """Return the images of a volume as read-only float32 after checking them."""
    array = as_numbers(images, f"{who}: images").astype(np.float32, copy=False)
    if array.ndim != 4 or 0 in array.shape:
        raise ValueError(
            f"{who}: images have shape {array.shape}; expected (n_slices, n_contrasts, "
            "H, W) without zeros"
        )
    if array.shape[1] != len(contrasts):
        raise ValueError(
            f"{who}: images have {array.shape[1]} contrasts, but contrasts={contrasts} "
            f"names {len(contrasts)}"
        )
    if np.isinf(array).any():
        raise ValueError(f"{who}: images hold infinite values; expected finite numbers")
    try:
        check_missing(array, contrasts)
    except ValueError as error:
        raise ValueError(f"{who}: {error}") from error
    return read_only(array)


def check_affine(affine: ArrayLike | None, who: str) -> NDArray[np.float64]:
    """Return a checked affine; None gives the identity."""
    if affine is None:
        return np.eye(4)
    array = np.array(affine, dtype=np.float64)
    if array.shape != (4, 4) or not np.isfinite(array).all():
        raise ValueError(
            f"{who}: affine has shape {array.shape}; expected finite numbers of shape "
            "(4, 4)"
        )
    return array


def read_only(array: NDArray) -> NDArray:
    """Return a view that cannot be written to."""
    view = array.view()
    view.flags.writeable = False
    return view
