"""A cache of volumes on disk, mapped into memory instead of decoded.

A folder holds ``index.json``, which says what each volume was made from, and for each of
them its images, labels and the brain of its origin as plain .npy files. Their names hold a
digest of what the index says: a file that is there is complete, and is what its name says.
"""

import errno
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from skadm._files import replace_atomically
from skadm._version import __version__
from skadm.data._fingerprint import describe, digest, first_difference
from skadm.data._interfaces import Volume
from skadm.data._stored import StoredArray
from skadm.data._volumes import ArrayVolume, MappedVolume, _GridAttributes, unpack

_INDEX = "index.json"
_FORMAT = 2
_TYPES = {
    kind: np.dtype(name)
    for kind, name in (("images", "<f4"), ("labels", "i1"), ("brain", "u1"))
}
_ARRAY = re.compile(r"(?P<stem>.+-[0-9a-f]{16})\.(images|labels|brain)\.npy")
_TEMPORARY = re.compile(r"\.\d+\.(index\.json|.+-[0-9a-f]{16}\..+\.npy)")


class CachedVolume(_GridAttributes):
    """A volume of a cache; made by `SliceStack.cache`.

    Its arrays are mapped, not read: of an array that `read` returns, only the slices that
    are looked at come from the disk. It pickles as paths.

    Parameters
    ----------
    volume : volume
        What is cached. Of a volume in memory only the grid is kept.
    stem : str
        Beginning of the paths of its files.
    """

    def __init__(self, volume: Volume, stem: str) -> None:
        self.patient, self.name = volume.patient, volume.name
        self.session = volume.session
        self.contrasts, self.n_slices = volume.contrasts, volume.n_slices
        self.grid = volume.grid
        self.has_labels = volume.has_labels
        self.source = _without_arrays(volume)
        self.stem = stem

    @property
    def arrays(self) -> dict[str, StoredArray]:
        """The files: ``images``, ``labels`` if there are any, ``brain`` of the origin."""
        height, width = self.source.origin.grid.shape
        n, shape = self.n_slices, self.grid.shape
        shapes = {
            "images": (n, len(self.contrasts), *shape),
            "labels": (n, *shape),
            # A bit for each pixel.
            "brain": (n, height, -(-width // 8)),
        }
        if not self.has_labels:
            del shapes["labels"]
        return {
            kind: StoredArray(Path(f"{self.stem}.{kind}.npy"), shape, _TYPES[kind])
            for kind, shape in shapes.items()
        }

    @property
    def origin(self) -> Volume:
        """The volume on the grid it was first given on."""
        return self.source.origin

    def read(self) -> tuple[NDArray[np.float32], NDArray[np.int8] | None]:
        """Map the images and labels (read-only).

        Returns
        -------
        images : ndarray of float32, shape (n_slices, n_contrasts, H, W)
            Images.
        labels : ndarray of int8, shape (n_slices, H, W), or None
            Labels, -1 outside the brain.

        Raises
        ------
        FileNotFoundError
            If a file of the cache is missing.
        ValueError
            If it is damaged.
        """
        arrays = self.arrays
        labels = arrays["labels"].map() if self.has_labels else None
        return arrays["images"].map(), labels

    def read_with_origin_brain(
        self,
    ) -> tuple[NDArray[np.float32], NDArray[np.int8] | None, NDArray[np.bool_]]:
        """Map the images and labels, and read the brain on the grid of `origin`.

        Returns
        -------
        images : ndarray of float32, shape (n_slices, n_contrasts, H, W)
            Images.
        labels : ndarray of int8, shape (n_slices, H, W), or None
            Labels, -1 outside the brain.
        origin_brain : ndarray of bool, shape (n_slices, H', W')
            The brain on the grid of `origin`.
        """
        return *self.read(), unpack(self.arrays["brain"].map(), self.origin.grid)

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
        return self.source.invert(maps)


class _Outline(_GridAttributes):
    """What is left of a volume in memory when its arrays are cached: the grid."""

    def __init__(self, volume: Volume) -> None:
        self.patient, self.name = volume.patient, volume.name
        self.session = volume.session
        self.contrasts, self.n_slices = volume.contrasts, volume.n_slices
        self.grid, self.has_labels = volume.grid, volume.has_labels

    @property
    def origin(self) -> "_Outline":
        return self

    def read(self) -> Any:
        raise ValueError(
            f"volume {self.name!r}: it was in memory, and only its cached form is left"
        )

    read_with_origin_brain = read

    def invert(self, maps: NDArray) -> NDArray:
        return maps


def _without_arrays(volume: Any) -> Any:
    """Return what finds the way back to the origin's grid, and pickles small."""
    if isinstance(volume, MappedVolume):
        return MappedVolume(_without_arrays(volume.source), volume.step)
    if isinstance(volume, ArrayVolume):
        if volume.source is None:
            return _Outline(volume)
        return _without_arrays(volume.source)
    return volume


def cached_volumes(
    volumes: Sequence[Volume], folder: Path, *, n_jobs: int | None, force: bool
) -> list[CachedVolume]:
    """Open the cache of volumes, after building what is missing; see `SliceStack.cache`.

    Parameters
    ----------
    volumes : sequence of volumes
        Volumes with unique names.
    folder : path
        Folder of the cache.
    n_jobs : int or None
        Volumes prepared at a time.
    force : bool
        Whether to build anew.

    Returns
    -------
    list of CachedVolume
        The volumes, in their order.
    """
    folder = folder.expanduser().absolute()
    sources = {volume.name: describe(volume) for volume in volumes}
    if _is_new(folder) or force:
        folder.mkdir(parents=True, exist_ok=True)
        index: dict[str, Any] = {"format": _FORMAT, "skadm": __version__}
        index["volumes"] = sources
        text = json.dumps(index, indent=1)
        replace_atomically(folder / _INDEX, lambda path: path.write_text(text))
        _remove_others(folder, keep=())
    else:
        index = _read_index(folder)
        _require_same(index, sources, folder)
    cached = [
        CachedVolume(volume, str(folder / _stem(volume.name, sources[volume.name])))
        for volume in volumes
    ]
    jobs = [
        (volume, target, missing)
        for volume, target in zip(volumes, cached)
        if (missing := {k: a for k, a in target.arrays.items() if not a.exists()})
    ]
    if jobs:
        _require_room(folder, [array for *_, missing in jobs for array in missing.values()])
        Parallel(n_jobs=n_jobs)(delayed(_build)(*job) for job in jobs)
        _remove_others(folder, keep=[_stem(*item) for item in index["volumes"].items()])
    return cached


def _build(volume: Volume, target: CachedVolume, missing: dict[str, StoredArray]) -> None:
    images, labels, brain = volume.read_with_origin_brain()
    arrays: dict[str, Any] = {"images": images, "labels": labels}
    arrays["brain"] = np.packbits(brain, axis=-1)
    for kind, stored in missing.items():
        stored.write(arrays[kind])


def _stem(name: str, source: Any) -> str:
    """Name the files of a volume after it and all that it was made from."""
    # Not hidden, as files that are being written are.
    readable = re.sub(r"[^\w.-]+", "_", name)[:80].lstrip(".")
    return f"{readable}-{digest([_FORMAT, __version__, name, source])}"


def _is_new(folder: Path) -> bool:
    """Whether a cache can be begun in the folder; False if it holds one."""
    if not folder.exists():
        return True
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; expected a folder for the cache")
    if (folder / _INDEX).exists():
        return False
    for path in folder.iterdir():
        if not _TEMPORARY.fullmatch(path.name):
            raise FileExistsError(
                f"{folder} holds {path.name} and no cache; give an empty folder"
            )
    return True


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / _INDEX
    try:
        index = json.loads(path.read_text())
        return {key: index[key] for key in ("format", "skadm", "volumes")}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: damaged, or not the index of a cache ({error}); force=True builds "
            "the cache again"
        ) from error


def _require_same(index: dict[str, Any], sources: dict[str, Any], folder: Path) -> None:
    known = index["volumes"]
    unknown = [name for name in sources if name not in known]
    difference = first_difference(
        [index["format"], index["skadm"]], [_FORMAT, __version__], "version"
    )
    if difference is None and unknown:
        difference = f"volume {unknown[0]!r} is not in it ({len(unknown)} are not)"
    if difference is None:
        difference = first_difference(
            {name: known[name] for name in sources}, sources, "volume"
        )
    if difference is not None:
        raise ValueError(
            f"{folder} holds a cache of something else: {difference}. Give another folder, "
            "or force=True to build the cache again"
        )


def _require_room(folder: Path, arrays: Sequence[StoredArray]) -> None:
    """Raise an OSError now rather than after hours."""
    needed, free = sum(array.n_bytes for array in arrays), shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            errno.ENOSPC,
            f"the cache needs {needed / 2**30:.1f} GiB more, and the disk has "
            f"{free / 2**30:.1f} GiB left",
            str(folder),
        )


def _remove_others(folder: Path, keep: Sequence[str]) -> None:
    """Remove arrays of no volume of the cache, and what killed processes began."""
    for path in folder.iterdir():
        stored = _ARRAY.fullmatch(path.name)
        if _TEMPORARY.fullmatch(path.name) or (stored and stored["stem"] not in keep):
            path.unlink(missing_ok=True)
