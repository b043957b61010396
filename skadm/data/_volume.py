"""Volumes: a source of voxels, and the steps that they go through when they are read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skadm._brain import brain_mask, ignore_background
from skadm._validation import check_labels
from skadm.data._image_files import inspect
from skadm.data._interfaces import Grid, Slices, VolumeStep
from skadm.data._masks import ALL_LABELS, MaskValues
from skadm.data._sources import (
    ArraySource,
    ImageSource,
    Source,
    check_affine,
    check_images,
    pack,
    read_only,
    unpack,
)


@dataclass(frozen=True, eq=False)
class Origin:
    """What a source was made from, for maps to return to the grid of the first images."""

    source: Source  # what was there first
    steps: tuple[VolumeStep, ...]  # from there to the source
    # (n_slices, H', ceil(W' / 8)) uint8: brain of the first images as bits, or its file
    brain: Any


@dataclass(frozen=True, eq=False)
class Volume:
    """Slices of one volume, read on demand.

    Parameters
    ----------
    source : Source
        Where the voxels come from.
    steps : tuple of VolumeStep, default=()
        What they go through, as whole volumes, when they are read.
    origin : Origin, default=None
        What the source was made from. None: it is the first.
    name : str, default=None
        Name of the volume, unique within a stack. None: that of the source.
    labelled : bool, default=True
        Whether labels that there are belong to the volume, or are left out.
    normal : ndarray of int, default=None
        Slices in which labels must not mark an anomaly: reading is refused otherwise, also
        where labels are left out.

    See Also
    --------
    ArrayVolume, NiftiVolume : Make volumes.
    """

    source: Source
    steps: tuple[VolumeStep, ...] = ()
    origin: Origin | None = None
    name: str = None  # type: ignore[assignment]  # set below
    labelled: bool = True
    normal: NDArray[np.intp] | None = None

    def __post_init__(self) -> None:
        """Take the name of the source, unless there is another one."""
        if self.name is None:
            object.__setattr__(self, "name", self.source.name)

    def changed(self, **changes: Any) -> "Volume":
        """Return the volume with other fields.

        Parameters
        ----------
        **changes : dict
            Fields that are other than those of this volume.

        Returns
        -------
        Volume
            The changed volume; nothing is read.
        """
        return Volume(**(self.__getstate__() | changes))

    def __getstate__(self) -> dict[str, Any]:
        # Without the grids that were computed.
        return {field.name: getattr(self, field.name) for field in fields(Volume)}

    # -- what is known without reading ---------------------------------------------------

    @property
    def patient(self) -> str:
        """Patient the volume belongs to."""
        return self.source.patient

    @property
    def session(self) -> str:
        """Session of the patient; "" where none is known."""
        return self.source.session

    @property
    def contrasts(self) -> tuple[str, ...]:
        """Names of the contrasts."""
        return self.source.contrasts

    @property
    def n_slices(self) -> int:
        """Number of slices."""
        return self.source.n_slices

    @property
    def has_labels(self) -> bool:
        """Whether the volume is labelled."""
        return self.labelled and self.source.has_labels

    @property
    def is_decoded(self) -> bool:
        """Whether all of it is in memory, as it is after all steps."""
        done = not self.steps and self.normal is None
        return done and isinstance(self.source, ArraySource)

    @cached_property
    def _grids(self) -> list[Grid]:
        """The grid before each step, and after the last one."""
        return _grids(self.source, self.steps)

    @property
    def grid(self) -> Grid:
        """Slice size and affine after all steps."""
        return self._grids[-1]

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

    @property
    def first(self) -> Source:
        """The source of the first images, on whose grid maps are written."""
        return self.source if self.origin is None else self.origin.source

    # -- reading -------------------------------------------------------------------------

    def read(self) -> tuple[NDArray[np.float32], NDArray[np.int8] | None]:
        """Read images and labels.

        Returns
        -------
        images : ndarray of float32, shape (n_slices, n_contrasts, H, W)
            Images; read-only where they are kept for the next reading.
        labels : ndarray of int8, shape (n_slices, H, W), or None
            1 on an anomaly; elsewhere 0 in the brain and -1 outside it.

        Raises
        ------
        ValueError
            If a file cannot be decoded or is not what it was given as, or a step or the
            labels of normal slices do not allow it.
        """
        slices = self.decode()
        return slices.images, slices.labels

    def decode(self, *, labels: bool = True) -> Slices:
        """Read images, brain and labels.

        Parameters
        ----------
        labels : bool, default=True
            Whether labels are wanted, if there are any.

        Returns
        -------
        Slices
            All slices; not to be changed in place.
        """
        return self._decode(labels)[0]

    def decode_with_origin(self) -> tuple[Slices, NDArray[np.bool_]]:
        """Read images, brain and labels, and the brain of the first images, in one pass.

        Returns
        -------
        slices : Slices
            All slices.
        brain : ndarray of bool, shape (n_slices, H', W')
            The brain on the grid of `first`.
        """
        slices, brain = self._decode(True)
        if self.origin is not None:
            brain = unpack(self.origin.brain, self.first.grid)
        return slices, brain

    def _decode(self, labels: bool) -> tuple[Slices, NDArray[np.bool_]]:
        """Read, and return the brain before the steps as well."""
        wanted = labels and self.has_labels
        first = slices = self.source.decode(wanted or self.normal is not None)
        for step, grid, new_grid in zip(self.steps, self._grids, self._grids[1:]):
            try:
                slices = _apply(step, slices, grid, new_grid)
            except ValueError as error:
                raise ValueError(f"volume {self.name!r}: {error}") from error
        if self.normal is not None and slices.labels is not None:
            self._require_normal(slices.labels, self.normal)
        slices = slices._replace(
            labels=slices.labels if wanted else None,
            z=np.arange(self.n_slices),
            volume=self.name,
            patient=self.patient,
        )
        return slices, first.brain

    def _require_normal(self, labels: NDArray[np.int8], z: NDArray[np.intp]) -> None:
        abnormal = [bool((labels[index] == 1).any()) for index in z]
        if any(abnormal):
            raise ValueError(
                f"{sum(abnormal)} of the {len(z)} slices of volume {self.source.name!r} "
                f"(the first is z = {z[abnormal.index(True)]}) hold pixels of an anomaly, "
                "and y is None; expected normal slices to train on. Pass y=stack.y, which "
                "leaves these slices out, or give stack.normal(). To train on all slices "
                "in spite of their labels, give stack.without_labels(), or read the stack "
                "with labels=False."
            )

    def in_memory(self) -> "Volume":
        """Read everything, and keep it.

        Returns
        -------
        Volume
            The volume itself if it is in memory already.
        """
        if self.is_decoded:
            return self
        slices, brain = self.decode_with_origin()
        known = {field.name: getattr(self, field.name) for field in fields(Source)}
        images = check_images(slices.images, self.contrasts, f"volume {self.name!r}")
        source = ArraySource(
            **known, images=images, brain=slices.brain, labels=slices.labels
        )
        return Volume(source, origin=self.origin_of_next(pack(brain)))

    def origin_of_next(self, brain: Any) -> Origin:
        """Return the origin of what this volume reads.

        Parameters
        ----------
        brain : array-like of uint8
            The brain of the first images, as bits.

        Returns
        -------
        Origin
            Without arrays in memory but the brain.
        """
        before = () if self.origin is None else self.origin.steps
        return Origin(self.first.outline, before + self.steps, brain)

    def invert(self, maps: NDArray) -> NDArray:
        """Take maps to the grid of the first images.

        Parameters
        ----------
        maps : ndarray of shape (n, H, W)
            Maps on the grid of this volume.

        Returns
        -------
        ndarray of shape (n, H', W')
            Maps on the grid of `first`.
        """
        steps = self.origin_of_next(None).steps
        for step, grid in reversed([*zip(steps, _grids(self.first, steps))]):
            maps = step.invert(maps, grid)
        return maps


class ArrayVolume(Volume):
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
    ) -> None:
        name = str(patient if name is None else name)
        who, contrasts = f"volume {name!r}", tuple(contrasts)
        checked = check_images(images, contrasts, who)
        brain = brain_mask(checked)
        if labels is not None:
            labels = check_labels(labels, checked.shape, f"{who}: labels")
            labels = read_only(ignore_background(labels, brain))
        super().__init__(
            ArraySource(
                patient=str(patient),
                name=name,
                session=str(session),
                contrasts=contrasts,
                n_slices=len(checked),
                grid=Grid(checked.shape[2:], check_affine(affine, who)),
                has_labels=labels is not None,
                images=checked,
                brain=read_only(brain),
                labels=labels,
            )
        )


class NiftiVolume(Volume):
    """A volume of image files, one per contrast, decoded when it is read.

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

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is not a three-dimensional image or the grids differ.

    Notes
    -----
    What was decoded last is kept in memory, up to scikit-learn's `working_memory` (1 GiB,
    unless it is configured) for the images of all volumes together, and an eighth of it for
    masks of anomalies: passes that follow each other decode no file twice. It goes with the
    volume. A file that has changed is decoded again.
    """

    source: ImageSource

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
    ) -> None:
        name = str(patient if name is None else name)
        paths = tuple(map(_absolute, images.values()))
        mask_path, brain_path = _absolute(mask), _absolute(brain)
        given = [path for path in paths if path is not None]
        if not given:
            raise ValueError(f"volume {name!r}: no image file given")
        header = inspect(given[0])
        for path in (*given[1:], mask_path, brain_path):
            if path is not None:
                header.require_same_grid(inspect(path))
        width, height, n_slices = header.shape
        super().__init__(
            ImageSource(
                patient=str(patient),
                name=name,
                session=str(session),
                contrasts=tuple(images),
                n_slices=n_slices,
                grid=Grid((height, width), header.affine),
                has_labels=mask is not None,
                paths=paths,
                mask_path=mask_path,
                brain_path=brain_path,
                values=values,
                header=header,
            )
        )


def _grids(source: Source, steps: Sequence[VolumeStep]) -> list[Grid]:
    grids = [source.grid]
    for step in steps:
        grids.append(step.grid(grids[-1]))
    return grids


def _apply(step: VolumeStep, slices: Slices, grid: Grid, new_grid: Grid) -> Slices:
    images, brain = step.images(slices.images, slices.brain, grid)
    brain = brain_mask(images) if brain is None else brain
    n_slices, n_contrasts = slices.images.shape[:2]
    expected = (n_slices, n_contrasts, *new_grid.shape), (n_slices, *new_grid.shape)
    if (images.shape, brain.shape) != expected or brain.dtype != bool:
        raise ValueError(
            f"{type(step).__name__} returned images {images.shape} and a brain "
            f"{brain.shape} of {brain.dtype}; expected {expected[0]} and {expected[1]} of "
            "bool"
        )
    labels = slices.labels
    if labels is not None:
        labels = step.labels(labels, brain, grid)
    return Slices(images, brain, labels)


def _absolute(path: str | PathLike[str] | None) -> Path | None:
    # A worker that it is sent to may have another working directory.
    return None if path is None else Path(path).absolute()
