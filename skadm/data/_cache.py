"""A cache of volumes on disk, mapped into memory instead of decoded.

A folder holds ``index.json``, which describes the source of each volume, and plain .npy
files with the images, brain and labels of each volume and the brain of its original
images. File names contain a digest of the index entry, so a file that exists is complete
and up to date.
"""

import errno
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed

from skadm._files import write_text
from skadm._version import __version__
from skadm.data._fingerprint import describe, digest, first_difference
from skadm.data._interfaces import Slices
from skadm.data._sources import Source, pack
from skadm.data._stored import StoredArray
from skadm.data._volume import Volume

_INDEX = "index.json"
_FORMAT = 3
_TYPES = {
    kind: np.dtype(name)
    for kind, name in (
        ("images", "<f4"),
        ("brain", "?"),
        ("labels", "i1"),
        ("first_brain", "u1"),
    )
}
_ARRAY = re.compile(rf"(?P<stem>.+-[0-9a-f]{{16}})\.({'|'.join(_TYPES)})\.npy")
_TEMPORARY = re.compile(r"\.\d+\.(index\.json|.+-[0-9a-f]{16}\..+\.npy)")


@dataclass(frozen=True, eq=False, kw_only=True)
class CacheSource(Source):
    """A volume of a cache.

    Its arrays are memory-mapped: only the slices accessed are read from disk. It pickles
    as paths.
    """

    stem: str  # path prefix of its files

    def stored(self, kind: str, shape: tuple[int, ...]) -> StoredArray:
        """Return the file for a kind of array, with the given shape per slice."""
        path = Path(f"{self.stem}.{kind}.npy")
        return StoredArray(path, (self.n_slices, *shape), _TYPES[kind])

    @property
    def arrays(self) -> dict[str, StoredArray]:
        """The files of what `decode` returns."""
        shape = self.grid.shape
        shapes: dict[str, tuple[int, ...]] = {
            "images": (len(self.contrasts), *shape),
            "brain": shape,
        }
        if self.has_labels:
            shapes["labels"] = shape
        return {kind: self.stored(kind, shape) for kind, shape in shapes.items()}

    def decode(self, labels: bool) -> Slices:
        """Map the arrays read-only; raise an error if a file is missing or damaged."""
        arrays = self.arrays
        return Slices(
            arrays["images"].map(),
            arrays["brain"].map(),
            arrays["labels"].map() if labels and self.has_labels else None,
        )


def cached_volumes(
    volumes: Sequence[Volume], folder: Path, *, n_jobs: int | None, force: bool
) -> list[Volume]:
    """Open the cache of volumes, after building what is missing; see `SliceStack.cache`."""
    folder = folder.expanduser().absolute()
    sources = {volume.name: describe(volume) for volume in volumes}
    if _is_new(folder) or force:
        folder.mkdir(parents=True, exist_ok=True)
        index: dict[str, Any] = {"format": _FORMAT, "skadm": __version__}
        index["volumes"] = sources
        write_text(folder / _INDEX, json.dumps(index, indent=1))
        _remove_others(folder, keep=())
    else:
        index = _read_index(folder)
        _require_same(index, sources, folder)
    cached = [
        _cached(volume, str(folder / _stem(volume.name, sources[volume.name])))
        for volume in volumes
    ]
    jobs = [
        (volume, missing)
        for volume, target in zip(volumes, cached)
        if (missing := {k: a for k, a in _files(target).items() if not a.exists()})
    ]
    if jobs:
        _require_room(folder, [array for _, missing in jobs for array in missing.values()])
        Parallel(n_jobs=n_jobs)(delayed(_build)(*job) for job in jobs)
        _remove_others(folder, keep=[_stem(*item) for item in index["volumes"].items()])
    return cached


def _cached(volume: Volume, stem: str) -> Volume:
    known = {field.name: getattr(volume, field.name) for field in fields(Source)}
    source = CacheSource(**known, stem=stem)
    height, width = volume.first.grid.shape
    # One bit per pixel.
    brain = source.stored("first_brain", (height, -(-width // 8)))
    return Volume(source, origin=volume.origin_of_next(brain))


def _files(cached: Volume) -> dict[str, StoredArray]:
    """The files of a cached volume, by their kind."""
    assert isinstance(cached.source, CacheSource)
    assert cached.origin is not None
    return {**cached.source.arrays, "first_brain": cached.origin.brain}


def _build(volume: Volume, missing: dict[str, StoredArray]) -> None:
    slices, brain = volume.decode_with_origin()
    arrays: dict[str, Any] = {**slices._asdict(), "first_brain": pack(brain)}
    for kind, stored in missing.items():
        stored.write(arrays[kind])


def _stem(name: str, source: Any) -> str:
    """Return the file name of a volume: its name and a digest of its source."""
    # Not hidden: hidden files are still being written.
    readable = re.sub(r"[^\w.-]+", "_", name)[:80].lstrip(".")
    return f"{readable}-{digest([_FORMAT, __version__, name, source])}"


def _is_new(folder: Path) -> bool:
    """Whether the folder can take a new cache; False if it holds one."""
    if not folder.exists():
        return True
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; expected a folder for the cache")
    if (folder / _INDEX).exists():
        return False
    for path in folder.iterdir():
        if not _TEMPORARY.fullmatch(path.name):
            raise FileExistsError(
                f"{folder} holds {path.name}, but no cache; expected an empty folder"
            )
    return True


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / _INDEX
    try:
        index = json.loads(path.read_text())
        return {key: index[key] for key in ("format", "skadm", "volumes")}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged or not a cache index ({error}); pass force=True to "
            "rebuild the cache"
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
            f"{folder} holds a cache of other data: {difference}. Pass another folder, "
            "or force=True to rebuild the cache"
        )


def _require_room(folder: Path, arrays: Sequence[StoredArray]) -> None:
    """Check free disk space before the work starts."""
    needed, free = sum(array.n_bytes for array in arrays), shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            errno.ENOSPC,
            f"the cache needs another {needed / 2**30:.1f} GiB, but the disk has "
            f"{free / 2**30:.1f} GiB free",
            str(folder),
        )


def _remove_others(folder: Path, keep: Sequence[str]) -> None:
    """Remove stale arrays and files left by killed processes."""
    for path in folder.iterdir():
        stored = _ARRAY.fullmatch(path.name)
        if _TEMPORARY.fullmatch(path.name) or (stored and stored["stem"] not in keep):
            path.unlink(missing_ok=True)
