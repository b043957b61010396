"""What the headers of DICOM files say of the series that they are of."""

import math
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skadm._extras import import_extra
from skadm.data._dicom_files import files_below, is_dicom_file

_TAGS = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"),
    *("Modality", "ImageType", "SeriesNumber", "SeriesDescription", "ProtocolName"),
    *("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate"),
    *("PatientIdentityRemoved", "StudyDate", "StudyTime", "OtherPatientNames"),
    *("ScanningSequence", "SequenceVariant", "SequenceName", "PulseSequenceName"),
    *("RepetitionTime", "EchoTime", "InversionTime", "EchoPulseSequence", "AngioFlag"),
    *("InversionRecovery", "ContrastBolusAgent", "ContrastBolusAgentSequence"),
    *("DiffusionBValue", "ImagePositionPatient", "ImageOrientationPatient"),
    *("Rows", "Columns", "PixelSpacing", "NumberOfFrames", "SpecificCharacterSet"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    "BodyPartExamined",
)
# Siemens: how many slices an image holds side by side, as a mosaic.
_IN_MOSAIC = (0x0019, 0x100A)
# b-values of vendors, from before there was a tag for them: Siemens, GE, Philips.
_PRIVATE_B = ((0x0019, 0x100C), (0x0043, 0x1039), (0x2001, 0x1003))
_READING: dict[str, Any] = {
    "stop_before_pixels": True,
    "specific_tags": [*_TAGS, *_PRIVATE_B, _IN_MOSAIC],
}
# Kinds of images that one series may hold together, and that are different things.
_KINDS_APART = ("ADC", "FA", "EADC", "PHASE", "P", "TRACEW")
# Of the distance between slices, and mm: more means that one is missing, or many.
_UNEVEN = 0.02
_SAME_PLACE = 0.01
_SAME_DIRECTION = 1e-3
_SHORTEST = 3  # letters of a name that is looked for within words


@dataclass(frozen=True)
class Owner:
    """Whose series it is; nothing of this but `identifier` may be written anywhere."""

    identifier: str  # PatientID, "" if there is none
    key: str  # what tells patients apart
    identity_removed: bool  # whether the files say that they are anonymous
    birth_date: str
    issuer: str  # who gave the identifier
    secrets: tuple[str, ...]  # parts of the name and of other tags, in lower case

    def hide(self, text: str) -> str:
        """Take what identifies the patient out of a text that somebody typed."""
        for secret in self.secrets:
            # Two letters are a name only as a word of their own.
            edge = r"\b" if len(secret) < _SHORTEST else ""
            text = re.sub(edge + re.escape(secret) + edge, "…", text, flags=re.IGNORECASE)
        return text


@dataclass(frozen=True)
class Series:
    """Files of one series, or those of one kind where it holds several."""

    owner: Owner
    study: str  # UID
    when: str  # date and time of the study; to order studies, and for nothing else
    uid: str
    number: int | None
    description: str  # without what identifies the patient
    said: str = field(repr=False)  # the same as it stands; only to be looked into
    sop_class: str  # UID of what kind of object it is
    modality: str
    image_type: tuple[str, ...]
    sequence: frozenset[str]  # SE, GR, IR, EP
    variant: frozenset[str]  # such as SP, spoiled; empty where not stated
    sequence_name: str
    te: float | None  # ms; None where not stated
    tr: float | None
    ti: float | None
    agent: str  # contrast agent; "" where none is named
    angiography: bool
    body_part: str  # "" where not stated
    b_values: tuple[float, ...]  # s/mm², of each file or frame; empty where not stated
    files: tuple[Path, ...] = field(repr=False)
    n_slices: int  # different places
    n_voxels: int  # of one volume
    n_volumes: int  # images at each place
    thickness: float  # mm between slices
    uneven: str  # why the slices make no volume; "" if they do

    @property
    def label(self) -> str:
        """The series as a user knows it."""
        number = "without a number" if self.number is None else str(self.number)
        return f"series {number} ({self.description or 'no description'})"

    @property
    def b_value_of_files(self) -> bool:
        """Whether each file has one b-value; enhanced files may hold several."""
        return len(self.b_values) == len(self.files)

    def of_highest_b(self) -> tuple[Path, ...]:
        """Files with the highest b-value; all, where the files do not state it."""
        if not self.b_value_of_files:
            return self.files
        highest = max(self.b_values)
        return tuple(f for f, b in zip(self.files, self.b_values) if b == highest)


@dataclass(frozen=True)
class Folder:
    """What was found below a folder."""

    series: list[Series]
    n_others: int  # files that are not DICOM
    unreadable: list[Path]  # files that begin as DICOM, and cannot be read


def import_pydicom() -> Any:
    """Return pydicom, or say how to install it."""
    return import_extra("pydicom", "pydicom", "raw", "DICOM files need")


