"""Checks of labels and scores, and their split into anomalous and normal pixels.

At 10^8 pixels every copy takes 400 MB, so passes are chunked, the scores keep their
dtype, and sorting is in place in a single copy.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import joblib
import numpy as np
from numpy.typing import ArrayLike, NDArray

from skadm._arrays import as_numbers
from skadm._docstrings import described_by

CHUNK = 1 << 20

_WORTH_THREADS = 1 << 19  # scores; threads do not pay off below this number


described = described_by(
    y="""\
y : array-like of any shape
    Labels: 0 normal, 1 anomaly, -1 ignored.""",
    y_of_slices="""\
y : array-like of shape (n_slices, H, W)
    Labels: 0 normal, 1 anomaly, -1 ignored.""",
    scores="""\
scores : array-like of the same shape
    Normality, higher = more normal, as `score_samples` returns it.""",
    groups="""\
groups : array-like of shape (n_slices,)
    Patient of each slice; slices of a patient are in the order of the volume.""",
    min_size="""\
min_size : int, default=1
    Flagged components of fewer pixels are ignored.""",
    min_overlap="""\
min_overlap : float, default=0.2
    Fraction of a flagged component that must lie on lesions for a hit; 0: a single pixel
    suffices.""",
)


class LabelCounts(NamedTuple):
    """Numbers of evaluated pixels."""

    anomalous: int
    normal: int

    def missing(self) -> str | None:
        """Return the missing kind of pixel, or None if both are present."""
        if self.anomalous == 0:
            return "no anomalous pixel (y == 1)"
        if self.normal == 0:
            return "no normal pixel (y == 0)"
        return None


class SortedPixels(NamedTuple):
    """Scores of the evaluated pixels by label, each array ascending."""

    anomalous: NDArray
    normal: NDArray

    @property
    def counts(self) -> LabelCounts:
        """Number of pixels of each label."""
        return LabelCounts(self.anomalous.size, self.normal.size)


def as_labels(y: ArrayLike | None) -> NDArray:
    """Return the labels as an array; raise a ValueError for None."""
    if y is None:
        raise ValueError(
            "y is None; expected pixel labels (0 normal, 1 anomaly, -1 ignored) of the "
            "shape of the scores."
        )
    return as_numbers(y, "y")


def as_pair(y: ArrayLike | None, scores: ArrayLike) -> tuple[NDArray, NDArray]:
    """Return labels and floating-point scores of one shape."""
    labels, values = as_labels(y), as_numbers(scores, "scores")
    if labels.shape != values.shape:
        raise ValueError(
            f"y has shape {labels.shape}, but scores have shape {values.shape}; expected "
            "equal shapes, with one label and one normality score per pixel."
        )
    if values.dtype.kind != "f" or values.dtype.itemsize > 8:
        values = values.astype(np.float64)
    return labels, values


def count_labels(y: NDArray) -> LabelCounts:
    """Count anomalous and normal pixels; raise for labels other than -1, 0 and 1."""
    flat = y.ravel()
    anomalous = normal = ignored = 0
    for start in range(0, flat.size, CHUNK):
        chunk = flat[start : start + CHUNK]
        anomalous += int(np.count_nonzero(chunk == 1))
        normal += int(np.count_nonzero(chunk == 0))
        ignored += int(np.count_nonzero(chunk == -1))
    if anomalous + normal + ignored != flat.size:
        others = np.unique(flat[~np.isin(flat, (-1, 0, 1))])
        shown = ", ".join(str(value) for value in others[:5]) + (
            ", ..." if others.size > 5 else ""
        )
        raise ValueError(
            f"y holds labels other than -1, 0 and 1: {shown}. Expected 0 for normal, 1 for "
            "anomalous and -1 for ignored pixels; binarise a mask first, e.g. (mask > 0)."
        )
    if anomalous + normal == 0:
        raise ValueError(
            f"y of shape {y.shape} holds only ignored pixels (-1); expected 0 (normal) "
            "and 1 (anomaly) inside the brain."
        )
    return LabelCounts(anomalous, normal)


def part_by_label(y: NDArray, scores: NDArray) -> Iterator[tuple[NDArray, NDArray]]:
    """Yield the scores of the anomalous and of the normal pixels, chunk by chunk."""
    flat_y, flat_scores = y.ravel(), scores.ravel()
    for start in range(0, flat_y.size, CHUNK):
        labels = flat_y[start : start + CHUNK]
        values = flat_scores[start : start + CHUNK]
        yield values[labels == 1], values[labels == 0]


def raise_not_finite(count: int, evaluated: int) -> None:
    """Raise the error for scores that are NaN or infinite."""
    raise ValueError(
        f"scores hold {count} non-finite values (NaN or infinity) in {evaluated} evaluated "
        "pixels; every pixel with y of 0 or 1 needs a finite score."
    )


def sort_pixels(y: ArrayLike | None, scores: ArrayLike) -> SortedPixels:
    """Check labels and scores, and sort the scores by label, keeping their dtype."""
    labels, values = as_pair(y, scores)
    counts = count_labels(labels)
    parts = [np.empty(count, dtype=values.dtype) for count in counts]
    filled = [0, 0]
    for chunks in part_by_label(labels, values):
        for i, chunk in enumerate(chunks):
            parts[i][filled[i] : filled[i] + chunk.size] = chunk
            filled[i] += chunk.size
    for part in parts:
        sort_in_place(part, number_of_threads())
    # After sorting, -inf is first, +inf and NaN are last: checking the ends suffices.
    if not all(np.isfinite(part[[0, -1]]).all() for part in parts if part.size):
        bad = sum(int(np.count_nonzero(~np.isfinite(part))) for part in parts)
        raise_not_finite(bad, sum(counts))
    return SortedPixels(*parts)


def sort_in_place(values: NDArray, n_threads: int) -> None:
    """Partition by rank, then sort the parts in parallel threads."""
    if n_threads == 1 or values.size < max(2, _WORTH_THREADS):
        values.sort()
        return
    # One cut at a time: NumPy is several times slower with several.
    share = n_threads // 2
    cut = values.size * share // n_threads
    values.partition(cut)
    parts, shares = (values[:cut], values[cut:]), (share, n_threads - share)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(sort_in_place, parts, shares))


def number_of_threads() -> int:
    """Return OMP_NUM_THREADS (joblib sets it for its workers), or all processors."""
    allowed = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return int(allowed) if allowed.isdecimal() and int(allowed) else joblib.cpu_count()


def cumulative_counts(pixels: SortedPixels) -> Iterator[tuple[NDArray, NDArray, NDArray]]:
    """Count the pixels flagged when every score up to an anomalous pixel's is flagged.

    A chunk holds scores of anomalous pixels in ascending order, and for each score the
    numbers of anomalous and normal pixels with at most this score. Ties share counts.
    """
    for start in range(0, pixels.anomalous.size, CHUNK):
        values = pixels.anomalous[start : start + CHUNK]
        true_positives = np.searchsorted(pixels.anomalous, values, side="right")
        false_positives = np.searchsorted(pixels.normal, values, side="right")
        yield values, true_positives, false_positives
