"""Exact quantiles of arrays that may exceed memory."""

import numpy as np
from numpy.typing import NDArray

from skadm._disk import release, row_chunks

_LOW_BITS = 16
# Temporary arrays take six times the bytes of a chunk.
_CHUNK_BYTES = 2**22


def quantile(values: NDArray[np.float32], q: float) -> float:
    """Compute a quantile of finite float32 numbers (n,), as `numpy.quantile`.

    Numbers, in memory or on disk, are counted by the upper 16 bits of their
    representation, then within the matching bin by the lower 16 bits. This takes three
    passes in constant memory, without sorting.
    """
    place = q * (len(values) - 1)
    low = int(place)
    below = value_of_rank(values, low)
    above = value_of_rank(values, min(low + 1, len(values) - 1)) if place > low else below
    return below + (above - below) * (place - low)


def value_of_rank(values: NDArray[np.float32], rank: int) -> float:
    """Return the number of a rank, from 0 to n - 1, in ascending order."""
    upper, rank = _bin_of(values, rank, None)
    lower, _ = _bin_of(values, rank, upper)
    key = np.array([upper << _LOW_BITS | lower], dtype=np.uint32)
    return float(_from_keys(key)[0])


def _bin_of(values: NDArray[np.float32], rank: int, upper: int | None) -> tuple[int, int]:
    """Return the upper (or, given these, lower) bits for a rank, and the rank within."""
    counts = np.zeros(1 << _LOW_BITS, dtype=np.int64)
    for rows in row_chunks(len(values), values.itemsize, _CHUNK_BYTES):
        keys = _to_keys(values[rows])
        bins = keys >> _LOW_BITS
        if upper is not None:
            bins = keys[bins == upper] & ((1 << _LOW_BITS) - 1)
        counts += np.bincount(bins, minlength=len(counts))
        release(values)
    before = np.cumsum(counts)
    bin_index = int(np.searchsorted(before, rank, side="right"))
    return bin_index, rank - int(before[bin_index] - counts[bin_index])


def _to_keys(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Map numbers to unsigned integers of the same order.

    The bits of positive floating-point numbers are in ascending order, those of negative
    ones in descending order.
    """
    bits = (values + np.float32(0)).view(np.uint32)  # -0 becomes 0
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))


def _from_keys(keys: NDArray[np.uint32]) -> NDArray[np.float32]:
    bits = np.where(keys >> 31, keys & np.uint32(0x7FFFFFFF), ~keys)
    return bits.astype(np.uint32).view(np.float32)
