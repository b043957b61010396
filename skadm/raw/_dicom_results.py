"""Scores and suspicious regions as DICOM objects that lie over the series they are from."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from skadm._extras import import_extra
from skadm._files import replace_atomically
from skadm._version import __version__
from skadm.data._itk_files import RAS_TO_LPS
from skadm.raw._dicom_headers import Series, import_pydicom, read_headers, tag_value

# What is read of the files of a series: what the new objects refer to, and no person.
_TAGS = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("FrameOfReferenceUID", "PositionReferenceIndicator", "Modality", "InstanceNumber"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("Rows", "Columns", "NumberOfFrames", "SharedFunctionalGroupsSequence"),
    "PerFrameFunctionalGroupsSequence",
)
# That must be there, though it may say nothing.
_EMPTY = (
    *("PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate"),
    *("StudyTime", "ReferringPhysicianName"),
)
UNLISTED = 255  # number of the regions that a report does not list
# Numbers of the new series: far from those that scanners give.
_REGIONS_SERIES, _SCORES_SERIES = 9001, 9002


class Maps(Protocol):
    """What was found in a volume, on the grid of its prepared images."""

    anomaly: NDArray[np.float32]  # (n_slices, H, W)
    numbers: NDArray[np.uint8]  # the number of the region at each pixel, 0 where none is
    brain: NDArray[np.bool_]
    affine: NDArray[np.float64]  # from (W, H, slice) to mm to the right, front and top


@dataclass(frozen=True)
class Original:
    """A series that results refer to, and under which name its patient goes here."""

    series: Series
    name: str
    patient: str


def read_originals(folder: Path, prepared: dict[str, Path]) -> dict[str, Original]:
    """Find the series that stayed where they were when volumes were prepared.

    `prepared` are files of prepared images by the name of the volume; the records beside
    them name the series. Volumes without one are a ValueError.
    """
    import_highdicom()
    by_uid: dict[str, list[Series]] = {}
    for series in read_headers(folder).series:
        by_uid.setdefault(series.uid, []).append(series)
    originals = {}
    for name, file in prepared.items():
        place = file.parent.parent / f"{name}_desc-preproc.json"
        try:
            record = json.loads(place.read_text(encoding="utf-8"))
            reference = record["parameters"]["reference"]
            entry = record["dicom"]["series"][reference]
            patient = record["patient"]
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"{name}: no record at {place} of a preparation from DICOM; --dicom needs "
                "scans that 'skadm prepare' has made of DICOM series"
            ) from error
        parts = [
            series
            for series in by_uid.get(entry["series_instance_uid"], ())
            if len(series.files) == entry["files"]
        ]
        if len(parts) != 1:
            raise ValueError(
                f"{folder}: series {entry['number']}, the {reference} of {name}, was not "
                f"found there with its {entry['files']} files (UID "
                f"{entry['series_instance_uid']})"
            )
        originals[name] = Original(parts[0], name, patient)
    return originals


def write_dicom(
    original: Original, maps: Maps, regions: Sequence[str], folder: Path
) -> list[Path]:
    """Write scores as a Parametric Map and regions, as they are labelled, as a SEG.

    Both have the planes, the frame of reference and the study of the original series, and
    refer to its images. There is no SEG where there is no region.
    """
    images = _read_images(original)
    places = np.concatenate([_planes(image) for image in images])
    shape = int(images[0].Rows), int(images[0].Columns)
    sampled = _Sampling(maps, places, original.series.thickness, shape)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    results = [("anomaly", _parametric_map(images, sampled.scores()))]
    if regions:
        results.append(("regions", _segmentation(images, sampled.numbers(), regions)))
    for kind, result in results:
        result.BodyPartExamined = "BRAIN"  # so that no side needs to be stated
        path = folder / f"{original.name}_{kind}.dcm"
        replace_atomically(path, result.save_as)
        written.append(path)
    return written


def _read_images(original: Original) -> list[Any]:
    """Headers of the series, one for each plane, without anything about a person."""
    pydicom = import_pydicom()
    images = []
    for file in original.series.of_highest_b():
        image = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=[*_TAGS])
        image.PatientID = original.patient
        image.PatientName = f"{original.patient}^"  # a family name, without others
        for keyword in _EMPTY:
            setattr(image, keyword, "")
        images.append(image)
    planes = np.array([_planes(image)[0] for image in images])
    normal = np.cross(planes[0, 1], planes[0, 2])
    heights = planes[:, 0] @ normal
    # Of several images at one place, the first.
    _, first = np.unique(heights.round(2), return_index=True)
    return [images[k] for k in first]


def _planes(image: Any) -> NDArray[np.float64]:
    """Of each frame, in mm, (n, 3, 3): first pixel, steps to the next column and row."""
    frames = list(image.get("PerFrameFunctionalGroupsSequence", ())) or [None]
    planes = []
    for frame in frames:
        turned = np.array(tag_value(image, "ImageOrientationPatient", frame), float)
        rows, columns = map(float, tag_value(image, "PixelSpacing", frame))
        planes.append(
            [
                np.array(tag_value(image, "ImagePositionPatient", frame), float),
                turned[:3] * columns,
                turned[3:] * rows,
            ]
        )
    return np.array(planes)


class _Sampling:
    """Maps in the planes of a series, over the thickness of its slices."""

    def __init__(
        self, maps: Maps, planes: NDArray, thickness: float, shape: tuple[int, int]
    ):
        self.maps, self.planes, self.shape = maps, planes, shape
        side = float(np.linalg.norm(maps.affine[:3, :3], axis=0).min())
        n = max(1, round(thickness / side))
        self.offsets = ((np.arange(n) + 0.5) / n - 0.5) * thickness
        self.to_indices = np.linalg.inv(maps.affine)

    def scores(self) -> NDArray[np.float32]:
        """The mean through each slice; the lowest score of all outside the brain."""
        maps = self.maps
        # The background does not bleed into the border of the brain.
        nearest = ndimage.distance_transform_edt(
            ~maps.brain, return_distances=False, return_indices=True
        )
        extended = maps.anomaly[tuple(nearest)]
        lowest = float(maps.anomaly[maps.brain].min())
        out = np.empty((len(self.planes), *self.shape), np.float32)
        for plane, result in zip(self.planes, out):
            samples, inside = [], []
            for indices in self._indices(plane):
                samples.append(
                    ndimage.map_coordinates(extended, indices, order=1, mode="nearest")
                )
                inside.append(_nearest(maps.brain, indices))
            result[:] = np.where(
                np.mean(inside, axis=0) >= 0.5, np.mean(samples, axis=0), lowest
            )
        return out

    def numbers(self) -> NDArray[np.uint8]:
        """The region that half of a voxel or more is in; no region is lost."""
        count = int(self.maps.numbers[self.maps.numbers < UNLISTED].max(initial=0))
        out = np.zeros((len(self.planes), *self.shape), np.uint8)
        for k, plane in enumerate(self.planes):
            found = [_nearest(self.maps.numbers, at) for at in self._indices(plane)]
            largest = np.full(self.shape, 0.5, np.float32)
            for number in range(1, count + 1):
                share = np.mean([one == number for one in found], axis=0)
                here = share >= largest
                out[k][here], largest[here] = number, share[here]
        for number in set(range(1, count + 1)) - set(np.unique(out).tolist()):
            out[self._pixels(number)] = number  # smaller than a voxel
        return out

    def _pixels(self, number: int) -> tuple[NDArray, ...]:
        """Indices of the pixels nearest to the voxels of a region."""
        voxels = np.argwhere(self.maps.numbers == number)[:, ::-1]
        affine = self.maps.affine
        points = (voxels @ affine[:3, :3].T + affine[:3, 3]) @ RAS_TO_LPS
        _, column, row = self.planes[0]
        steps = np.stack([np.cross(column, row), row, column])
        away = points[:, None] - self.planes[:, 0]
        k = np.abs(away @ steps[0]).argmin(axis=1)
        within = away[np.arange(len(k)), k] @ np.linalg.pinv(steps[1:])
        j, i = np.rint(within).astype(int).T
        there = (j >= 0) & (j < self.shape[0]) & (i >= 0) & (i < self.shape[1])
        return k[there], j[there], i[there]

    def _indices(self, plane: NDArray) -> list[NDArray]:
        """Indices (slice, row, column) of the maps at the pixels, at each offset."""
        first, column, row = plane
        normal = np.cross(column, row)
        normal /= np.linalg.norm(normal)
        j, i = np.meshgrid(*map(np.arange, self.shape), indexing="ij")
        points = first + i[..., None] * column + j[..., None] * row
        return [
            np.moveaxis(
                ((points + offset * normal) @ RAS_TO_LPS) @ self.to_indices[:3, :3].T
                + self.to_indices[:3, 3],
                -1,
                0,
            )[::-1]
            for offset in self.offsets
        ]


def _nearest(array: NDArray, indices: NDArray) -> NDArray:
    return ndimage.map_coordinates(array, indices, order=0, mode="constant", cval=0)


def _segmentation(images: list[Any], numbers: NDArray, labels: Sequence[str]) -> Any:
    highdicom = import_highdicom()
    codes = import_pydicom_codes()
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name="skadm", family=codes.DCM.ArtificialIntelligence, version=__version__
    )
    segments = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=label[:64],
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Lesion,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            tracking_uid=highdicom.UID(),
            tracking_id=f"suspicious region {number}",
        )
        for number, label in enumerate(labels, start=1)
    ]
    return highdicom.seg.Segmentation(
        images,
        numbers,
        highdicom.seg.SegmentationTypeValues.BINARY,
        segments,
        series_description="skadm: suspicious regions",
        content_label="REGIONS",
        **_equipment(_REGIONS_SERIES),
    )


def _parametric_map(images: list[Any], scores: NDArray) -> Any:
    highdicom = import_highdicom()
    codes = import_pydicom_codes()
    low, high = float(scores.min()), float(scores.max())
    mapping = highdicom.pm.RealWorldValueMapping(
        lut_label="anomaly",
        lut_explanation="anomaly score, higher is more abnormal",
        unit=codes.UCUM.NoUnits,
        value_range=(low, high),
        slope=1.0,
        intercept=0.0,
    )
    window = highdicom.VOILUTTransformation(
        window_center=(low + high) / 2, window_width=max(high - low, 1e-6)
    )
    return highdicom.pm.ParametricMap(
        images,
        scores,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[window],
        series_description="skadm: anomaly scores",
        content_label="ANOMALY",
        **_equipment(_SCORES_SERIES),
    )


def _equipment(series_number: int) -> dict[str, Any]:
    highdicom = import_highdicom()
    return {
        "series_instance_uid": highdicom.UID(),
        "series_number": series_number,
        "sop_instance_uid": highdicom.UID(),
        "instance_number": 1,
        "manufacturer": "skadm",
        "manufacturer_model_name": "skadm",
        "software_versions": __version__,
        "device_serial_number": "0",
    }


def import_highdicom() -> Any:
    """Return highdicom with its parts, or say how to install it."""
    needed = "results as DICOM need"
    for part in ("highdicom.seg", "highdicom.pm"):
        import_extra(part, "highdicom", "dicom", needed)
    return import_extra("highdicom", "highdicom", "dicom", needed)


def import_pydicom_codes() -> Any:
    """Return the codes that DICOM has for what things are."""
    return import_extra("pydicom.sr.codedict", "pydicom", "raw", "DICOM needs").codes
