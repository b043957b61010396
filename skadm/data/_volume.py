"""Volumes: a source of voxels and the steps applied when reading."""

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
    """The original source of a volume, to resample maps to the original grid."""

    source: Source  # of the original images
    steps: tuple[VolumeStep, ...]  # from there to the source
    # (n_slices, H', ceil(W' / 8)) uint8: brain of the original images as bits, or its
    # file
    brain: Any


@dataclass(frozen=True, eq=False)
class Volume:
    """Slices of one volume, read on demand.

    Parameters
    ----------
    source : Source
        Source of the voxels.
    steps : tuple of VolumeStep, default=()
        Steps applied to the whole volume when it is read.
    origin : Origin, default=None
        Original source, from which the source was made. None: the source itself.
    name : str, default=None
        Name of the volume, unique within a stack. None: the name of the source.
    labelled : bool, default=True
        Whether to use the labels of the source.
    normal : ndarray of int, default=None
        Slices whose labels must not mark an anomaly: otherwise reading raises a
        ValueError, even if the labels are not used.

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
        """Use the name of the source by default."""
        if self.name is None:
            object.__setattr__(self, "name", self.source.name)

    def changed(self, **changes: Any) -> "Volume":
        """Return a copy with changed fields.

        Parameters
        ----------
        **changes : dict
            New values of fields.

        Returns
        -------
        Volume
            The changed volume; nothing is read.
        """
        return Volume(**(self.__getstate__() | changes))

    def __getstate__(self) -> dict[str, Any]:
        # Without the cached grids.
        return {field.name: getattr(self, field.name) for field in fields(Volume)}

    # -- what is known without reading ---------------------------------------------------

    @property
    def patient(self) -> str:
        """Patient the volume belongs to."""
        return self.source.patient

    @property
    def session(self) -> str:
        """Session of the patient; "" if unknown."""
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
        """Whether the preprocessed volume is in memory."""
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
        """Source of the original images, on whose grid maps are written."""
        return self.source if self.origin is None else self.origin.source

    # -- reading -------------------------------------------------------------------------

    def read(self) -> tuple[NDArray[np.float32], NDArray[np.int8] | None]:
        """Read images and labels.

        Returns
        -------
        images : ndarray of float32, shape (n_slices, n_contrasts, H, W)
            Images; read-only if they are cached.
        labels : ndarray of int8, shape (n_slices, H, W), or None
            1 on an anomaly; elsewhere 0 in the brain and -1 outside it.

        Raises
        ------
        ValueError
            If a file cannot be decoded or has unexpected content, a step fails, or a
            slice that must be normal has an anomaly.
        """
        slices = self.decode()
        return slices.images, slices.labels

    def decode(self, *, labels: bool = True) -> Slices:
        """Read images, brain and labels.

        Parameters
        ----------
        labels : bool, default=True
            Whether to read labels, if there are any.

        Returns
        -------
        Slices
            All slices; must not be modified in place.
        """
        return self._decode(labels)[0]

    def decode_with_origin(self) -> tuple[Slices, NDArray[np.bool_]]:
        """Read images, brain, labels and the brain of the original images in one pass.

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
        """Read; also return the brain before the steps."""
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
                f"(the first is z = {z[abnormal.index(True)]}) contain an anomaly and y "
                "is None; expected normal slices to train on. Pass y=stack.y or "
                "stack.normal(), which leave these slices out. To train on them anyway, "
                "pass stack.without_labels()."
            )

    def in_memory(self) -> "Volume":
        """Read the volume into memory.

        Returns
        -------
        Volume
            A volume in memory; the same object if it is in memory already.
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
        """Return the origin for a source made from this volume.

        Parameters
        ----------
        brain : array-like of uint8
            The brain of the original images, as bits.

        Returns
        -------
        Origin
            The origin, without arrays in memory except the brain.
        """
        before = () if self.origin is None else self.origin.steps
        return Origin(self.first.outline, before + self.steps, brain)

    def invert(self, maps: NDArray) -> NDArray:
        """Resample maps to the grid of the original images.

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
        0 normal, 1 anomaly, -1 ignored. Background becomes -1, except for anomalies.
    patient : str
        Patient the volume belongs to; a split must keep patients together.
    name : str, default=None
        Name of the volume, unique within a stack. None: the name of the patient.
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
        File of each contrast, in this order; all on one grid, whose axes may be permuted
        and flipped. None for a missing contrast: its channel is NaN. NIfTI files; with
        SimpleITK (extra ``raw``) also .mha, .mhd, .nrrd and .nhdr.
    mask : path, default=None
        Mask of anomalies on the same grid.
    patient : str
        Patient the volume belongs to; a split must keep patients together.
    name : str, default=None
        Name of the volume, unique within a stack. None: the name of the patient.
    session : str, default=""
        Session of the patient.
    brain : path, default=None
        Brain mask on the same grid: images are set to 0 outside it. None: the images are
        skull-stripped.
    values : MaskValues, default=MaskValues()
        Foreground values of the masks; all but 0 by default.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is not a three-dimensional image, or the grids differ.

    Notes
    -----
    Recently decoded images are kept in memory, up to scikit-learn's `working_memory` (1
    GiB by default) for all volumes together, and masks up to an eighth of it. So repeated
    passes decode each file once. The memory is freed with the volume. A changed file is
    decoded again.
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
            raise ValueError(
                f"volume {name!r} has no image file; expected at least one contrast"
            )
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
    # A worker process may have another working directory.
    return None if path is None else Path(path).absolute()
