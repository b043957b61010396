"""Reading single NIfTI files, with errors that name the file."""

import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.nifti1 import Nifti1Extensions
from numpy.typing import NDArray

from skadm._files import replace_atomically, require_file
from skadm.data._gzip import compress, decompress

_AFFINE_TOLERANCE = 1e-3
# Labels that were stored scaled are whole numbers up to rounding.
_WHOLE = 1e-3
_GEOMETRY = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
)
# To how many bytes one of a compressed file can expand: a bound of the format.
_MOST_EXPANSION = {".gz": 1032, ".bz2": math.inf, ".zst": math.inf}


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """What the header of a three-dimensional NIfTI file says.

    Parameters
    ----------
    path : Path
        The file.
    shape : tuple of int
        Size along the three voxel axes.
    affine : ndarray of float64, shape (4, 4)
        From voxel indices to mm.
    """

    path: Path
    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    def require_same_grid(self, other: "NiftiHeader") -> None:
        """Raise a ValueError unless the other file lies on the same grid.

        Parameters
        ----------
        other : NiftiHeader
            Header of the other file.
        """
        if other.shape != self.shape:
            raise ValueError(
                f"{other.path} has shape {other.shape}, but {self.path} has {self.shape}: "
                "the files of a patient must be co-registered and resampled to one grid "
                "(skadm prepare does it)"
            )
        difference = float(np.abs(other.affine - self.affine).max())
        if difference > _AFFINE_TOLERANCE:
            raise ValueError(
                f"{other.path} and {self.path} have different affines (by up to "
                f"{difference:.3g} mm): the files of a patient must be co-registered and "
                "resampled to one grid (skadm prepare does it)"
            )


class _NoExtensions(Nifti1Extensions):
    """Extensions are left unread: nobody needs them, and their length may be any."""

    @classmethod
    def from_fileobj(cls, *_: Any) -> "_NoExtensions":
        return cls()


def _without_extensions(kind: Any) -> Any:
    header = kind.header_class
    header = type(header.__name__, (header,), {"exts_klass": _NoExtensions})
    return type(kind.__name__, (kind,), {"header_class": header})


_NIFTI = [
    _without_extensions(kind)
    for kind in (nib.Nifti1Pair, nib.Nifti1Image, nib.Nifti2Pair, nib.Nifti2Image)
]


def _open(path: Path) -> Any:
    """Read a header, and check that the file can hold what it promises."""
    require_file(path)
    path.open("rb").close()  # says so where reading is not allowed
    try:
        kind = _kind_of(path)
        image = kind.from_filename(path) if kind in _NIFTI else None
    except Exception as error:  # a header is bytes of any origin: anything may happen
        raise ValueError(
            f"{path}: not a readable NIfTI file ({error}); fetch it again"
        ) from error
    if image is None:
        raise ValueError(
            f"{path}: a {kind.__name__}, not a NIfTI file; convert it to .nii.gz"
        )
    _require_room(path, image)
    return image


def _kind_of(path: Path) -> Any:
    """Which kind of image a file holds, as nibabel tells by its first bytes."""
    sniff = None
    for kind in (*_NIFTI, *nib.imageclasses.all_image_classes):
        fits, sniff = kind.path_maybe_image(path, sniff)
        if fits:
            return kind
    raise nib.filebasedimages.ImageFileError("its first bytes are of no known format")


def _require_room(path: Path, image: Any) -> None:
    """Refuse a header that promises more voxels than its file can hold."""
    shape, dtype = image.shape, image.get_data_dtype()
    if min(shape, default=1) < 0:
        raise ValueError(f"{path}: shape {shape}; repair the header")
    file = Path(image.file_map["image"].filename)
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file, but {path} is the header of it")
    size = file.stat().st_size
    most = size * _MOST_EXPANSION.get(file.suffix.lower(), 1)
    if _end_of_voxels(image) > most:
        raise ValueError(
            f"{path}: its header promises {shape} voxels of {dtype}, but a file of {size} "
            "bytes cannot hold them, it is truncated or damaged; fetch it again"
        )


