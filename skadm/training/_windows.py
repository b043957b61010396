"""Windows around the brain: where something has to be computed.

More than half of a slice is background, of a slice near the top of the head far more. A
window holds the brain of one slice and a rim; its sides are multiples of a few pixels, so
that many slices have windows of one size, which make a batch of scoring. A batch of
training is drawn at random and takes the size of its largest window: with slices sorted
by size before they are drawn, the same ones always met, and detectors became worse.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from skadm._brain import brain_mask
from skadm._disk import release, row_chunks

# Background that a network still sees around the brain, in pixels.
_RIM = 4
# Sides of windows, and where they begin, are multiples: as coarse as the coarsest level of
# most networks, so that a window does not move their grids.
_STEP = 8
# Slices that are read or written before their pages are let go: the system maps far more of
# a file around a slice that is touched, up to some MiB.
_HELD = 16


class Windows:
    """A window for each slice, (n, K, H, W), in memory or on disk.

    `starts` are the first row and column, `sizes` height and width, both (n, 2).
    """

    def __init__(self, images: NDArray) -> None:
        self.limits = np.array(images.shape[2:])
        boxes = []
        for rows in row_chunks(len(images), images[:1].nbytes):
            boxes.append(_bounds(brain_mask(images[rows])))
            release(images)
        first, last = np.split(np.concatenate(boxes), 2, axis=1)
        self.starts = np.maximum(first - _RIM, 0) // _STEP * _STEP
        ends = -(-(last + _RIM) // _STEP) * _STEP
        self.sizes = np.minimum(ends, self.limits) - self.starts

    def cut(self, parts: tuple[NDArray, ...], rows: NDArray) -> NDArray[np.float32]:
        """Windows of some slices, (len(rows), channels, h, w), as large as the largest.

        The channels of the parts, each (n, channels, H, W), go side by side.
        """
        size = self.sizes[rows].max(axis=0)
        corners = self._corners(rows, size)
        n_channels = sum(part.shape[1] for part in parts)
        batch = np.empty((len(rows), n_channels, *size), np.float32)
        first = 0
        for part in parts:
            channels = slice(first, first + part.shape[1])
            for few in _few(len(rows)):
                for out, row, (top, left) in zip(batch[few], rows[few], corners[few]):
                    out[channels] = part[row, :, top : top + size[0], left : left + size[1]]
                release(part)
            first = channels.stop
        return batch

    def paste(self, out: NDArray, rows: NDArray, values: NDArray) -> None:
        """Put results for the windows of `cut` into whole slices, (n, ..., H, W)."""
        size = np.array(values.shape[-2:])
        corners = self._corners(rows, size)
        for few in _few(len(rows)):
            for row, value, (top, left) in zip(rows[few], values[few], corners[few]):
                out[row, ..., top : top + size[0], left : left + size[1]] = value
            release(out)

    def _corners(self, rows: NDArray, size: NDArray) -> NDArray:
        return np.minimum(self.starts[rows], self.limits - size)

    def of_one_size(self, batch_size: int) -> Iterator[NDArray]:
        """All slices in batches whose windows have one size: their rows.

        No slice then has more background around it because of another one.
        """
        order = np.lexsort(self.sizes.T)
        changes = np.any(np.diff(self.sizes[order], axis=0), axis=1)
        for group in np.split(order, np.flatnonzero(changes) + 1):
            yield from np.array_split(group, -(-len(group) // batch_size))


def _few(n_rows: int) -> Iterator[slice]:
    """Cut rows into runs of `_HELD`."""
    for start in range(0, n_rows, _HELD):
        yield slice(start, start + _HELD)


def _bounds(brain: NDArray[np.bool_]) -> NDArray:
    """First and last + 1 row and column with brain, (n, 4): two firsts, two lasts."""
    bounds = np.zeros((len(brain), 4), dtype=np.intp)
    for axis in range(2):
        shown = np.asarray(brain.any(axis=2 - axis))
        bounds[:, axis] = shown.argmax(axis=1)
        bounds[:, 2 + axis] = shown.shape[1] - shown[:, ::-1].argmax(axis=1)
    bounds[~brain.any(axis=(1, 2))] = (0, 0, 1, 1)
    return bounds
