"""SliceStack: slices of several volumes, read on demand."""

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skadm.data._cache import cached_volumes
from skadm.data._html import stack_html
from skadm.data._interfaces import ReadingRecord, Slices, VolumeStep
from skadm.data._volume import Volume


class SliceStack:
    """A sequence of slices of several volumes that are read on demand.

    It can be used in place of an array of shape (n_slices, n_contrasts, H, W): it has a
    shape, is indexed along slices without reading, and ``numpy.asarray`` reads it volume
    by volume. A stack of files pickles as paths.

    Parameters
    ----------
    volumes : sequence of Volume
        Volumes with the same contrasts and unique names, e.g. `ArrayVolume` or
        `NiftiVolume`.
    volume_index : array-like of int, shape (n_slices,)
        Index of the volume of each slice.
    z : array-like of int, shape (n_slices,)
        Index of each slice in its volume.

    Attributes
    ----------
    record : ReadingRecord
        Findings of the reader about the files; empty for other stacks.

    See Also
    --------
    read_any, read_brats, read_isles, read_table : Make a stack of files.
    make_phantom : Makes a stack of synthetic slices.
    """

    def __init__(
        self, volumes: Sequence[Volume], volume_index: ArrayLike, z: ArrayLike
    ) -> None:
        self.volumes = tuple(volumes)
        self._volume_index = np.asarray(volume_index, dtype=np.intp)
        self.z = np.asarray(z, dtype=np.intp)
        self.record = ReadingRecord()
        self._check()

    def _check(self) -> None:
        if not self.volumes:
            raise ValueError("a SliceStack needs at least one volume")
        first, names = self.volumes[0], set()
        for volume in self.volumes:
            if volume.contrasts != first.contrasts:
                raise ValueError(
                    f"volume {volume.name!r} has contrasts {volume.contrasts}; expected "
                    f"those of {first.name!r}, {first.contrasts}"
                )
            if volume.has_labels != first.has_labels:
                bare = first if volume.has_labels else volume
                raise ValueError(
                    f"volume {bare.name!r} has no labels, but others have; expected "
                    "labels for all volumes or for none"
                )
            if volume.name in names:
                raise ValueError(
                    f"two volumes are named {volume.name!r}; expected unique names"
                )
            names.add(volume.name)
        if self.z.ndim != 1 or self.z.shape != self._volume_index.shape:
            raise ValueError(
                f"volume_index has shape {self._volume_index.shape} and z {self.z.shape}; "
                "expected one entry per slice"
            )
        if self.z.size == 0:
            return
        if self._volume_index.min() < 0 or self._volume_index.max() >= len(self.volumes):
            raise ValueError(
                f"volume_index ranges from {self._volume_index.min()} to "
                f"{self._volume_index.max()}; expected indices of the "
                f"{len(self.volumes)} volumes"
            )
        heights = np.array([volume.n_slices for volume in self.volumes])[self._volume_index]
        if wrong := np.flatnonzero((self.z < 0) | (self.z >= heights)).tolist():
            volume = self.volumes[self._volume_index[wrong[0]]]
            raise ValueError(
                f"z = {self.z[wrong[0]]} is not a slice of volume {volume.name!r}; "
                f"expected an index below {volume.n_slices}"
            )

    @classmethod
    def from_volumes(cls, volumes: Sequence[Volume]) -> "SliceStack":
        """Make a stack of all slices of the volumes, in order.

        Parameters
        ----------
        volumes : sequence of Volume
            Volumes with the same contrasts and unique names.

        Returns
        -------
        SliceStack
            All their slices.
        """
        heights = [volume.n_slices for volume in volumes]
        z = [z for height in heights for z in range(height)]
        return cls(volumes, np.repeat(np.arange(len(heights)), heights), z)

    # -- what is known without reading ---------------------------------------------------

    def __len__(self) -> int:
        return len(self.z)

    @cached_property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape (n_slices, n_contrasts, H, W)."""
        first = self.volumes[0]
        for volume in self.volumes:
            if volume.grid.shape != first.grid.shape:
                raise ValueError(
                    f"slices of volume {volume.name!r} are {volume.grid.shape}, those of "
                    f"{first.name!r} {first.grid.shape} (H, W): resize them with "
                    "skadm.preprocessing.SliceResizer().fit_transform(stack)"
                )
        return (len(self), len(first.contrasts), *first.grid.shape)

    @property
    def ndim(self) -> int:
        """Number of dimensions, 4."""
        return 4

    @property
    def dtype(self) -> np.dtype:
        """Type of the images, float32."""
        return np.dtype(np.float32)

    @property
    def contrasts(self) -> tuple[str, ...]:
        """Names of the contrasts."""
        return self.volumes[0].contrasts

    @property
    def has_labels(self) -> bool:
        """Whether the slices are labelled."""
        return self.volumes[0].has_labels

    @cached_property
    def groups(self) -> NDArray[np.str_]:
        """Patient of each slice, shape (n_slices,); the ``groups`` of GroupKFold."""
        return self._of_slices([volume.patient for volume in self.volumes])

    @cached_property
    def sessions(self) -> NDArray[np.str_]:
        """Session of each slice, shape (n_slices,); "" if unknown."""
        return self._of_slices([volume.session for volume in self.volumes])

    @cached_property
    def volume_ids(self) -> NDArray[np.str_]:
        """Name of the volume of each slice, shape (n_slices,)."""
        return self._of_slices([volume.name for volume in self.volumes])

    @cached_property
    def affines(self) -> NDArray[np.float64]:
        """Affine of the volume of each slice, shape (n_slices, 4, 4)."""
        return self._of_slices([volume.grid.affine for volume in self.volumes])

    @cached_property
    def voxel_sizes(self) -> NDArray[np.float64]:
        """Voxel size in mm along W, H and z of each slice, shape (n_slices, 3)."""
        return self._of_slices([volume.grid.voxel_size for volume in self.volumes])

    def _of_slices(self, values: list[Any]) -> NDArray:
        """Return the value of each slice's volume, read-only: the stack keeps it."""
        array = np.array(values)[self._volume_index]
        array.flags.writeable = False
        return array

    def __getstate__(self) -> dict[str, Any]:
        # Without cached properties.
        kept = ("volumes", "_volume_index", "z", "record")
        return {name: vars(self)[name] for name in kept}

    def __repr__(self) -> str:
        labelled = "labelled" if self.has_labels else "unlabelled"
        patients = len({volume.patient for volume in self.volumes})
        return (
            f"<SliceStack: {len(self)} slices of {len(self.volumes)} volumes, {patients} "
            f"patients; {', '.join(self.contrasts)}; {labelled}>"
        )

    def _repr_html_(self) -> str:
        return stack_html(self)

    # -- selecting -----------------------------------------------------------------------

    def __getitem__(self, key: Any) -> Any:
        # scikit-learn writes X[key, ...] for arrays.
        if isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis:
            key = key[0]
        if isinstance(key, tuple):
            raise IndexError(
                "a SliceStack is indexed along slices only; use stack.X for an array"
            )
        selected = np.arange(len(self))[key]
        if selected.ndim == 0:
            volume = self.volumes[self._volume_index[selected]]
            return volume.decode(labels=False).images[self.z[selected]].copy()
        if selected.ndim != 1:
            raise IndexError(f"the index has {selected.ndim} dimensions; expected one")
        # Drop unused volumes to keep the pickle small.
        used, volume_index = np.unique(self._volume_index[selected], return_inverse=True)
        volumes = [self.volumes[index] for index in used] or self.volumes[:1]
        return SliceStack(volumes, volume_index, self.z[selected])

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Yield slices (n_contrasts, H, W); consecutive slices share one decoding."""
        for part in self.chunks(labels=False):
            yield from part.images

    # -- reading -------------------------------------------------------------------------

    def volume_places(self) -> Iterator[tuple[Volume, NDArray[np.intp]]]:
        """Iterate over the volumes and the places of their slices in the stack.

        Yields
        ------
        volume : Volume
            The volume, in the order of `volumes`.
        places : ndarray of int, shape (n,)
            Places of its slices in the stack, ascending; may be empty.
        """
        order = np.argsort(self._volume_index, kind="stable")
        counts = np.bincount(self._volume_index, minlength=len(self.volumes))
        yield from zip(self.volumes, np.split(order, np.cumsum(counts)[:-1]))

    def by_volume(self) -> Iterator[tuple[NDArray[np.intp], "SliceStack"]]:
        """Split the stack into its volumes; nothing is read.

        Yields
        ------
        places : ndarray of int, shape (n,)
            Places in the stack of the slices of one volume, in ascending z.
        stack : SliceStack
            These slices. Volumes are in the order of first appearance.
        """
        shown = [places for _, places in self.volume_places() if places.size]
        for places in sorted(shown, key=lambda places: places[0]):
            places = places[np.argsort(self.z[places], kind="stable")]
            yield places, self[places]

    def chunks(self, max_bytes: int = 2**28, *, labels: bool = True) -> Iterator[Slices]:
        """Read the slices in the order of the stack, at most one volume at a time.

        Consecutive slices of one volume are decoded once. At most one volume and one
        chunk are in memory, besides recently decoded files (see `NiftiVolume`).

        Parameters
        ----------
        max_bytes : int, default=2**28
            Maximum size of the images of a chunk; a larger slice forms its own chunk.
        labels : bool, default=True
            Whether to read labels, if there are any.

        Yields
        ------
        slices : Slices
            Consecutive slices of one volume. Their arrays may be modified. Volumes may
            differ in slice size.
        """
        new = np.flatnonzero(np.diff(self._volume_index, prepend=-1))
        for run in np.split(np.arange(len(self)), new[1:]) if len(self) else []:
            volume = self.volumes[self._volume_index[run[0]]]
            slice_bytes = 4 * len(self.contrasts) * math.prod(volume.grid.shape)
            step = max(1, int(max_bytes) // slice_bytes)
            whole = volume.decode(labels=labels)
            for start in range(0, len(run), step):
                places = run[start : start + step]
                z = self.z[places]
                yield whole._replace(
                    images=whole.images[z],
                    brain=whole.brain[z],
                    labels=None if whole.labels is None else whole.labels[z],
                    z=z,
                    places=places,
                )

    def normal(self) -> "SliceStack":
        """Select the slices without anomalous pixels, volume by volume.

        ``detector.fit(stack.normal())`` trains on the same slices as
        ``detector.fit(stack, stack.y)``, but does not load all labels into memory.

        Returns
        -------
        SliceStack
            The normal slices, in the order of the stack.

        Raises
        ------
        ValueError
            If the stack is unlabelled, or no slice is normal.
        """
        if not self.has_labels:
            raise ValueError(
                "the stack has no labels; expected labels that mark the normal slices. "
                "Read it with its masks"
            )
        normal = np.zeros(len(self), dtype=bool)
        for volume, places in self.volume_places():
            if places.size:
                labels: Any = volume.decode().labels
                anomalous = np.array([(mask == 1).any() for mask in labels])
                normal[places] = ~anomalous[self.z[places]]
        if not normal.any():
            raise ValueError(
                f"no normal slice: each of the {len(self)} slices contains anomalous pixels"
            )
        return self[normal]

    def without_labels(self) -> "SliceStack":
        """Remove the labels.

        Returns
        -------
        SliceStack
            The same slices, unlabelled; nothing is read.
        """
        return self._with([volume.changed(labelled=False) for volume in self.volumes])

    def _with(self, volumes: Sequence[Volume]) -> "SliceStack":
        """The same slices of other volumes."""
        return SliceStack(volumes, self._volume_index, self.z)

    # Labels may be None. The type is `| Any`, so that programs whose data have labels pass
    # a type checker without a check for None.
    def load(self) -> tuple[NDArray[np.float32], NDArray[np.int8] | Any]:
        """Read images and labels in one pass.

        Returns
        -------
        X : ndarray of float32, shape (n_slices, n_contrasts, H, W)
            Images; background is exactly 0.
        y : ndarray of int8, shape (n_slices, H, W), or None
            0 normal, 1 anomaly, -1 outside the brain; an anomaly outside the brain stays 1.
            None for an unlabelled stack.

        Raises
        ------
        ValueError
            If the volumes differ in slice size, or a file cannot be decoded.
        """
        X, y = self._gathered("images", "labels")
        return X, y

    @property
    def X(self) -> NDArray[np.float32]:
        """Images, shape (n_slices, n_contrasts, H, W); reads every volume."""
        return self._gathered("images")[0]

    @property
    def y(self) -> NDArray[np.int8] | Any:
        """Labels, shape (n_slices, H, W), or None; reads every volume, as `load` does."""
        return self._gathered("labels")[0]

    @property
    def brain(self) -> NDArray[np.bool_]:
        """The brain, shape (n_slices, H, W); reads every volume."""
        return self._gathered("brain")[0]

    def _gathered(self, *kinds: str) -> list[Any]:
        """Return arrays of all slices for the given fields of `Slices`."""
        n, contrasts, *size = self.shape
        arrays: dict[str, NDArray] = {}
        for kind in kinds:
            if kind == "images":
                arrays[kind] = np.empty((n, contrasts, *size), np.float32)
            elif kind == "brain" or self.has_labels:
                arrays[kind] = np.empty((n, *size), bool if kind == "brain" else np.int8)
        for volume, places in self.volume_places() if arrays else ():
            if places.size:
                slices = volume.decode(labels="labels" in arrays)
                for kind, array in arrays.items():
                    _copy_slices(getattr(slices, kind), self.z[places], array, places)
        return [arrays.get(kind) for kind in kinds]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        if copy is False:
            raise ValueError(
                "a SliceStack is read into a new array; copy=False is not supported"
            )
        X = self.X
        return X if dtype is None else X.astype(dtype, copy=False)

    def in_memory(self) -> "SliceStack":
        """Read everything once.

        Returns
        -------
        SliceStack
            The same slices, with volumes in memory. `write_maps` still writes maps on the
            grid of the files.
        """
        return self._with([volume.in_memory() for volume in self.volumes])

    def cache(
        self,
        folder: str | PathLike[str],
        *,
        n_jobs: int | None = None,
        force: bool = False,
    ) -> "SliceStack":
        """Cache the preprocessed volumes on disk and memory-map them.

        The cache is built once, volume by volume; an interrupted build resumes. Later
        calls only open it. Slices are then read individually, in any order, without
        decoding a volume.

        Parameters
        ----------
        folder : path
            Folder of the cache; created if it does not exist. It must be empty or hold a
            cache.
        n_jobs : int, default=None
            Number of volumes prepared in parallel, as in joblib.
        force : bool, default=False
            Whether to rebuild an existing cache.

        Returns
        -------
        SliceStack
            The same slices of the cached volumes. It pickles as paths, and `write_maps`
            still writes maps on the grid of the files.

        Raises
        ------
        ValueError
            If the folder holds a cache of other data (other or changed files, other
            steps) or a cache file is damaged.
        FileExistsError
            If the folder holds files but no cache.
        OSError
            If the disk is full; finished volumes are kept.
        """
        return self._with(
            cached_volumes(self.volumes, Path(folder), n_jobs=n_jobs, force=force)
        )

    def map(self, step: VolumeStep) -> "SliceStack":
        """Apply a step to every volume, lazily.

        Parameters
        ----------
        step : VolumeStep
            The step. It is applied to whole volumes, even if the stack holds only some
            slices.

        Returns
        -------
        SliceStack
            The same slices of the changed volumes; nothing is read yet.
        """
        return self._with(
            [volume.changed(steps=(*volume.steps, step)) for volume in self.volumes]
        )

    def verify(self) -> None:
        """Decode every volume once, to find damaged files before a long run.

        Raises
        ------
        ValueError
            If a volume cannot be read; the message lists all of them.
        """
        problems = []
        for volume in self.volumes:
            try:
                volume.decode()
            except (ValueError, OSError) as error:
                problems.append(str(error))
        if problems:
            raise ValueError("\n".join(problems))


def _copy_slices(source: Any, z: NDArray[np.intp], out: NDArray, places: NDArray) -> None:
    """Copy ``source[z]`` to ``out[places]``; ``places`` ascend."""
    first, last = places[0], places[-1]
    if last - first + 1 == len(places):
        # Copy in place: the indices are valid, and mode "clip" needs no buffer.
        np.take(source, z, axis=0, out=out[first : last + 1], mode="clip")
    else:
        out[places] = source[z]
