"""Windows around the brain, to which computations are restricted.

More than half of a slice is background, and far more near the top of the head. A window
contains the brain of a slice and a margin; its sides are multiples of a few pixels, so
that many slices share a window size and can be scored in one batch. Training batches are
random and use their largest window: sorting slices by size before drawing put the same
slices together and made detectors worse.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from skadm._brain import brain_mask
from skadm._disk import release, row_chunks

# Margin of background around the brain, in pixels.
_RIM = 4
# Sizes and corners of windows are multiples of this, the stride of the coarsest level of
# most networks, so that windows are aligned with their grids.
_STEP = 8
# Slices read or written before their pages are released: the system maps up to some MiB
# of a file around each access.
_HELD = 16


class Windows:
    """Windows of slices (n, K, H, W) in memory or on disk.

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
        """Return windows (len(rows), channels, h, w) of slices, of the largest size.

        The channels of the parts, each (n, channels, H, W), are concatenated.
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
        """Write results for the windows of `cut` into whole slices (n, ..., H, W)."""
        size = np.array(values.shape[-2:])
        corners = self._corners(rows, size)
        for few in _few(len(rows)):
            for row, value, (top, left) in zip(rows[few], values[few], corners[few]):
                out[row, ..., top : top + size[0], left : left + size[1]] = value
            release(out)

    def _corners(self, rows: NDArray, size: NDArray) -> NDArray:
        return np.minimum(self.starts[rows], self.limits - size)

    def of_one_size(self, batch_size: int) -> Iterator[NDArray]:
        """Yield the rows of batches whose windows have the same size.

        So the margin of a slice does not depend on other slices.
        """
        order = np.lexsort(self.sizes.T)
        changes = np.any(np.diff(self.sizes[order], axis=0), axis=1)
        for group in np.split(order, np.flatnonzero(changes) + 1):
            yield from np.array_split(group, -(-len(group) // batch_size))


def _few(n_rows: int) -> Iterator[slice]:
    """Split rows into runs of `_HELD`."""
    for start in range(0, n_rows, _HELD):
        yield slice(start, start + _HELD)


def _bounds(brain: NDArray[np.bool_]) -> NDArray:
    """Return the bounding boxes of the brain, (n, 4): first row and column, ends."""
    bounds = np.zeros((len(brain), 4), dtype=np.intp)
    for axis in range(2):
        shown = np.asarray(brain.any(axis=2 - axis))
        bounds[:, axis] = shown.argmax(axis=1)
        bounds[:, 2 + axis] = shown.shape[1] - shown[:, ::-1].argmax(axis=1)
    bounds[~brain.any(axis=(1, 2))] = (0, 0, 1, 1)
    return bounds
