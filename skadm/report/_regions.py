"""Suspicious regions: what is flagged, connected, and ranked."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from skadm.conformal import CandidateLesions
from skadm.data._interfaces import Grid
from skadm.metrics import anomaly_map

_TOUCHING = ndimage.generate_binary_structure(3, 3)
_MIDLINE = 5.0  # mm to either side that are neither left nor right
_BOTH = 0.1  # of a region on either side, from which it is on both
UNLISTED = 255  # number of the regions beyond those that are listed


@dataclass(frozen=True)
class Region:
    """A component of flagged voxels, connected over faces, edges or corners."""

    rank: int  # from 1, the most suspicious
    n_voxels: int  # on the grid that the detector works on
    volume_ml: float
    # Sum over its voxels of the anomaly above the threshold, times the volume of a voxel in
    # ml. Regions are ranked by it.
    strength: float
    peak: float  # highest anomaly
    peak_mm: tuple[float, float, float]  # where: mm to the right, to the front and upwards
    centroid_mm: tuple[float, float, float]  # mean place of its voxels
    # "left", "right", "midline" or "both sides". Within 5 mm of the middle of the brain is
    # midline; both sides hold a tenth of the voxels or more beyond that.
    side: str
    height: float  # of the centroid: 0 at the lowest brain voxel, 1 at the highest
    # share of its voxels that are labelled as anomaly; None without labels
    overlap: float | None
    # smallest of its candidate lesions'; None without anything to compare with
    p_value: float | None
    # what the region is found by, and how much, the most first
    evidence: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Ranking:
    """All flagged components of a volume, numbered by rank."""

    # (n_slices, H, W): Rank of the listed region at each pixel, 0 where nothing is flagged,
    # 255 in regions that are not listed.
    numbers: NDArray[np.uint8]
    strengths: NDArray[np.float64]  # (n_listed,): sums of the anomaly above the threshold
    n_regions: int  # of all of them


def rank_regions(decision: NDArray, most: int) -> Ranking:
    """Find the flagged components of a volume, rank them by strength, and list some.

    `decision`, (n_slices, H, W), is negative where a pixel is flagged. At most `most`,
    below 255, are listed.
    """
    components, n_regions = ndimage.label(decision < 0, _TOUCHING)
    strengths = np.asarray(
        ndimage.sum_labels(anomaly_map(decision), components, np.arange(1, n_regions + 1))
    )
    order = np.argsort(-strengths, kind="stable")[:most]
    number_of = np.full(n_regions + 1, UNLISTED, np.uint8)
    number_of[0] = 0
    number_of[order + 1] = np.arange(1, len(order) + 1)
    return Ranking(number_of[components], strengths[order], n_regions)


def describe_regions(
    ranking: Ranking,
    scores: NDArray,
    grid: Grid,
    brain: NDArray[np.bool_],
    *,
    labels: NDArray | None,
    p_values: Sequence[float | None],
    evidence: Sequence[tuple[tuple[str, float], ...]],
) -> list[Region]:
    """Measure the listed regions, by rank.

    Scores are normality, brain and labels of the same shape (n_slices, H, W), on the grid.
    p-values and evidence are one for each listed region.
    """
    from skimage.measure import regionprops

    voxel_ml = float(np.prod(grid.voxel_size)) / 1000
    brain_mm = _millimetres(np.argwhere(brain), grid)
    middle = float(brain_mm[:, 0].mean())
    lowest, highest = float(brain_mm[:, 2].min()), float(brain_mm[:, 2].max())
    anomaly = anomaly_map(scores)
    regions = []
    measured = regionprops(ranking.numbers)[: len(ranking.strengths)]
    for index, component in enumerate(measured):
        places = tuple(component.coords.T)
        values = anomaly[places]
        points = _millimetres(component.coords, grid)
        centroid = points.mean(axis=0)
        overlap = None if labels is None else float((labels[places] == 1).mean())
        regions.append(
            Region(
                rank=index + 1,
                n_voxels=len(values),
                volume_ml=len(values) * voxel_ml,
                strength=float(ranking.strengths[index]) * voxel_ml,
                peak=float(values.max()),
                peak_mm=_triple(points[values.argmax()]),
                centroid_mm=_triple(centroid),
                side=_side(points[:, 0] - middle),
                height=float((centroid[2] - lowest) / max(highest - lowest, 1e-9)),
                overlap=overlap,
                p_value=p_values[index],
                evidence=evidence[index],
            )
        )
    return regions


def region_p_values(
    ranking: Ranking, decision: NDArray, candidates: CandidateLesions
) -> list[float]:
    """Find the smallest p-value of the candidate lesions in each listed region.

    The candidates of normal slices are from the same detector and threshold as `decision`,
    in which the regions were found.
    """
    smallest = np.ones(UNLISTED + 1)
    for candidate in candidates.find(decision):
        # Flagged pixels that touch within a slice are of one region.
        number = ranking.numbers[candidate.slice][candidate.mask][0]
        smallest[number] = min(smallest[number], candidate.p_value)
    return smallest[1 : len(ranking.strengths) + 1].tolist()


def _millimetres(places: NDArray, grid: Grid) -> NDArray[np.float64]:
    """Points (n, 3) in mm of indices (slice, row, column)."""
    return places[:, ::-1] @ grid.affine[:3, :3].T + grid.affine[:3, 3]


def _triple(point: NDArray) -> tuple[float, float, float]:
    x, y, z = point.tolist()
    return x, y, z


def _side(to_the_right: NDArray) -> str:
    left, right = (to_the_right < -_MIDLINE).mean(), (to_the_right > _MIDLINE).mean()
    if min(left, right) >= _BOTH:
        return "both sides"
    if abs(to_the_right.mean()) <= _MIDLINE:
        return "midline"
    return "right" if right > left else "left"
