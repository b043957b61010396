"""Volumes: objects that know their grid and read their slices on demand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skadm._arrays import as_numbers
from skadm._brain import brain_mask, ignore_background
from skadm._missing import check_missing
from skadm.data._image_files import ImageHeader, inspect, read_mask, read_slices
from skadm.data._interfaces import Grid, Volume, VolumeStep
from skadm.data._masks import ALL_LABELS, MaskValues, require_many_values

# Lesions that fill more are an inverted mask, or one of the brain.
_MOST_OF_BRAIN = 0.5


class _GridAttributes:
    """The parts of a volume's grid under the names that users look for."""

    grid: Grid
    session: Any = ""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of a slice in pixels."""
        return self.grid.shape

    @property
    def affine(self) -> NDArray[np.float64]:
        """Affine (4, 4) from voxel indices in file order (W, H, slice) to mm."""
        return self.grid.affine

    @property
    def voxel_size(self) -> NDArray[np.float64]:
        """Voxel size in mm along W, along H and between slices."""
        return self.grid.voxel_size


class ArrayVolume(_GridAttributes):
    """A volume whose slices are in memory.

    Parameters
    ----------
    images : array-like of shape (n_slices, n_contrasts, H, W)
        Finite intensities, kept as float32. A pixel whose contrasts are all exactly 0
        is background. A contrast that a slice lacks is NaN in all of its pixels.
    labels : array-like of shape (n_slices, H, W), default=None
        0 normal, 1 anomaly, -1 ignored. Background becomes -1, but for anomalies.
    patient : str
        Patient the volume belongs to; the unit that a split must not cut.
    name : str, default=None
        Name of the volume, unique within a stack. None: the patient's.
    session : str, default=""
        Session of the patient.
    contrasts : sequence of str
        Names of the contrasts.
    affine : array-like of shape (4, 4), default=None
        From voxel indices in file order (W, H, slice) to mm. None: the identity.
    origin : volume, default=None
        The volume these arrays were read from, for `write_maps` to return to its grid.
    origin_brain : array-like of bool, shape (n_slices, H', W'), default=None
        The brain on the grid of ``origin.origin``. None: it is read again when it is
        needed.
    """

    def __init__(
        self,
        images: ArrayLike,
        labels: ArrayLike | None = None,
        *,
        patient: str,
        name: str | None = None,
        session: str = "",
        contrasts: Sequence[str],
        affine: ArrayLike | None = None,
        origin: Volume | None = None,
        origin_brain: ArrayLike | None = None,
    ) -> None:
        self.patient = str(patient)
        self.name = self.patient if name is None else str(name)
        self.session = str(session)
        self.contrasts = tuple(contrasts)
        self._images = self._check_images(images)
        self._labels = None if labels is None else self._check_labels(labels)
        self.n_slices = len(self._images)
        self.grid = Grid(self._images.shape[2:], _check_affine(affine, self.name))
        self.source = origin
        # As bits: it stays beside the images for as long as they.
        self._origin_brain = (
            None
            if origin_brain is None
            else np.packbits(np.asarray(origin_brain, dtype=bool), axis=-1)
        )

    def _check_images(self, images: ArrayLike) -> NDArray[np.float32]:
        array = self._numbers(images, "images").astype(np.float32, copy=False)
        if array.ndim != 4 or 0 in array.shape:
            raise ValueError(
                f"volume {self.name!r}: images have shape {array.shape}; expected "
                "(n_slices, n_contrasts, H, W), none of them zero"
            )
        if array.shape[1] != len(self.contrasts):
            raise ValueError(
                f"volume {self.name!r}: images have {array.shape[1]} contrasts, but "
                f"contrasts={self.contrasts} names {len(self.contrasts)}"
            )
        if np.isinf(array).any():
            raise ValueError(f"volume {self.name!r}: images hold infinite values")
        try:
            check_missing(array, self.contrasts)
        except ValueError as error:
            raise ValueError(f"volume {self.name!r}: {error}") from error
        return _read_only(array)

    def _numbers(self, values: ArrayLike, name: str) -> NDArray:
        return as_numbers(values, f"volume {self.name!r}: {name}")

    def _check_labels(self, labels: ArrayLike) -> NDArray[np.int8]:
        array = self._numbers(labels, "labels")
        expected = (len(self._images), *self._images.shape[2:])
        if array.shape != expected:
            raise ValueError(
                f"volume {self.name!r}: labels have shape {array.shape}; expected "
                f"{expected}, as the images"
            )
        unknown = np.setdiff1d(array, [-1, 0, 1])
        if unknown.size:
            raise ValueError(
                f"volume {self.name!r}: labels hold {unknown[:5].tolist()}; expected only "
                "0 (normal), 1 (anomaly) and -1 (ignored)"
            )
        return _read_only(ignore_background(array, brain_mask(self._images)))

    @property
    def has_labels(self) -> bool:
        """Whether the volume is labelled."""
        return self._labels is not None

    @property
    def origin(self) -> Volume:
        """The volume on the grid it was first given on."""
        return self if self.source is None else self.source.origin

    def read(self) -> tuple[NDArray[np.float32], NDArray[np.int8] | None]:
        """Return the images and labels (read-only, not copied).

        Returns
        -------
        images : ndarray of float32, shape (n_slices, n_contrasts, H, W)
            Images.
        labels : ndarray of int8, shape (n_slices, H, W), or None
            Labels, -1 outside the brain but for anomalies.
        """
        return self._images, self._labels

    def read_with_origin_brain(
        self,
    ) -> tuple[NDArray[np.float32], NDArray[np.int8] | None, NDArray[np.bool_]]:
        """Return the images and labels, and the brain on the grid of `origin`.

        Returns
        -------
        images : ndarray of float32, shape (n_slices, n_contrasts, H, W)
            Images.
        labels : ndarray of int8, shape (n_slices, H, W), or None
            Labels, -1 outside the brain but for anomalies.
        origin_brain : ndarray of bool, shape (n_slices, H', W')
            The brain on the grid of `origin`.
        """
        if self._origin_brain is not None:
            brain = unpack(self._origin_brain, self.origin.grid)
        elif self.source is not None:
            brain = self.source.read_with_origin_brain()[2]
        else:
            brain = brain_mask(self._images)
        return self._images, self._labels, brain

    def invert(self, maps: NDArray) -> NDArray:
        """Take maps to the grid of `origin`.

        Parameters
        ----------
        maps : ndarray of shape (n, H, W)
            Maps on the grid of this volume.

        Returns
        -------
        ndarray of shape (n, H', W')
            Maps on the grid of `origin`.
        """
        return maps if self.source is None else self.source.invert(maps)


class NiftiVolume(_GridAttributes):
    """A volume of image files, one per contrast, decoded each time it is read.

    Volumes are reoriented to axial slices: H runs to the patient's back, W to the left,
    slices to the top of the head. Nothing is resampled. It pickles as paths. Headers are
    checked here, voxels when they are read.

    Parameters
    ----------
    images : mapping of str to path or None
        File of each contrast, in the order of the contrasts; all on one grid, whose axes
        may be permuted and flipped. None for a contrast that is missing: its channel is
        NaN. NIfTI files; with SimpleITK (extra ``raw``) also .mha, .mhd, .nrrd and .nhdr.
    mask : path, default=None
        Mask of anomalies on the same grid.
    patient : str
        Patient the volume belongs to; the unit that a split must not cut.
    name : str, default=None
        Name of the volume, unique within a stack. None: the patient's.
    session : str, default=""
        Session of the patient.
    brain : path, default=None
        Mask of the brain on the same grid: images are 0 outside it. None: they are
        skull-stripped already.
    values : MaskValues, default=MaskValues()
        Which values of the masks count: all but 0, unless others are named.
    unread : sequence of path, default=()
        Image files beside these that nobody reads.

    Attributes
    ----------
    oriented : bool
        Whether the headers say how the head lies.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is not a three-dimensional image or the grids differ.
    """

    def __init__(
        self,
        images: Mapping[str, str | PathLike[str] | None],
        mask: str | PathLike[str] | None = None,
        *,
        patient: str,
        name: str | None = None,
        session: str = "",
        brain: str | PathLike[str] | None = None,
        values: MaskValues = ALL_LABELS,
        unread: Sequence[str | PathLike[str]] = (),
    ) -> None:
        self.patient = str(patient)
        self.name = self.patient if name is None else str(name)
        self.session = str(session)
        if all(path is None for path in images.values()):
            raise ValueError(f"volume {self.name!r}: no image file given")
        self.contrasts = tuple(images)
        # Absolute, since a worker that it is sent to may have another working directory.
        self.paths = tuple(
            None if path is None else Path(path).absolute() for path in images.values()
        )
        self.mask_path = None if mask is None else Path(mask).absolute()
        self.brain_path = None if brain is None else Path(brain).absolute()
        self.values = values
        self.unread = tuple(Path(path).absolute() for path in unread)
        self.reference_path, *others = [path for path in self.paths if path is not None]
        first = inspect(self.reference_path)
        for path in (*others, self.mask_path, self.brain_path):
            if path is not None:
                first.require_same_grid(inspect(path))
        width, height, self.n_slices = first.shape
        self.grid = Grid((height, width), first.affine)
        self.oriented = first.oriented

    @property
    def has_labels(self) -> bool:
        """Whether the volume has a mask."""
        return self.mask_path is not None

    @property
    def origin(self) -> Volume:
        """The volume itself."""
        return self

    @property
    def header(self) -> ImageHeader:
        """Header of the first file, read again."""
        return inspect(self.reference_path)

    def read_mask(self) -> NDArray[np.bool_] | None:
        """Decode the mask of anomalies alone.

        Returns
        -------
        ndarray of bool, shape (n_slices, H, W), or None
            True on an anomaly, inside and outside the brain.
        """
        return None if self.mask_path is None else read_mask(self.mask_path, self.values)

    def read(self) -> tuple[NDArray[np.float32], NDArray[np.int8] | None]:
        """Decode the files.

        Returns
        -------
        images : ndarray of float32, shape (n_slices, n_contrasts, H, W)
            Images.
        labels : ndarray of int8, shape (n_slices, H, W), or None
            1 on an anomaly; elsewhere 0 in the brain and -1 outside it.

        Raises
        ------
        ValueError
            If a file is truncated, holds NaN or infinite voxels, or is an image with two
            values only; or if the anomalies fill most of the brain.
        MemoryError
            If there is no room for its voxels.
        """
        images, labels, _ = self.read_with_origin_brain()
        return images, labels

    def _read_images(self) -> NDArray[np.float32]:
        shape = (self.n_slices, len(self.paths), *self.shape)
        try:
            images = np.empty(shape, dtype=np.float32)
        except MemoryError as error:
            raise MemoryError(f"{self.reference_path}: {error}") from error
        brain = None
        if self.brain_path is not None:
            brain = read_mask(self.brain_path, self.values.of_brain())
        for index, (path, contrast) in enumerate(zip(self.paths, self.contrasts)):
            if path is None:
                images[:, index] = np.nan
                continue
            images[:, index] = read_slices(path)
            require_many_values(images[:, index], path, contrast)
            if brain is not None:
                images[:, index][~brain] = 0
        return images

    def read_with_origin_brain(
        self,
    ) -> tuple[NDArray[np.float32], NDArray[np.int8] | None, NDArray[np.bool_]]:
        """Decode the files, and find the brain.

        Returns
        -------
        images : ndarray of float32, shape (n_slices, n_contrasts, H, W)
            Images.
        labels : ndarray of int8, shape (n_slices, H, W), or None
            Labels, -1 outside the brain but for anomalies.
        origin_brain : ndarray of bool, shape (n_slices, H', W')
            The brain on the grid of `origin`.
        """
        images = self._read_images()
        brain = brain_mask(images)
        mask = self.read_mask()
        if mask is None:
            return images, None, brain
        inside = np.count_nonzero(mask & brain)
        if inside > _MOST_OF_BRAIN * np.count_nonzero(brain):
            raise ValueError(
                f"{self.mask_path}: the anomalies fill {inside / brain.sum():.0%} of the "
                "brain; expected less than half. Is it inverted, or a mask of the brain?"
            )
        return images, ignore_background(mask, brain), brain

    def invert(self, maps: NDArray) -> NDArray:
        """Return the maps: they are on the files' grid already.

        Parameters
        ----------
        maps : ndarray of shape (n, H, W)
            Maps on the grid of this volume.

        Returns
        -------
        ndarray of shape (n, H', W')
            Maps on the grid of `origin`.
        """
        return maps


@dataclass(frozen=True, eq=False)
class MappedVolume(_GridAttributes):
    """A volume seen through one preprocessing step.

    Parameters
    ----------
    source : volume
        The volume before the step.
    step : VolumeStep
        The step.
    """

    source: Any
    step: VolumeStep

    @property
    def patient(self) -> str:
        """Patient the volume belongs to."""
        return self.source.patient

    @property
    def session(self) -> str:
        """Session of the patient."""
        return self.source.session

    @property
    def name(self) -> str:
        """Name of the volume."""
        return self.source.name

    @property
    def contrasts(self) -> tuple[str, ...]:
        """Names of the contrasts."""
        return self.source.contrasts

    @property
    def n_slices(self) -> int:
        """Number of slices."""
        return self.source.n_slices

    @cached_property
    def grid(self) -> Grid:  # type: ignore[override]
        """Slice size and affine after the step."""
        return self.step.grid(self.source.grid)

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the grid that was computed.
        return MappedVolume, (self.source, self.step)

    @property
    def has_labels(self) -> bool:
        """Whether the volume is labelled."""
        return self.source.has_labels

    @property
    def origin(self) -> Volume:
        """The volume before any step."""
        return self.source.origin

    def read(self) -> tuple[NDArray[np.float32], NDArray[np.int8] | None]:
        """Read the source and apply the step to the whole of it."""
        return self._apply(*self.source.read())

    def read_with_origin_brain(
        self,
    ) -> tuple[NDArray[np.float32], NDArray[np.int8] | None, NDArray[np.bool_]]:
        """Read the source, apply the step, and keep the brain of the origin.

        Returns
        -------
        images : ndarray of float32, shape (n_slices, n_contrasts, H, W)
            Images.
        labels : ndarray of int8, shape (n_slices, H, W), or None
            Labels, -1 outside the brain but for anomalies.
        origin_brain : ndarray of bool, shape (n_slices, H', W')
            The brain on the grid of `origin`.
        """
        images, labels, origin_brain = self.source.read_with_origin_brain()
        return *self._apply(images, labels), origin_brain

    def _apply(
        self, images: NDArray[np.float32], labels: NDArray[np.int8] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int8] | None]:
        grid = self.source.grid
        try:
            images = self.step.images(images, grid)
        except ValueError as error:
            raise ValueError(f"volume {self.name!r}: {error}") from error
        if labels is not None:
            labels = self.step.labels(labels, brain_mask(images), grid)
        return images, labels

    def invert(self, maps: NDArray) -> NDArray:
        """Take maps to the grid of `origin`.

        Parameters
        ----------
        maps : ndarray of shape (n, H, W)
            Maps on the grid of this volume.

        Returns
        -------
        ndarray of shape (n, H', W')
            Maps on the grid of `origin`.
        """
        return self.source.invert(self.step.invert(maps, self.source.grid))


def unpack(bits: NDArray[np.uint8], grid: Grid) -> NDArray[np.bool_]:
    """Return a mask that was packed along its rows.

    Parameters
    ----------
    bits : ndarray of uint8, shape (n_slices, H, ceil(W / 8))
        Eight pixels in each.
    grid : Grid
        The grid of the mask.

    Returns
    -------
    ndarray of bool, shape (n_slices, H, W)
        The mask.
    """
    return np.unpackbits(bits, axis=-1, count=grid.shape[1]).view(bool)


def _read_only(array: NDArray) -> NDArray:
    view = array.view()
    view.flags.writeable = False
    return view


def _check_affine(affine: ArrayLike | None, name: str) -> NDArray[np.float64]:
    if affine is None:
        return np.eye(4)
    array = np.array(affine, dtype=np.float64)
    if array.shape != (4, 4) or not np.isfinite(array).all():
        raise ValueError(
            f"volume {name!r}: affine has shape {array.shape}; expected finite numbers of "
            "shape (4, 4)"
        )
    return array
