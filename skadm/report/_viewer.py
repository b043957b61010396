"""What the viewer of a page is given: pictures of the whole volume, and where they lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from skadm.report._display import PLANES, Frame, frame_of
from skadm.report._pictures import COLOURS, draw_plane, grey, n_columns, sprite, window
from skadm.report._regions import Region

_FIRST = ("FLAIR", "T2")  # contrasts to show first
_STATIC_WIDTH = 300  # pixels of the longest side
_THUMBNAIL_WIDTH = 120


class Scale(NamedTuple):
    """How anomaly becomes colours."""

    low: float
    high: float
    threshold: float  # above it a voxel is flagged

    @property
    def start(self) -> int:
        """Grey value of the threshold."""
        return int(grey(np.array(self.threshold), self.low, self.high))


@dataclass(frozen=True)
class Pictures:
    """A volume for the viewer and on paper."""

    data: dict[str, Any]  # what the viewer reads, of plain types; see templates/viewer.js
    # name and picture of the planes through the core of the most suspicious region
    planes: tuple[tuple[str, str], ...]
    thumbnail: str  # the axial one, small


def make_pictures(
    grid: Any,
    images: NDArray,
    brain: NDArray[np.bool_],
    contrasts: Sequence[str],
    *,
    anomaly: NDArray,
    numbers: NDArray[np.uint8],
    labels: NDArray | None,
    scale: Scale,
    regions: Sequence[Region],
) -> Pictures:
    """Draw a volume; all arrays are on one grid.

    Images are (n_slices, n_contrasts, H, W), all else (n_slices, H, W). Higher anomaly is
    more abnormal; it is `scale.low` outside the brain. `numbers` are the ranks of the
    regions.
    """
    frame = frame_of(grid, brain)
    inside = frame.show(brain)
    scans = [window(frame.show(images[:, k]), inside) for k in range(len(contrasts))]
    shown = frame.show(anomaly)
    scores = grey(shown, scale.low, scale.high)
    ranks = frame.show(numbers)
    labelled = None if labels is None else frame.show(labels == 1)
    upper = [name.upper() for name in contrasts]
    first = next((upper.index(name) for name in _FIRST if name in upper), 0)
    cores = _cores(frame, regions, shown - scale.threshold, ranks)
    point = cores[0] if cores else _highest(shown)

    def drawn(plane: int, width: int) -> str:
        extent = max(n * mm for n, mm in zip(frame.shape, frame.voxel_size))
        return draw_plane(
            plane,
            frame,
            point,
            scan=scans[first],
            scores=scores,
            start=scale.start,
            flagged=ranks > 0,
            labelled=labelled,
            pixels_per_mm=width / extent,
        )

    data = {
        "shape": list(frame.shape),
        "voxelSize": list(frame.voxel_size),
        "affine": frame.affine.tolist(),
        "columns": n_columns(frame.shape[2]),
        "contrasts": [
            {"name": name, "source": sprite(scan, exact=False)}
            for name, scan in zip(contrasts, scans)
        ],
        "first": first,
        # Exact: what JPEG adds around the brain would be coloured.
        "scores": sprite(scores, exact=True),
        "regions": sprite(ranks, exact=True),
        "labels": (
            None if labelled is None else sprite(labelled.astype(np.uint8), exact=True)
        ),
        "low": scale.low,
        "high": scale.high,
        "threshold": scale.threshold,
        "start": max(scale.start, 1),
        "colours": [list(colour) for colour in COLOURS],
        "point": list(point),
        "cores": [list(core) for core in cores],
    }  # fmt: skip
    planes = tuple((plane.name, drawn(i, _STATIC_WIDTH)) for i, plane in enumerate(PLANES))
    return Pictures(data, planes, drawn(0, _THUMBNAIL_WIDTH))


def _cores(
    frame: Frame, regions: Sequence[Region], above: NDArray, ranks: NDArray
) -> list[tuple[int, int, int]]:
    """The voxel (x, y, z) to show of each region: the middle of its thickest part.

    Not the peak, which often is a single voxel, or lies in a thin layer on the rim of the
    brain, where residues of the skull outshine the lesion that the region is about.
    """
    flagged = np.pad((ranks > 0) & (above > 0), 1)
    sizes = tuple(reversed(frame.voxel_size))
    depth = ndimage.distance_transform_edt(flagged, sizes)[1:-1, 1:-1, 1:-1]
    cores = []
    for region in regions:
        inside = ranks == region.rank
        if inside.any():
            # Where several are as deep, the most anomalous.
            deepest = inside & (depth >= depth[inside].max())
            cores.append(_highest(np.where(deepest, above, -np.inf)))
        else:  # a pixel of the working grid can be smaller than one of the images
            cores.append(frame.voxel_at(np.array(region.peak_mm)))
    return cores


def _highest(anomaly: NDArray) -> tuple[int, int, int]:
    z, y, x = np.unravel_index(int(anomaly.argmax()), anomaly.shape)
    return int(x), int(y), int(z)
