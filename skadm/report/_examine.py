"""From a volume and a model to what a page shows."""

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skadm._failure import warnings_of_scan
from skadm._missing import missing_names
from skadm.conformal import CandidateLesions
from skadm.data import ArrayVolume, SliceStack
from skadm.data._write import on_original_grid
from skadm.metrics import anomaly_map
from skadm.report._evidence import evidence_kind, region_evidence
from skadm.report._measures import measure
from skadm.report._regions import Region, describe_regions, rank_regions
from skadm.report._viewer import Pictures, Scale, make_pictures

MIN_REGION_ML = 0.1
_COLOURED = (1.0, 99.5)  # percentiles of the anomaly over the brain: ends of the colours


@dataclass(frozen=True)
class Summary:
    """A patient's line in the page of the cohort."""

    name: str  # of the volume
    suspicion: float  # strength of the strongest listed region, 0 without any
    n_regions: int  # of the least size or larger
    n_small: int  # flagged regions that are smaller
    flagged_ml: float  # of all of them
    p_value: float | None  # least of all listed regions
    metrics: dict[str, float] | None  # where there are labels
    # contrasts that were missing, and that the model supplied from the others
    supplied: tuple[str, ...]
    notes: tuple[str, ...]  # what was warned of while the patient was examined
    thumbnail: str  # a data URI


@dataclass(frozen=True, eq=False)
class Maps:
    """What was found, on the grid of the images."""

    anomaly: NDArray[np.float32]  # (n_slices, H, W)
    # The rank of the region at each pixel, 0 where nothing is flagged, 255 in regions that
    # are not listed.
    numbers: NDArray[np.uint8]
    brain: NDArray[np.bool_]
    affine: NDArray[np.float64]  # from (W, H, slice) to mm to the right, front and top


@dataclass(frozen=True)
class PatientReport:
    """All that the page of a patient shows."""

    patient: str
    name: str  # of the volume
    contrasts: tuple[str, ...]  # those that are not missing; only they are shown
    voxel_size: tuple[float, ...]  # of the images, in mm along W, H and between slices
    working_voxel_size: tuple[float, ...]  # the same of the grid that the detector works on
    brain_ml: float
    threshold: float  # anomaly above which a voxel is flagged
    min_region_ml: float  # size of the smallest region that is listed
    regions: tuple[Region, ...]  # the listed ones, by rank
    evidence: str  # what `Region.evidence` is
    summary: Summary  # line of the cohort
    pictures: Pictures  # for the viewer and on paper
    maps: Maps


def examine(
    volume: Any,
    model: Any,
    candidates: CandidateLesions | None = None,
    *,
    min_region_ml: float = MIN_REGION_ML,
) -> PatientReport:
    """Score a volume and find its suspicious regions.

    Parameters
    ----------
    volume : volume
        One of `SliceStack.volumes`, as it was read.
    model : sklearn.pipeline.Pipeline
        Preprocessing and a fitted detector of pixels.
    candidates : CandidateLesions, default=None
        From normal slices of other patients, scored by the same detector with the same
        threshold; gives regions their p-values. None: they have none.
    min_region_ml : float, default=0.1
        Size in ml of the smallest region that is listed; smaller ones are counted. 0.1 ml
        is a sphere of 6 mm. Lesions of 3 mm, the smallest that criteria of multiple
        sclerosis count, have 0.014 ml.

    Returns
    -------
    report : PatientReport
        For `patient_page`; its `summary` is for `cohort_page`.

    Raises
    ------
    ValueError
        If the volume does not fit the model, cannot be decoded, or holds no brain, or if
        the least size is negative or not finite.
    ImportError
        If Pillow is not installed.

    Warns
    -----
    UserWarning
        Of what seems wrong with the scans; the page shows it as well.
    """
    check_min_region(min_region_ml)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        report = _examined(volume, model, candidates, min_region_ml)
    # Each once, and by whom: a cohort is examined by one command.
    notes = warnings_of_scan(caught)
    for note, category in notes.items():
        warnings.warn(f"{volume.name}: {note}", category, stacklevel=2)
    all_notes = (*_trained_on(volume, model), *notes)
    return replace(report, summary=replace(report.summary, notes=all_notes))


