"""Volumes: a source of voxels, and the steps that they go through when they are read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skadm._brain import brain_mask
from skadm.data._interfaces import Decoded, Grid, VolumeStep
from skadm.data._masks import ALL_LABELS, MaskValues
from skadm.data._sources import ArraySource, ImageSource, Source, pack, unpack


@dataclass(frozen=True, eq=False)
class Origin:
    """What a source was made from, for maps to return to the grid of the first images.

    Parameters
    ----------
    source : Source
        What was there first.
    steps : tuple of VolumeStep
        The steps from there to the source.
    brain : array-like of uint8, shape (n_slices, H', ceil(W' / 8))
        The brain of the first images, as bits: in memory, or in a file.
    """

    source: Source
    steps: tuple[VolumeStep, ...]
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
        decoded = self.decode()
        return decoded.images, decoded.labels

    def decode(self, *, labels: bool = True) -> Decoded:
        """Read images, brain and labels.

        Parameters
        ----------
        labels : bool, default=True
            Whether labels are wanted, if there are any.

        Returns
        -------
        Decoded
            All slices.
        """
        return self._decode(labels)[0]

    def decode_with_origin(self) -> tuple[Decoded, NDArray[np.bool_]]:
        """Read images, brain and labels, and the brain of the first images, in one pass.

        Returns
        -------
        decoded : Decoded
            All slices.
        brain : ndarray of bool, shape (n_slices, H', W')
            The brain on the grid of `first`.
        """
        decoded, brain = self._decode(True)
        if self.origin is not None:
            brain = unpack(self.origin.brain, self.first.grid)
        return decoded, brain

    def _decode(self, labels: bool) -> tuple[Decoded, NDArray[np.bool_]]:
        """Read, and return the brain before the steps as well."""
        wanted = labels and self.has_labels
        decoded = self.source.decode(wanted or self.normal is not None)
        brain = decoded.brain
        for step, grid in zip(self.steps, self._grids):
            try:
                decoded = _apply(step, decoded, grid)
            except ValueError as error:
                raise ValueError(f"volume {self.name!r}: {error}") from error
        if self.normal is not None and decoded.labels is not None:
            self._require_normal(decoded.labels, self.normal)
        return (decoded if wanted else decoded._replace(labels=None)), brain

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
        decoded, brain = self.decode_with_origin()
        source = ArraySource(
            decoded.images,
            decoded.labels,
            patient=self.patient,
            name=self.name,
            session=self.session,
            contrasts=self.contrasts,
            affine=self.grid.affine,
            brain=decoded.brain,
        )
        return Volume(source, origin=self.origin_of_next(pack(brain)))

    def origin_of_next(self, brain: Any) -> Origin:
        """Return the origin of a source that holds what this volume reads.

        Parameters
        ----------
        brain : array-like of uint8
            The brain of the first images, as bits.

        Returns
        -------
        Origin
            Without arrays that only `read` needs.
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
        super().__init__(
            ArraySource(
                images,
                labels,
                patient=patient,
                name=name,
                session=session,
                contrasts=contrasts,
                affine=affine,
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
    unread : sequence of path, default=()
        Image files beside these that nobody reads.

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
        unread: Sequence[str | PathLike[str]] = (),
    ) -> None:
        super().__init__(
            ImageSource(
                images,
                mask,
                patient=patient,
                name=name,
                session=session,
                brain=brain,
                values=values,
                unread=unread,
            )
        )


def _grids(source: Source, steps: Sequence[VolumeStep]) -> list[Grid]:
    grids = [source.grid]
    for step in steps:
        grids.append(step.grid(grids[-1]))
    return grids


def _apply(step: VolumeStep, decoded: Decoded, grid: Grid) -> Decoded:
    images, brain = step.images(decoded.images, decoded.brain, grid)
    if brain is None:
        brain = brain_mask(images)
    labels = decoded.labels
    return Decoded(
        images, brain, None if labels is None else step.labels(labels, brain, grid)
    )
