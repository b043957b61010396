"""Suspicious regions: what is flagged, ranked and measured."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from skadm.conformal import CandidateLesions
from skadm.data._interfaces import Grid
from skadm.metrics import anomaly_map
from skadm.report._flagged import flagged_regions

_MIDLINE = 5.0  # mm to either side that are neither left nor right
_BOTH = 0.1  # of a region on either side, from which it is on both
LISTED = 20  # regions; the rest is counted
UNLISTED = 255  # number of what is flagged and not listed


@dataclass(frozen=True)
class Region:
    """A region as `flagged_regions` finds it."""

    rank: int  # from 1, the most suspicious
    n_voxels: int  # on the grid that the detector works on
    volume_ml: float
    # Sum over its voxels of the anomaly above the threshold, times the volume of a voxel in
    # ml. Regions are ranked by p-value, where there are any, and then by it.
    strength: float
    peak: float  # highest anomaly
    peak_mm: tuple[float, float, float]  # where: mm to the right, to the front and upwards
    centroid_mm: tuple[float, float, float]  # mean place of its voxels
    # "left", "right", "midline" or "both sides". Within 5 mm of the middle of the brain is
    # midline; both sides hold a tenth of the voxels or more beyond that.
    side: str
    height: float  # of the centroid: 0 at the lowest brain voxel, 1 at the highest
    front: float  # of the centroid: 0 at the rearmost brain voxel, 1 at the foremost
    depth_mm: float  # of its deepest voxel below the surface of the brain
    # share of its voxels that are labelled as anomaly; None without labels
    overlap: float | None
    # smallest of its candidate lesions'; None without anything to compare with
    p_value: float | None
    # what the region is found by, and how much, the most first
    evidence: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Ranking:
    """All flagged regions of a volume, and the ranks of those that are listed."""

    # (n_slices, H, W): Number of the region at each pixel, from 1 in no order; 0 where
    # nothing is flagged, or the region is smaller than the least size.
    regions: NDArray[np.int32]
    # (n_slices, H, W): Rank of the listed region at each pixel, 0 where nothing is flagged,
    # 255 in all else that is flagged.
    numbers: NDArray[np.uint8]
    strengths: NDArray[np.float64]  # (n_listed,): sums of the anomaly above the threshold
    p_values: tuple[float | None, ...]  # (n_listed,): None without any to compare with
    n_regions: int  # of all of the least size
    n_small: int  # of those that are smaller


def rank_regions(
    decision: NDArray,
    grid: Grid,
    *,
    min_ml: float,
    candidates: CandidateLesions | None = None,
) -> Ranking:
    """Find the flagged regions of a volume, rank them, and list the first 20.

    `decision`, (n_slices, H, W), is negative where a pixel is flagged. Regions smaller than
    `min_ml` are left out. With candidate lesions of normal slices, from the same detector
    and threshold, regions are ranked by p-value. Without, or at a tie, they are ranked by
    strength.
    """
    height = anomaly_map(decision)
    regions = flagged_regions(height, grid.voxel_size[::-1].tolist())
    sizes = np.bincount(regions.ravel())[1:]
    numbers = np.arange(1, len(sizes) + 1)
    strengths = np.atleast_1d(ndimage.sum_labels(height, regions, numbers))
    # A region of just the least size stays, whatever the rounding of its volume.
    large = sizes * _voxel_ml(grid) >= min_ml * (1 - 1e-6)
    number_of = np.append(0, np.where(large, np.cumsum(large), 0)).astype(np.int32)
    regions, strengths = number_of[regions], strengths[large]
    p_values: NDArray | None = None
    order = np.argsort(-strengths, kind="stable")
    if candidates is not None:
        p_values = _p_values(regions, decision, candidates)
        order = order[np.argsort(p_values[order], kind="stable")]
    order = order[:LISTED]
    rank_of = np.full(len(strengths) + 1, UNLISTED, np.uint8)
    rank_of[order + 1] = np.arange(1, len(order) + 1)
    return Ranking(
        regions,
        np.where(decision < 0, rank_of[regions], np.uint8(0)),
        strengths[order],
        (None,) * len(order) if p_values is None else tuple(p_values[order].tolist()),
        len(strengths),
        int(np.count_nonzero(~large)),
    )


def _p_values(
    regions: NDArray[np.int32], decision: NDArray, candidates: CandidateLesions
) -> NDArray[np.float64]:
    """Find the smallest p-value of the candidate lesions in each region, from number 1."""
    smallest = np.ones(int(regions.max(initial=0)) + 1)
    for candidate in candidates.find(decision, regions=regions):
        number = regions[candidate.slice][candidate.mask][0]
        smallest[number] = min(smallest[number], candidate.p_value)
    return smallest[1:]


def describe_regions(
    ranking: Ranking,
    scores: NDArray,
    grid: Grid,
    brain: NDArray[np.bool_],
    *,
    labels: NDArray | None,
    evidence: Sequence[tuple[tuple[str, float], ...]],
) -> list[Region]:
    """Measure the listed regions, by rank.

    Scores are normality, brain and labels of the same shape (n_slices, H, W), on the grid.
    Evidence is one for each listed region.
    """
    from skimage.measure import regionprops

    voxel_ml = _voxel_ml(grid)
    brain_mm = _millimetres(np.argwhere(brain), grid)
    middle = float(brain_mm[:, 0].mean())
    lowest, extent = brain_mm.min(axis=0), np.maximum(np.ptp(brain_mm, axis=0), 1e-9)
    # What lies beyond the first and the last slice may be brain: it is no surface.
    rim = np.pad(brain, ((0, 0), (1, 1), (1, 1)))
    depths = ndimage.distance_transform_edt(rim, grid.voxel_size[::-1])[:, 1:-1, 1:-1]
    anomaly = anomaly_map(scores)
    regions = []
    measured = regionprops(ranking.numbers)[: len(ranking.strengths)]
    for index, component in enumerate(measured):
        places = tuple(component.coords.T)
        values = anomaly[places]
        points = _millimetres(component.coords, grid)
        centroid = points.mean(axis=0)
        _, front, height = ((centroid - lowest) / extent).tolist()
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
                height=height,
                front=front,
                depth_mm=float(depths[places].max()),
                overlap=overlap,
                p_value=ranking.p_values[index],
                evidence=evidence[index],
            )
        )
    return regions


def _voxel_ml(grid: Grid) -> float:
    return float(np.prod(grid.voxel_size)) / 1000


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