def check_min_region(min_region_ml: float) -> None:
    """Refuse a least size that is none."""
    if not 0 <= min_region_ml < np.inf:
        raise ValueError(
            f"the least size of a region is {min_region_ml} ml; expected 0 or more."
        )


def _trained_on(volume: Any, model: Any) -> tuple[str, ...]:
    """A note if the model, as 'skadm fit' saves it, was trained on the patient."""
    if volume.patient not in getattr(model, "training_", {}).get("patients", ()):
        return ()
    return ("The model was trained on this patient: this says little about new ones.",)


def _examined(
    volume: Any, model: Any, candidates: CandidateLesions | None, min_region_ml: float
) -> PatientReport:
    """The report, without what is warned of."""
    scan = volume.decode()
    images, labels = scan.images, scan.labels
    # In memory, and without an origin of its own: files are decoded once.
    original = ArrayVolume(
        images,
        labels,
        patient=volume.patient,
        name=volume.name,
        contrasts=volume.contrasts,
        affine=volume.grid.affine,
    )
    prepared = model[:-1].transform(SliceStack.from_volumes([original])).in_memory()
    (working,) = prepared.volumes
    detector = model[-1]
    seen = working.decode()
    worked_on, brain, own_labels = seen.images, seen.brain, seen.labels
    supplied = missing_names(worked_on, volume.contrasts)
    scanned = [name not in supplied for name in volume.contrasts]
    contrasts = tuple(name for name in volume.contrasts if name not in supplied)
    if not brain.any():
        raise ValueError(
            f"volume {volume.name!r}: no brain pixel: everything is exactly 0, which "
            "means background"
        )
    scores = detector.score_samples(prepared)
    decision = np.where(brain, scores - scores.dtype.type(detector.offset_), 0)
    ranking = rank_regions(
        decision, working.grid, min_ml=min_region_ml, candidates=candidates
    )
    n_listed = len(ranking.strengths)
    regions = describe_regions(
        ranking,
        scores,
        working.grid,
        brain,
        labels=own_labels,
        evidence=region_evidence(detector, prepared, ranking.numbers, n_listed),
    )
    anomaly, threshold = anomaly_map(scores), float(anomaly_map(detector.offset_))
    inside = anomaly[brain]
    low, high = (float(end) for end in np.percentile(inside, _COLOURED))
    if high <= threshold:  # so little is flagged that its colours would all be one
        high = max(float(inside.max()), threshold)
    # Half as much below the threshold as above it, so that most colours are of what is
    # flagged.
    low = max(low, threshold - (high - threshold) / 2)
    scale = Scale(low, high, threshold)
    every = np.arange(len(scores))
    maps = Maps(
        on_original_grid(anomaly, every, working, low),
        on_original_grid(ranking.numbers, every, working, 0),
        scan.brain,
        original.grid.affine,
    )
    pictures = make_pictures(
        original.grid,
        images[:, scanned],
        scan.brain,
        contrasts,
        anomaly=maps.anomaly,
        numbers=maps.numbers,
        labels=labels,
        scale=scale,
        regions=regions,
    )
    voxel_ml = float(np.prod(working.grid.voxel_size)) / 1000
    p_values = [region.p_value for region in regions if region.p_value is not None]
    summary = Summary(
        name=volume.name,
        suspicion=max((region.strength for region in regions), default=0.0),
        n_regions=ranking.n_regions,
        n_small=ranking.n_small,
        flagged_ml=int(np.count_nonzero(ranking.numbers)) * voxel_ml,
        p_value=min(p_values, default=None),
        metrics=(
            None
            if own_labels is None
            else measure(own_labels, scores, detector.offset_, ranking.regions)
        ),
        supplied=supplied,
        notes=(),
        thumbnail=pictures.thumbnail,
    )
    return PatientReport(
        patient=volume.patient,
        name=volume.name,
        contrasts=contrasts,
        voxel_size=tuple(original.grid.voxel_size.tolist()),
        working_voxel_size=tuple(working.grid.voxel_size.tolist()),
        brain_ml=int(brain.sum()) * voxel_ml,
        threshold=threshold,
        min_region_ml=min_region_ml,
        regions=tuple(regions),
        evidence=evidence_kind(detector),
        summary=summary,
        pictures=pictures,
        maps=maps,
    )
