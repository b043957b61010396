"""Where the voxels of a volume come from: arrays in memory, or image files."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skadm._arrays import as_numbers
from skadm._brain import brain_mask, ignore_background
from skadm._missing import check_missing
from skadm._validation import check_labels
from skadm.data._image_files import inspect, read_mask, read_slices
from skadm.data._interfaces import Decoded, Grid
from skadm.data._masks import MaskValues, require_many_values
from skadm.data._recent import RecentArrays

# Lesions that fill more are an inverted mask, or one of the brain.
_MOST_OF_BRAIN = 0.5

# Masks are kept as bits, apart from the images, which would push them out.
_IMAGES, _MASKS = RecentArrays(1.0), RecentArrays(1 / 8)


class Source:
    """What is known of a volume without decoding it; its subclasses can decode it.

    Parameters
    ----------
    patient : str
        Patient the volume belongs to; the unit that a split must not cut.
    name : str or None
        Name of the volume, unique within a stack. None: the patient's.
    session : str
        Session of the patient; "" where none is known.
    contrasts : sequence of str
        Names of the contrasts.
    n_slices : int
        Number of slices.
    grid : Grid
        Slice size and affine.
    has_labels : bool
        Whether there are labels.
    """

    def __init__(
        self,
        patient: str,
        name: str | None,
        session: str,
        contrasts: Sequence[str],
        n_slices: int,
        grid: Grid,
        has_labels: bool,
    ) -> None:
        self.patient = str(patient)
        self.name = self.patient if name is None else str(name)
        self.session = str(session)
        self.contrasts = tuple(contrasts)
        self.n_slices = n_slices
        self.grid = grid
        self.has_labels = has_labels

    def decode(self, labels: bool) -> Decoded:
        """Return all slices, their brain and, if they are asked for, their labels.

        Parameters
        ----------
        labels : bool
            Whether to read labels, if there are any.

        Returns
        -------
        Decoded
            Read-only arrays.
        """
        raise ValueError(
            f"volume {self.name!r}: it was in memory, and only its cached form is left"
        )

    def release(self) -> None:
        """Let go of what is kept for the next reading, if anything is."""

    @property
    def outline(self) -> "Source":
        """The same without arrays in memory: it knows the grid, and pickles small."""
        return self


class ArraySource(Source):
    """Arrays in memory; the parameters are those of `ArrayVolume`."""

    def __init__(
        self,
        images: ArrayLike,
        labels: ArrayLike | None,
        *,
        patient: str,
        name: str | None,
        session: str,
        contrasts: Sequence[str],
        affine: ArrayLike | None,
        brain: NDArray[np.bool_] | None = None,
    ) -> None:
        who = f"volume {str(patient if name is None else name)!r}"
        self.images = _check_images(images, tuple(contrasts), who)
        if brain is not None:
            self.brain = brain
        self.labels = None
        if labels is not None:
            array = check_labels(labels, self.images.shape, f"{who}: labels")
            self.labels = _read_only(ignore_background(array, self.brain))
        grid = Grid(self.images.shape[2:], _check_affine(affine, who))
        n_slices, has_labels = len(self.images), labels is not None
        super().__init__(patient, name, session, contrasts, n_slices, grid, has_labels)

    @cached_property
    def brain(self) -> NDArray[np.bool_]:
        """The brain, shape (n_slices, H, W); found when it is first asked for."""
        return _read_only(brain_mask(self.images))

    def decode(self, labels: bool) -> Decoded:
        """Return the arrays, not copied."""
        return Decoded(self.images, self.brain, self.labels if labels else None)

    @property
    def outline(self) -> Source:
        """The same without its arrays."""
        return Source(
            self.patient,
            self.name,
            self.session,
            self.contrasts,
            self.n_slices,
            self.grid,
            self.has_labels,
        )

    def __getstate__(self) -> dict[str, Any]:
        # Without the brain, which the images tell again.
        return {name: value for name, value in vars(self).items() if name != "brain"}


class ImageSource(Source):
    """Image files of one grid; the parameters are those of `NiftiVolume`.

    Attributes
    ----------
    paths : tuple of Path or None
        File of each contrast.
    mask_path, brain_path : Path or None
        Masks of anomalies and of the brain.
    header : ImageHeader
        Header of the first file.
    """

    def __init__(
        self,
        images: Mapping[str, str | PathLike[str] | None],
        mask: str | PathLike[str] | None,
        *,
        patient: str,
        name: str | None,
        session: str,
        brain: str | PathLike[str] | None,
        values: MaskValues,
        unread: Sequence[str | PathLike[str]],
    ) -> None:
        # Absolute, since a worker that it is sent to may have another working directory.
        self.paths = tuple(
            None if path is None else Path(path).absolute() for path in images.values()
        )
        self.mask_path = None if mask is None else Path(mask).absolute()
        self.brain_path = None if brain is None else Path(brain).absolute()
        self.values = values
        self.unread = tuple(Path(path).absolute() for path in unread)
        given = [path for path in self.paths if path is not None]
        if not given:
            who = str(patient if name is None else name)
            raise ValueError(f"volume {who!r}: no image file given")
        self.header = inspect(given[0])
        for path in (*given[1:], self.mask_path, self.brain_path):
            if path is not None:
                self.header.require_same_grid(inspect(path))
        width, height, n_slices = self.header.shape
        grid, has_labels = Grid((height, width), self.header.affine), mask is not None
        super().__init__(patient, name, session, tuple(images), n_slices, grid, has_labels)

    def decode(self, labels: bool) -> Decoded:
        """Decode the files, but for those that were decoded a short while ago.

        Raises
        ------
        ValueError
            If a file is truncated, holds NaN or infinite voxels, or is an image with two
            values only; or if the anomalies fill most of the brain.
        MemoryError
            If there is no room for its voxels.
        """
        files = [path for path in (*self.paths, self.brain_path) if path is not None]
        images, brain = _IMAGES.get(self, files, self._decode_images)
        mask = self.mask() if labels else None
        if mask is None:
            return Decoded(images, brain, None)
        inside = np.count_nonzero(mask & brain)
        if inside > _MOST_OF_BRAIN * np.count_nonzero(brain):
            raise ValueError(
                f"{self.mask_path}: the anomalies fill {inside / brain.sum():.0%} of the "
                "brain; expected less than half. Is it inverted, or a mask of the brain?"
            )
        return Decoded(images, brain, ignore_background(mask, brain))

    def release(self) -> None:
        """Let go of the arrays that are kept for the next reading."""
        _IMAGES.release(self)
        _MASKS.release(self)

    def mask(self) -> NDArray[np.bool_] | None:
        """Decode the mask of anomalies alone.

        Returns
        -------
        ndarray of bool, shape (n_slices, H, W), or None
            True on an anomaly, inside and outside the brain.
        """
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
    """Return a mask (n_slices, H, W) that was packed.

    Parameters
    ----------
    bits : array-like of uint8, shape (n_slices, H, ceil(W / 8))
        Eight pixels in each.
    grid : Grid
        The grid of the mask.

    Returns
    -------
    ndarray of bool, shape (n_slices, H, W)
        The mask.
    """
    return np.unpackbits(np.asarray(bits), axis=-1, count=grid.shape[1]).view(bool)


def _check_images(
    images: ArrayLike, contrasts: tuple[str, ...], who: str
) -> NDArray[np.float32]:
    array = as_numbers(images, f"{who}: images").astype(np.float32, copy=False)
    if array.ndim != 4 or 0 in array.shape:
        raise ValueError(
            f"{who}: images have shape {array.shape}; expected (n_slices, n_contrasts, H, "
            "W), none of them zero"
        )
    if array.shape[1] != len(contrasts):
        raise ValueError(
            f"{who}: images have {array.shape[1]} contrasts, but contrasts={contrasts} "
            f"names {len(contrasts)}"
        )
    if np.isinf(array).any():
        raise ValueError(f"{who}: images hold infinite values")
    try:
        check_missing(array, contrasts)
    except ValueError as error:
        raise ValueError(f"{who}: {error}") from error
    return _read_only(array)


def _check_affine(affine: ArrayLike | None, who: str) -> NDArray[np.float64]:
    if affine is None:
        return np.eye(4)
    array = np.array(affine, dtype=np.float64)
    if array.shape != (4, 4) or not np.isfinite(array).all():
        raise ValueError(
            f"{who}: affine has shape {array.shape}; expected finite numbers of shape "
            "(4, 4)"
        )
    return array


def _read_only(array: NDArray) -> NDArray:
    view = array.view()
    view.flags.writeable = False
    return view
