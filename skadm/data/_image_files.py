"""Reading single image files, in one orientation, with errors that name the file."""

import gzip
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
from skadm.data import _itk_files
from skadm.data._gzip import compress, decompress, is_gzip
from skadm.data._masks import ALL_LABELS, MaskValues
from skadm.data._orientation import Orientation, axis_codes, spans_space

# Rounding tolerance between headers of one grid, at the corners, as a fraction of the
# shortest voxel side.
_GRID_TOLERANCE = 0.02
# Minimum cosine between the axes of qform and sform: below it they are different axes,
# not the same ones after a registration.
_SAME_AXIS = 0.5
_GEOMETRY = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
)
# Upper bound on the expansion of a compressed byte, set by the format.
_MOST_EXPANSION = {".gz": 1032, ".bz2": math.inf, ".zst": math.inf}


@dataclass(frozen=True, eq=False)
class ImageHeader:
    """Geometry of a three-dimensional image.

    Shape and affine (from voxel indices to mm) are in the canonical orientation.
    """

    path: Path
    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    orientation: Orientation  # of the axes in the file
    file_affine: NDArray[np.float64]  # (4, 4), in the orientation of the file
    # Whether the header gives an orientation. If not, the axes are assumed to run to the
    # left, the front and the top.
    oriented: bool
    # A NIfTI header with the geometry of the file only, without e.g. the patient's name;
    # empty if the file is not NIfTI.
    geometry: bytes

    def image_of(self, voxels: NDArray) -> nib.Nifti1Image:
        """Make an image of axial slices (n_slices, H, W) with the geometry of the file."""
        voxels = self.orientation.from_canonical(voxels.T)
        if not self.geometry:
            return nib.Nifti1Image(voxels, self.file_affine)
        header = nib.Nifti1Header(self.geometry, check=False)
        header.set_data_dtype(voxels.dtype)
        return nib.Nifti1Image(voxels, None, header)

    def require_same_grid(self, other: "ImageHeader") -> None:
        """Raise a ValueError unless the other file lies on the same grid.

        Axes of the files may be permuted or flipped.
        """
        if other.shape != self.shape:
            raise ValueError(
                f"{other.path} has shape {other.shape}, but {self.path} has {self.shape} "
                "(as axial slices): the files of a patient must be co-registered and "
                "resampled to one grid (skadm prepare does it)"
            )
        corners = np.array(np.meshgrid(*((0, n - 1) for n in self.shape))).reshape(3, -1)
        difference = (other.affine - self.affine)[:3] @ np.vstack([corners, np.ones(8)])
        distance = float(np.linalg.norm(difference, axis=0).max())
        side = float(np.linalg.norm(self.affine[:3, :3], axis=0).min())
        if distance > _GRID_TOLERANCE * side:
            raise ValueError(
                f"{other.path} and {self.path} have different affines (corners up to "
                f"{distance:.3g} mm apart): the files of a patient must be co-registered "
                "and resampled to one grid (skadm prepare does it)"
            )


class _NoExtensions(Nifti1Extensions):
    """Skip NIfTI extensions: they are not used, and their length is not bounded."""

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
    """Read a NIfTI header and check the voxel count against the file size."""
    require_file(path)
    path.open("rb").close()  # raises if the file is not readable
    try:
        kind, image = _read_nifti_header(path)
    except Exception as error:  # an arbitrary header can raise anything
        raise ValueError(
            f"{path}: not a readable NIfTI file ({_problem(path, error)}); fetch it again"
        ) from error
    if image is None:
        raise ValueError(
            f"{path}: a {kind.__name__}; expected a NIfTI file, so convert it to .nii.gz"
        )
    _require_room(path, image)
    return image


def _problem(path: Path, error: Exception) -> str:
    beginning = path.read_bytes()[:40]
    if not beginning:
        return "it is empty"
    if beginning.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; run git lfs pull"
    return str(error)


