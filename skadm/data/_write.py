"""Writing of maps as NIfTI files on the grid of the original images."""

from os import PathLike
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from skadm._arrays import as_numbers
from skadm.data._image_files import image_on, write_nifti
from skadm.data._interfaces import Grid
from skadm.data._names import require_file_name
from skadm.data._sources import ImageSource, Source
from skadm.data._stack import SliceStack
from skadm.data._volume import Volume

# Type of the written voxels by kind of the maps; other kinds are integers.
_TYPES = {"f": np.float32, "b": np.uint8}


def write_maps(
    maps: ArrayLike,
    stack: SliceStack,
    folder: str | PathLike[str],
    *,
    suffix: str = "_score",
    fill: float = 0,
    force: bool = False,
) -> list[Path]:
    """Write one NIfTI file per volume, on the grid and affine of its original files.

    Geometric steps of the stack (resizing, cropping) are inverted, with bilinear
    interpolation for floating-point maps and nearest-neighbour for others. Only brain
    pixels are interpolated, so background values do not leak into the brain.

    Parameters
    ----------
    maps : array-like of shape (n_slices, H, W)
        Score maps, predictions or labels for the slices of ``stack``.
    stack : SliceStack
        The slices. Their volumes are read to determine the brain.
    folder : path
        Output folder; created if it does not exist.
    suffix : str, default="_score"
        Files are named ``<volume><suffix>.nii.gz``.
    fill : float, default=0
        Value outside the brain of the original images and in slices not in the stack.
    force : bool, default=False
        Whether to overwrite existing files.

    Returns
    -------
    list of Path
        The written files, in the order of the stack's volumes: float32 for floating-point
        maps, uint8 for boolean ones, int32 for other integers.

    Raises
    ------
    FileExistsError
        If a file exists and ``force`` is False; nothing is written.
    ValueError
        If the maps do not match the stack or are not finite, the stack holds a slice
        twice, or a name cannot be a file name.
    """
    array = _check_maps(maps, stack)
    _require_distinct_slices(stack)
    folder = Path(folder).expanduser()
    paths = {
        volume.name: folder / f"{volume.name}{suffix}.nii.gz" for volume in stack.volumes
    }
    for name, path in paths.items():
        require_file_name(name + suffix, "maps to be written")
        if path.exists() and not force:
            raise FileExistsError(f"{path} exists; pass force=True to replace it")
    folder.mkdir(parents=True, exist_ok=True)
    for volume, places in stack.volume_places():
        of_volume = array[places].astype(_TYPES.get(array.dtype.kind, np.int32), copy=False)
        voxels = on_original_grid(of_volume, stack.z[places], volume, fill)
        write_nifti(paths[volume.name], _image(voxels, volume.first))
    return list(paths.values())


def _check_maps(maps: ArrayLike, stack: SliceStack) -> NDArray:
    array = as_numbers(maps, "maps")
    n, _, height, width = stack.shape
    if array.shape != (n, height, width):
        raise ValueError(
            f"maps have shape {array.shape}; expected {(n, height, width)}, the shape of "
            "the stack's slices"
        )
    # Volume by volume: maps on disk may be larger than memory.
    for volume, places in stack.volume_places():
        if not np.isfinite(array[places]).all():
            raise ValueError(f"maps of volume {volume.name!r} hold NaN or infinite values")
    return array


def _require_distinct_slices(stack: SliceStack) -> None:
    for volume, places in stack.volume_places():
        z, counts = np.unique(stack.z[places], return_counts=True)
        if (counts > 1).any():
            raise ValueError(
                f"the stack holds slice {z[counts > 1][0]} of volume {volume.name!r} "
                "twice; expected distinct slices"
            )


def on_original_grid(maps: NDArray, z: NDArray, volume: Volume, fill: float) -> NDArray:
    """Resample maps of a volume to the grid of its original images, as `write_maps` does.

    The maps (n, H, W) belong to the slices `z`; floating-point maps use bilinear
    interpolation, others nearest-neighbour. The volume is read to determine the brain.
    `fill` is the value outside the brain of the original images and in slices not in `z`.
    """
    slices, original_brain = volume.changed(labelled=False).decode_with_origin()
    out = np.full(original_brain.shape, fill, dtype=maps.dtype)
    if _same_grid(volume.grid, volume.first.grid):
        out[z] = np.where(original_brain[z], maps, out[z])
        return out
    brain = slices.brain[z]
    # A very small brain can vanish in resizing: such slices stay empty.
    kept = brain.any(axis=(1, 2))
    if not kept.any():
        return out
    z = z[kept]
    extended = np.stack([_extend(m, b) for m, b in zip(maps[kept], brain[kept])])
    out[z] = np.where(original_brain[z], volume.invert(extended), out[z])
    return out


def _same_grid(a: Grid, b: Grid) -> bool:
    return a.shape == b.shape and np.array_equal(a.affine, b.affine)


def _extend(values: NDArray, brain: NDArray[np.bool_]) -> NDArray:
    """Fill every background pixel with the value of the nearest brain pixel."""
    rows, columns = ndimage.distance_transform_edt(
        ~brain, return_distances=False, return_indices=True
    )
    return values[rows, columns]


def _image(voxels: NDArray, source: Source) -> nib.Nifti1Image:
    """Return an image of slices (n_z, H, W) in the orientation of the file."""
    if isinstance(source, ImageSource):
        return source.header.image_of(voxels)
    return image_on(source.grid.affine, voxels)
