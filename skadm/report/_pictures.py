"""Volumes as pictures in the text of a page."""

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from skadm.report._display import PLANES, Frame
from skadm.report._libraries import pillow

# Of matplotlib's inferno, without its black end, which would hide the scan.
COLOURS = (
    (87, 16, 110), (137, 34, 106), (187, 55, 84), (228, 90, 49), (249, 142, 9),
    (249, 201, 50), (252, 255, 164),
)  # fmt: skip
FLAGGED, LABELLED = (0, 229, 255), (124, 255, 90)
_OPACITY = 0.55
_WINDOW = (0.5, 99.5)  # percentiles of a contrast over the brain: black and white


def window(values: NDArray, brain: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Give intensities as grey values from 0 to 255, 0 outside the brain."""
    low, high = np.percentile(values[brain], _WINDOW)
    return np.where(brain, grey(values, float(low), float(high)), np.uint8(0))


def grey(values: NDArray, low: float, high: float) -> NDArray[np.uint8]:
    """Give numbers as grey values, `low` and less as 0, `high` and more as 255."""
    share = (values - low) / max(high - low, 1e-12)
    return np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8)


def n_columns(n_slices: int) -> int:
    """Slices side by side in a sprite."""
    return int(np.ceil(np.sqrt(n_slices)))


def sprite(voxels: NDArray[np.uint8], *, exact: bool) -> str:
    """Write all slices of grey values (z, y, x) side by side in one picture, a data URI.

    Slice i is in row i // n_columns and column i % n_columns. It is a PNG if every value
    must be kept (`exact`), else a JPEG, which is smaller for scans.
    """
    n_slices, height, width = voxels.shape
    columns = n_columns(n_slices)
    rows = -(-n_slices // columns)
    padded = np.zeros((rows * columns, height, width), np.uint8)
    padded[:n_slices] = voxels
    tiles = padded.reshape(rows, columns, height, width).swapaxes(1, 2)
    return _data_uri(tiles.reshape(rows * height, columns * width), exact=exact)


def draw_plane(
    number: int,
    frame: Frame,
    point: tuple[int, int, int],
    *,
    scan: NDArray[np.uint8],
    scores: NDArray[np.uint8],
    start: int,
    flagged: NDArray[np.bool_],
    labelled: NDArray[np.bool_] | None,
    pixels_per_mm: float,
) -> str:
    """Draw one of the three `PLANES`: scan, scores above it, outlines; a data URI.

    The arrays are (z, y, x), in a frame; the plane goes through the displayed voxel
    `point`, (x, y, z). Grey values of the scores from `start` on are coloured. By
    `pixels_per_mm`, voxels that are no cubes keep their proportions.
    """
    image, plane = pillow(), PLANES[number]
    size = tuple(
        max(1, round(frame.shape[axis] * frame.voxel_size[axis] * pixels_per_mm))
        for axis in (plane.across, plane.down)
    )

    def scaled(voxels: NDArray, how: Any) -> NDArray[np.uint8]:
        picture = image.fromarray(np.ascontiguousarray(plane.cut(voxels, point)))
        return np.asarray(picture.resize(size, how))

    smooth, nearest = image.Resampling.BILINEAR, image.Resampling.NEAREST
    canvas = np.repeat(scaled(scan, smooth)[..., np.newaxis], 3, axis=2).astype(float)
    heat = scaled(scores, smooth)
    shown = heat >= max(start, 1)
    canvas[shown] += _OPACITY * (colour_table()[heat[shown]] - canvas[shown])
    for mask, colour in ((labelled, LABELLED), (flagged, FLAGGED)):
        if mask is not None:
            inside = scaled(mask.astype(np.uint8), nearest) > 0
            canvas[inside & ~ndimage.binary_erosion(inside)] = colour
    return _data_uri(np.rint(canvas).astype(np.uint8), exact=False)


def colour_table() -> NDArray[np.float64]:
    """Colours of the grey values 0 to 255, shape (256, 3)."""
    places = np.linspace(0, 255, len(COLOURS))
    return np.stack(
        [np.interp(np.arange(256), places, channel) for channel in zip(*COLOURS)], axis=1
    )


def _data_uri(pixels: NDArray[np.uint8], *, exact: bool) -> str:
    buffer = io.BytesIO()
    picture = pillow().fromarray(pixels)
    if exact:
        picture.save(buffer, "PNG", optimize=True)
    else:
        picture.save(buffer, "JPEG", quality=85, optimize=True)
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/{'png' if exact else 'jpeg'};base64,{text}"