def _read_nifti_header(path: Path) -> tuple[Any, Any]:
    """Return the image class of a file and, if it is NIfTI, its header with lazy voxels.

    The first bytes show whether it is compressed; the suffix may be wrong.
    """
    compressed = is_gzip(path)
    if compressed == (path.suffix.lower() == ".gz"):
        kind = _kind_of(path)
        return kind, kind.from_filename(path) if kind in _NIFTI else None
    # Stays open for reading the voxels.
    stream: Any = gzip.open(path) if compressed else path.open("rb")  # noqa: SIM115
    beginning = stream.read(2048)
    stream.seek(0)
    for kind in _NIFTI:
        if kind.header_class.may_contain_header(beginning) and len(kind.files_types) == 1:
            holder = nib.fileholders.FileHolder(fileobj=stream)
            return kind, kind.from_file_map({"image": holder})
    raise nib.filebasedimages.ImageFileError(
        "it is gzip, but not NIfTI" if compressed else "it is not gzip"
    )


def _kind_of(path: Path) -> Any:
    """Return the nibabel image class, detected from the first bytes."""
    sniff = None
    for kind in (*_NIFTI, *nib.imageclasses.all_image_classes):
        fits, sniff = kind.path_maybe_image(path, sniff)
        if fits:
            return kind
    raise nib.filebasedimages.ImageFileError("its format is unknown")


def _require_room(path: Path, image: Any) -> None:
    """Raise a ValueError if the header states more voxels than the file can hold."""
    shape, dtype = image.shape, image.get_data_dtype()
    if min(shape, default=1) < 0:
        raise ValueError(f"{path}: shape {shape}; repair the header")
    file = Path(image.file_map["image"].filename or path)
    if not file.is_file():
        raise FileNotFoundError(
            f"{file}: no such file; expected it beside its header {path}"
        )
    size = file.stat().st_size
    suffix = ".gz" if is_gzip(file) else file.suffix.lower()
    most = size * _MOST_EXPANSION.get(suffix, 1)
    if _end_of_voxels(image) > most:
        raise ValueError(
            f"{path}: the header states {shape} voxels of {dtype}, more than the {size} "
            "bytes of the file can hold. It is truncated or damaged: fetch it again"
        )


def is_itk_file(path: Path) -> bool:
    """Whether SimpleITK reads the file and nibabel does not."""
    return path.suffix.lower() in _itk_files.SUFFIXES


def inspect(path: Path) -> ImageHeader:
    """Read and check the header of a NIfTI file or, with SimpleITK, of an ITK format.

    Raises a FileNotFoundError if the file does not exist, and a ValueError if it is not a
    three-dimensional scalar image or its qform and sform contradict each other.
    """
    if is_itk_file(path):
        require_file(path)
        shape, affine = _itk_files.read_header(path)
        oriented, geometry = True, b""
    else:
        image = _open(path)
        if len(image.shape) < 3 or 0 in image.shape or any(n > 1 for n in image.shape[3:]):
            raise ValueError(
                f"{path}: shape {image.shape}; expected a three-dimensional volume: save "
                "each contrast (and time point) as a separate file"
            )
        if image.get_data_dtype().kind not in "iuf":
            raise ValueError(
                f"{path}: voxels of type {image.get_data_dtype()}; expected real numbers"
            )
        shape, affine = image.shape[:3], image.affine
        oriented = _require_one_orientation(path, image.header)
        geometry = _geometry(image.header)
    if not np.isfinite(affine).all() or not spans_space(affine):
        raise ValueError(f"{path}: its affine is singular or not finite; repair the header")
    orientation = Orientation.of(affine)
    return ImageHeader(
        path,
        orientation.canonical_shape(shape),
        orientation.canonical_affine(affine, shape),
        orientation,
        affine,
        oriented,
        geometry,
    )


def _require_one_orientation(path: Path, header: Any) -> bool:
    """Whether a header gives an orientation; raise if qform and sform disagree."""
    try:
        forms = [header.get_qform(coded=True), header.get_sform(coded=True)]
    except Exception:  # invalid quaternion: nibabel uses the sform
        return bool(header["sform_code"])
    said = [affine for affine, code in forms if code]
    if len(said) < 2 or not all(np.isfinite(affine).all() for affine in said):
        return bool(said)
    lengths = [np.linalg.norm(affine[:3, :3], axis=0) for affine in said]
    if min(length.min() for length in lengths) == 0:
        return True  # a singular affine is refused by the caller, or unused
    q, s = (affine[:3, :3] / length for affine, length in zip(said, lengths))
    if (q * s).sum(axis=0).min() < _SAME_AXIS:
        raise ValueError(
            f"{path}: qform ({axis_codes(said[0])}) and sform ({axis_codes(said[1])}) "
            "give different orientations; expected one. Find out which is correct and "
            "set the other to it (nibabel: image.set_qform(image.affine))"
        )
    return True


