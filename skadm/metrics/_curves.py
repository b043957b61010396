"""ROC and precision-recall curves, thinned for plotting."""

import heapq

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skadm.metrics._pixels import SortedPixels, cumulative_counts, described, sort_pixels

Curve = tuple[NDArray, NDArray, NDArray]


@described
def pixel_roc_curve(
    y: ArrayLike, scores: ArrayLike, max_points: int | None = 1000
) -> Curve:
    """Compute the ROC curve over pixels, thinned for plotting.

    Parameters
    ----------
    %(y)s
    %(scores)s
    max_points : int or None, default=1000
        Maximum number of points, at least 4. Each is a point of the full curve, both ends
        are kept, and the area under the thinned curve differs from the exact one by less
        than ``1 / (max_points - 1)``, usually far less. None: all points except collinear
        ones, as :func:`sklearn.metrics.roc_curve`.

    Returns
    -------
    fpr : ndarray of shape (n_points,)
        False positive rates, from 0 to 1.
    tpr : ndarray of shape (n_points,)
        True positive rates, from 0 to 1.
    thresholds : ndarray of shape (n_points,)
        Normality thresholds, ascending from -inf (nothing flagged): ``scores < threshold``
        flags the pixels of that point.

    Raises
    ------
    ValueError
        If `y` holds no anomalous or no normal pixel, the shapes differ, `y` holds other
        labels, an evaluated score is not finite, or `max_points` is below 4.
    """
    pixels = _pixels_of_both_labels("ROC", y, scores, max_points)
    if max_points is None or sum(pixels.counts) < max_points:
        values, true_positives, false_positives = _all_points(pixels)
        corner = (np.diff(true_positives, 2) != 0) | (np.diff(false_positives, 2) != 0)
        keep = np.concatenate(([True], corner, [True]))[: values.size]
        thresholds = _next_above(values[keep])
        true_positives, false_positives = true_positives[keep], false_positives[keep]
    else:
        thresholds = _thin_roc_thresholds(pixels, (max_points - 2) // 2)
        true_positives, false_positives = _counts_below(pixels, thresholds)
    return (
        np.concatenate(([0.0], false_positives / pixels.normal.size)),
        np.concatenate(([0.0], true_positives / pixels.anomalous.size)),
        np.concatenate(([-np.inf], thresholds)).astype(pixels.normal.dtype),
    )


@described
def pixel_precision_recall_curve(
    y: ArrayLike, scores: ArrayLike, max_points: int | None = 1000
) -> Curve:
    """Compute the precision-recall curve over pixels, thinned for plotting.

    Parameters
    ----------
    %(y)s
    %(scores)s
    max_points : int or None, default=1000
        Maximum number of points, at least 4. Each is a point of the full curve, both ends
        are kept, and points lie densest where precision changes fastest. None: all points,
        as :func:`sklearn.metrics.precision_recall_curve`.

    Returns
    -------
    precision : ndarray of shape (n_points,)
        Precision; the last is 1, by convention. The first is the share of anomalous pixels.
    recall : ndarray of shape (n_points,)
        Recall, from 1 to 0. ``-sum(diff(recall) * precision[:-1])`` is the average
        precision, up to the thinning.
    thresholds : ndarray of shape (n_points - 1,)
        Normality thresholds, descending: ``scores < threshold`` flags the pixels of that
        point. The last point, nothing flagged, has none.

    Raises
    ------
    ValueError
        If `y` holds no anomalous or no normal pixel, the shapes differ, `y` holds other
        labels, an evaluated score is not finite, or `max_points` is below 4.
    """
    pixels = _pixels_of_both_labels("precision-recall", y, scores, max_points)
    if max_points is None or sum(pixels.counts) < max_points:
        values, true_positives, false_positives = _all_points(pixels)
        thresholds = _next_above(values)
    else:
        values = _thin_precision_recall_values(pixels, max_points - 2)
        highest = max(part[-1] for part in pixels)
        thresholds = np.unique(np.append(_next_above(values), _next_above(highest)))
        true_positives, false_positives = _counts_below(pixels, thresholds)
    precision = true_positives / (true_positives + false_positives)
    return (
        np.append(precision[::-1], 1.0),
        np.append(true_positives[::-1] / pixels.anomalous.size, 0.0),
        thresholds[::-1],
    )


def _pixels_of_both_labels(
    curve: str, y: ArrayLike, scores: ArrayLike, max_points: int | None
) -> SortedPixels:
    if max_points is not None and max_points < 4:
        raise ValueError(f"max_points must be at least 4 or None, got {max_points}.")
    pixels = sort_pixels(y, scores)
    missing = pixels.counts.missing()
    if missing is not None:
        raise ValueError(
            f"the {curve} curve needs normal and anomalous pixels, but y has {missing} "
            f"among its {sum(pixels.counts)} evaluated pixels."
        )
    return pixels


def _next_above(values: NDArray) -> NDArray:
    """Return the smallest thresholds that flag `values` by a strict comparison."""
    with np.errstate(over="ignore"):  # above the largest number only infinity is left
        return np.nextafter(values, values.dtype.type(np.inf))


def _counts_below(pixels: SortedPixels, thresholds: NDArray) -> tuple[NDArray, NDArray]:
    """Count true and false positives of ``score < threshold``."""
    true_positives, false_positives = (np.searchsorted(part, thresholds) for part in pixels)
    return true_positives, false_positives


def _all_points(pixels: SortedPixels) -> tuple[NDArray, NDArray, NDArray]:
    """Return every distinct score, ascending, and the counts of scores not above it."""
    values = np.unique(np.concatenate(pixels))
    true_positives, false_positives = (
        np.searchsorted(part, values, side="right") for part in pixels
    )
    return values, true_positives, false_positives


def _thin_roc_thresholds(pixels: SortedPixels, n_levels: int) -> NDArray:
    """Choose thresholds equally spaced along fpr + tpr.

    At each of `n_levels` levels of s = fpr + tpr between 0 and 2, the last point of the
    full curve up to the level and the first beyond it are kept, so that a jump made by tied
    scores keeps both its ends. Between two levels the curve then runs within a box with
    sides that sum to 2 / (n_levels + 1); the areas left out are at most half the boxes and
    sum to at most 1 / (2 n_levels + 2).
    """
    levels = 2 * np.arange(1, n_levels + 1) / (n_levels + 1)
    highest = max(part[-1] for part in pixels)
    # The smallest score with s beyond a level is that of an anomalous or of a normal pixel.
    crossing = np.full(n_levels, highest)
    for part in pixels:
        index = _first_beyond(part, levels, pixels)
        inside = index < part.size
        crossing[inside] = np.minimum(crossing[inside], part[index[inside]])
    thresholds = np.unique(
        np.concatenate((crossing, _next_above(crossing), [_next_above(highest)]))
    )
    # The lowest score as threshold flags nothing: this end point is added separately.
    return thresholds[thresholds > min(part[0] for part in pixels)]


def _first_beyond(values: NDArray, levels: NDArray, pixels: SortedPixels) -> NDArray:
    """Bisect for the first of `values` whose fpr + tpr exceeds each level."""
    low = np.zeros(levels.size, dtype=np.intp)
    high = np.full(levels.size, values.size, dtype=np.intp)
    while (open_ := low < high).any():
        middle = (low + high) // 2
        score = values[np.minimum(middle, values.size - 1)]
        height = sum(
            np.searchsorted(part, score, side="right") / part.size for part in pixels
        )
        beyond = height > levels
        high = np.where(open_ & beyond, middle, high)
        low = np.where(open_ & ~beyond, middle + 1, low)
    return low


def _thin_precision_recall_values(pixels: SortedPixels, n_points: int) -> NDArray:
    """Choose anomalous pixels' scores at which to evaluate the precision-recall curve.

    Between two chosen pixels, the thinned curve adds the width in recall times the
    precision at the end, while the exact sum has the mean precision of the pixels. The
    interval with the largest error is halved repeatedly.
    """
    scores = pixels.anomalous
    precision = np.concatenate([tp / (tp + fp) for _, tp, fp in cumulative_counts(pixels)])
    area = np.concatenate(([0.0], np.cumsum(precision)))

    def stretch(start: int, stop: int) -> tuple[float, int, int]:
        error = abs(area[stop] - area[start] - (stop - start) * precision[stop - 1])
        return (-error, start, stop)

    heap = [stretch(0, scores.size)]
    ends = {scores.size}
    while heap and len(ends) < n_points:
        _, start, stop = heapq.heappop(heap)
        # A cut never splits tied pixels: it moves to the end or start of their run.
        middle = scores[(start + stop - 1) // 2]
        cut = int(np.searchsorted(scores, middle, side="right"))
        if cut >= stop:
            cut = int(np.searchsorted(scores, middle, side="left"))
        if cut <= start:
            continue
        ends.add(cut)
        heapq.heappush(heap, stretch(start, cut))
        heapq.heappush(heap, stretch(cut, stop))
    return scores[np.array(sorted(ends)) - 1]