def read_headers(folder: Path) -> Folder:
    """Read all DICOM files below a folder, without pixels; a file that occurs twice once.

    Images are sorted into series by their UIDs, not by their names and folders.
    """
    pydicom = import_pydicom()
    parts: dict[tuple[Any, ...], list[_File]] = defaultdict(list)
    others, unreadable, seen, all_series = 0, [], set(), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they would say what the headers hold
        for path in files_below(folder):
            if not is_dicom_file(path):
                others += 1
                continue
            try:
                file = _File.of(path, pydicom.dcmread(path, **_READING))
            except Exception:  # a file of any origin: anything may happen
                unreadable.append(path)
                continue
            if file is not None and file.uid not in seen:
                seen.add(file.uid)
                parts[file.part].append(file)
        for files in parts.values():
            try:
                all_series.append(_series(files))
            except Exception:  # values are decoded when they are asked for
                unreadable += [file.path for file in files]
    all_series.sort(key=lambda one: (one.owner.key, one.when, one.study, one.number or 0))
    return Folder(all_series, others, unreadable)


@dataclass(frozen=True)
class _File:
    """What is kept of a file until all of its series are read."""

    path: Path
    uid: str
    header: Any
    places: NDArray[np.float64]  # (n_frames, 3), mm
    normals: NDArray[np.float64]  # (n_frames, 3)
    b_values: tuple[float, ...]
    n_images: int
    n_pixels: int  # of one image
    in_mosaic: int  # slices that lie in one image side by side, 0 if it is one slice
    series_number: int | None

    @classmethod
    def of(cls, path: Path, header: Any) -> "_File | None":
        """Read a header; None of what is no image of a series, such as a DICOMDIR."""
        if "SeriesInstanceUID" not in header or "SOPInstanceUID" not in header:
            return None
        frames = list(header.get("PerFrameFunctionalGroupsSequence", ())) or [None]
        where = [tag_value(header, "ImagePositionPatient", frame) for frame in frames]
        turned = [tag_value(header, "ImageOrientationPatient", frame) for frame in frames]
        known = all(value is not None for value in (*where, *turned))
        places = np.array(where, float) if known else np.empty((0, 3))
        axes = np.array(turned, float) if known else np.empty((0, 6))
        b_values = [_b_value(header, frame) for frame in frames]
        return cls(
            path,
            str(header.SOPInstanceUID),
            header,
            places,
            np.cross(axes[:, :3], axes[:, 3:]),
            () if None in b_values else tuple(b_values),  # type: ignore[arg-type]
            int(header.get("NumberOfFrames") or 1),
            int(header.get("Rows") or 0) * int(header.get("Columns") or 0),
            int(header[_IN_MOSAIC].value) if _IN_MOSAIC in header else 0,
            None if header.get("SeriesNumber") is None else int(header.SeriesNumber),
        )

    @property
    def part(self) -> tuple[Any, ...]:
        """What the files of one volume, or of one row of volumes, have in common."""
        get = self.header.get
        kinds = {str(kind).upper() for kind in get("ImageType") or ()}
        apart = tuple(kind for kind in _KINDS_APART if kind in kinds)
        # Two echoes are two contrasts; those of enhanced files are not told apart.
        return (
            *(str(self.header.SeriesInstanceUID), str(get("StudyInstanceUID", ""))),
            *(apart, str(get("EchoTime", "")), get("Rows"), get("Columns")),
        )


def _series(files: list[_File]) -> Series:
    header = files[0].header
    owner = _owner(header)
    places = np.concatenate([file.places for file in files])
    normals = np.concatenate([file.normals for file in files])
    n_images = sum(file.n_images for file in files)
    if n_slices := files[0].in_mosaic:
        thickness, uneven = 0.0, ""
        n_images *= n_slices
        n_voxels = n_slices * files[0].n_pixels // math.ceil(math.sqrt(n_slices)) ** 2
    else:
        n_slices, thickness, uneven = _stacking(places, normals, n_images)
        n_voxels = n_slices * files[0].n_pixels
    description = _text(header, "SeriesDescription") or _text(header, "ProtocolName")
    stated = all(file.b_values for file in files)
    return Series(
        owner=owner,
        study=_text(header, "StudyInstanceUID"),
        when=_text(header, "StudyDate") + _text(header, "StudyTime"),
        uid=str(header.SeriesInstanceUID),
        number=files[0].series_number,
        description=owner.hide(description),
        said=description,
        sop_class=_text(header, "SOPClassUID"),
        modality=_text(header, "Modality").upper(),
        image_type=tuple(str(part).upper() for part in header.get("ImageType") or ()),
        sequence=_sequence(header),
        variant=_words(tag_value(header, "SequenceVariant")),
        sequence_name=(
            _text(header, "SequenceName") or _text(header, "PulseSequenceName")
        ).lower(),
        te=_number(header, "EchoTime", "EffectiveEchoTime"),
        tr=_number(header, "RepetitionTime"),
        ti=_number(header, "InversionTime", "InversionTimes"),
        agent=owner.hide(_agent(header)),
        angiography=_text(header, "AngioFlag").upper() == "Y",
        body_part=_text(header, "BodyPartExamined").lower(),
        b_values=tuple(b for file in files for b in file.b_values) if stated else (),
        files=tuple(file.path for file in files),
        n_slices=n_slices,
        n_voxels=n_voxels,
        n_volumes=max(1, round(n_images / max(1, n_slices))),
        thickness=thickness,
        uneven=uneven,
    )