def inspect(path: Path) -> NiftiHeader:
    """Read and check the header of a file.

    Parameters
    ----------
    path : Path
        A .nii or .nii.gz file.

    Returns
    -------
    NiftiHeader
        Shape and affine.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a NIfTI file of a three-dimensional scalar image.
    """
    image = _open(path)
    if len(image.shape) != 3 or 0 in image.shape:
        raise ValueError(
            f"{path}: shape {image.shape}; expected a three-dimensional volume: save each "
            "contrast (and time point) as a file of its own"
        )
    if image.get_data_dtype().kind not in "iuf":
        raise ValueError(
            f"{path}: voxels of type {image.get_data_dtype()}; expected real numbers"
        )
    if not np.isfinite(image.affine).all() or np.linalg.det(image.affine[:3, :3]) == 0:
        raise ValueError(f"{path}: its affine is singular or not finite; repair the header")
    return NiftiHeader(path, image.shape, image.affine)


def _end_of_voxels(image: Any) -> int:
    """Where the last voxel ends in an uncompressed file, in bytes."""
    n_bytes = math.prod(image.shape) * image.get_data_dtype().itemsize
    return image.dataobj.offset + n_bytes


def geometry(path: Path) -> dict[str, Any]:
    """Read the fields of a header that say where its voxels lie.

    Parameters
    ----------
    path : Path
        A file that `inspect` accepts.

    Returns
    -------
    dict of str to value
        By the names of NIfTI. Nothing else of a header, which may also name the patient.
    """
    header = _open(path).header
    return {field: header[field] for field in _GEOMETRY}


def read_slices(path: Path) -> NDArray:
    """Decode a file into slices.

    Parameters
    ----------
    path : Path
        A file that `inspect` accepts.

    Returns
    -------
    ndarray of shape (n_slices, H, W)
        The voxels, with scaling applied, in the file's own type or float32.

    Raises
    ------
    ValueError
        If the file is truncated or broken, or holds NaN or infinite voxels.
    """
    image = _open(path)
    try:
        if path.suffix.lower() == ".gz" and isinstance(image, nib.Nifti1Image):
            data = path.read_bytes()
            # In one call: as a stream, through Python, it takes more than twice as long.
            # A file that says it holds more than the voxels is not taken at its word.
            if int.from_bytes(data[-4:], "little") == _end_of_voxels(image):
                image = type(image).from_bytes(decompress(data))
        voxels = np.asanyarray(image.dataobj)
    except MemoryError as error:
        raise MemoryError(
            f"{path}: no memory for {image.shape} voxels of {image.get_data_dtype()}"
        ) from error
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(
            f"{path}: its voxels cannot be read, the file is truncated or damaged "
            f"({error}); fetch it again"
        ) from error
    if voxels.dtype.kind == "f":
        with np.errstate(over="ignore"):
            voxels = voxels.astype(np.float32, copy=False)
        if not np.isfinite(voxels).all():
            raise ValueError(
                f"{path}: holds NaN or infinite voxels; replace them (background is 0)"
            )
    # NIfTI stores the first axis fastest: the transpose is contiguous, nothing is copied.
    return voxels.T


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Decode a mask: any label greater than 0 is an anomaly.

    Parameters
    ----------
    path : Path
        A file that `inspect` accepts.

    Returns
    -------
    ndarray of bool, shape (n_slices, H, W)
        True on an anomaly.

    Raises
    ------
    ValueError
        If it holds anything but whole numbers from 0.
    """
    labels = read_slices(path)
    wrong = labels[(labels < 0) | (np.abs(labels - np.rint(labels)) > _WHOLE)]
    if wrong.size:
        raise ValueError(
            f"{path}: a mask with values such as {wrong[0]:g}; expected whole numbers: 0 "
            "where all is normal, above it an anomaly"
        )
    return labels > 0


def write_volume(path: Path, voxels: NDArray, affine: NDArray[np.float64]) -> None:
    """Write slices as a NIfTI file, whose two forms of geometry are the same.

    Parameters
    ----------
    path : Path
        A .nii.gz file.
    voxels : ndarray of shape (n_slices, H, W)
        The voxels, in the type that they are stored as.
    affine : ndarray of shape (4, 4)
        From voxel indices, in the order of the file, to mm.
    """
    image = nib.Nifti1Image(voxels.T, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    data = compress(image.to_bytes())
    replace_atomically(path, lambda temporary: temporary.write_bytes(data))