def _end_of_voxels(image: Any) -> int:
    """Return the offset in bytes of the end of the voxels in an uncompressed file."""
    n_bytes = math.prod(image.shape) * image.get_data_dtype().itemsize
    return image.dataobj.offset + n_bytes


def _geometry(header: Any) -> bytes:
    kept = nib.Nifti1Header()
    for field in _GEOMETRY:
        kept[field] = header[field]
    return kept.binaryblock


def read_slices(path: Path) -> NDArray:
    """Decode a file that `inspect` accepts into axial slices (n_slices, H, W).

    The voxels are scaled, in the type of the file or float32. Slices run to the top of
    the head, H to the back and W to the left. Raises a ValueError for a truncated or
    damaged file and for NaN or infinite voxels.
    """
    if is_itk_file(path):
        _, affine = _itk_files.read_header(path)
        voxels = _itk_files.read_voxels(path)
    else:
        image = _open(path)
        voxels, affine = _nifti_voxels(path, image), image.affine
        voxels = voxels.reshape(voxels.shape[:3])  # without trailing axes of length 1
    if voxels.dtype.kind == "f":
        with np.errstate(over="ignore"):
            voxels = voxels.astype(np.float32, copy=False)
        if not np.isfinite(voxels).all():
            raise ValueError(
                f"{path} holds NaN or infinite voxels; replace them (background is 0)"
            )
    # NIfTI stores the first axis fastest: the transpose of a canonical file is
    # contiguous, so nothing is copied.
    return Orientation.of(affine).to_canonical(voxels).T


def read_volumes(path: Path) -> tuple[NDArray, NDArray[np.float64]]:
    """Voxels (n_volumes, n_slices, H, W) of a NIfTI file, and its affine.

    The axes are those of the file, in reverse, and not brought into one orientation.
    """
    image = _open(path)
    voxels = _nifti_voxels(path, image)
    return voxels.reshape(*voxels.shape[:3], -1).T, image.affine


def _nifti_voxels(path: Path, image: Any) -> NDArray:
    try:
        if is_gzip(path) and isinstance(image, nib.Nifti1Image):
            data = path.read_bytes()
            # In one call: streaming through Python takes more than twice as long.
            # Data beyond the voxels are ignored, whatever size the file states.
            if int.from_bytes(data[-4:], "little") == _end_of_voxels(image):
                image = type(image).from_bytes(decompress(data))
        return np.asanyarray(image.dataobj)
    except MemoryError as error:
        raise MemoryError(
            f"{path}: not enough memory for {image.shape} voxels of "
            f"{image.get_data_dtype()}"
        ) from error
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(
            f"{path}: the voxels cannot be read, since the file is truncated or damaged "
            f"({error}); fetch it again"
        ) from error


def read_mask(path: Path, values: MaskValues = ALL_LABELS) -> NDArray[np.bool_]:
    """Decode a mask into boolean axial slices (n_slices, H, W).

    Raises a ValueError for values that are not those of a mask; see `MaskValues.of`.
    """
    return values.of(read_slices(path), path)


def write_nifti(path: Path, image: nib.Nifti1Image) -> None:
    """Write a .nii.gz file; equal images give identical files."""
    data = compress(image.to_bytes())
    replace_atomically(path, lambda temporary: temporary.write_bytes(data))


def image_on(affine: NDArray[np.float64], voxels: NDArray) -> nib.Nifti1Image:
    """Make an image of slices (n_slices, H, W) with an affine from (W, H, slice) to mm."""
    image = nib.Nifti1Image(voxels.T, affine)
    image.header.set_xyzt_units("mm")
    return image