def _stacking(places: NDArray, normals: NDArray, n_images: int) -> tuple[int, float, str]:
    """Number of slices, mm between them, and why they make no volume."""
    if len(places) < n_images:
        return n_images, 0.0, "the files do not say where their slices lie"
    normal = normals[0]
    if np.abs(normals - normal).max() > _SAME_DIRECTION:
        return len(places), 0.0, "its slices lie in several directions"
    across = np.sort(places @ normal)
    steps = np.diff(across)
    gaps = steps[steps > _SAME_PLACE]
    n_slices = len(gaps) + 1
    if not len(gaps):
        return 1, 0.0, "it has one slice only"
    usual = float(np.median(gaps))
    if np.abs(gaps - usual).max() > max(_UNEVEN * usual, _SAME_PLACE):
        return (
            *(n_slices, usual),
            f"its slices are {gaps.min():.3g} to {gaps.max():.3g} mm apart, so that some "
            "are missing, or it holds several stacks",
        )
    if n_images % n_slices:
        return (
            *(n_slices, usual),
            f"it has {n_images} images at {n_slices} places, so that some are missing",
        )
    return n_slices, usual, ""


def _owner(header: Any) -> Owner:
    identifier = _text(header, "PatientID")
    names = [_text(header, "PatientName"), _text(header, "OtherPatientNames")]
    birth = _text(header, "PatientBirthDate")
    removed = _text(header, "PatientIdentityRemoved").upper() == "YES"
    secrets = re.findall(r"[^\W_]{2,}", " ".join(names)) + ([birth] if birth else [])
    key = identifier or f"\0name\0{names[0]}"
    if not identifier and not names[0]:
        key = f"\0study\0{_text(header, 'StudyInstanceUID')}"
    if not removed and len(identifier) > _SHORTEST:
        secrets.append(identifier)
    longest_first = sorted({s.lower() for s in secrets}, key=len, reverse=True)
    issuer = _text(header, "IssuerOfPatientID")
    return Owner(identifier, key, removed, birth, issuer, tuple(longest_first))


def _groups(header: Any, frame: Any) -> Iterator[Any]:
    """Where an enhanced file may have a value: as classic ones, for all frames, for one."""
    yield header
    shared = header.get("SharedFunctionalGroupsSequence") or ()
    frames = header.get("PerFrameFunctionalGroupsSequence") or ()
    for group in (*shared[:1], *((frame,) if frame is not None else frames[:1])):
        for element in group:
            if element.VR == "SQ" and element.value:
                yield element.value[0]


def tag_value(header: Any, keyword: str, frame: Any = None) -> Any:
    for group in _groups(header, frame):
        value = group.get(keyword)
        if value is not None and value != "":
            return value
    return None


def _text(header: Any, keyword: str) -> str:
    value = header.get(keyword)
    return "" if value is None else str(value).strip()


def _number(header: Any, *keywords: str) -> float | None:
    """A time in ms; 0 stands for none in the files of some vendors."""
    for keyword in keywords:
        value = tag_value(header, keyword)
        if isinstance(value, Sequence) and not isinstance(value, str):
            value = value[0] if value else None
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if number > 0:
            return number
    return None


def _words(value: Any) -> frozenset[str]:
    values = [value] if isinstance(value, str) else (value or ())
    return frozenset(str(part).strip().upper() for part in values)


def _sequence(header: Any) -> frozenset[str]:
    """SE, GR, IR, EP, RM; enhanced files say it in words."""
    codes = set(_words(tag_value(header, "ScanningSequence")))
    said = str(tag_value(header, "EchoPulseSequence") or "").upper()
    codes |= {"SPIN": {"SE"}, "GRADIENT": {"GR"}, "BOTH": {"SE", "GR"}}.get(said, set())
    if str(tag_value(header, "InversionRecovery") or "").upper() == "YES":
        codes.add("IR")
    return frozenset(codes)


def _agent(header: Any) -> str:
    agent = _text(header, "ContrastBolusAgent")
    if not agent and header.get("ContrastBolusAgentSequence"):
        agent = _text(header.ContrastBolusAgentSequence[0], "CodeMeaning") or "named"
    return "" if agent.lower() in ("", "none", "no", "n", "0", "without") else agent


def _b_value(header: Any, frame: Any) -> float | None:
    value = tag_value(header, "DiffusionBValue", frame)
    for tag in _PRIVATE_B:
        if value is None and tag in header:
            value = header[tag].value
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        value = value[0] if len(value) else None
    try:
        # GE adds a large number where the value is by a formula of its own.
        return float(value) % 1e9
    except (TypeError, ValueError):
        return None
