"""Thresholds on the normality scale and metrics at a threshold."""

import math

import numpy as np
from numpy.typing import ArrayLike

from skadm.metrics._pixels import (
    SortedPixels,
    as_pair,
    count_labels,
    cumulative_counts,
    described,
    part_by_label,
    raise_not_finite,
    sort_pixels,
)
from skadm.metrics._ranking import undefined


@described
def best_f1_threshold(y: ArrayLike, scores: ArrayLike) -> float:
    """Find the threshold with the best F1 over all thresholds, exactly.

    Parameters
    ----------
    %(y)s
    %(scores)s

    Returns
    -------
    float
        The threshold t such that calling ``scores < t`` anomalous has the best F1; it can
        be assigned to a detector's `offset_`. It is the midpoint between the highest score
        flagged and the next score, rounded to the precision of `scores` so that comparing
        in that precision flags exactly the same pixels; if there is no number of that
        precision between the two, it is the higher of them. If all pixels are flagged, it
        is the next number above the highest score. Among equally good thresholds, the
        lowest is returned, which flags the fewest pixels.

    Raises
    ------
    ValueError
        If `y` holds no anomalous or no normal pixel, the shapes differ, `y` holds other
        labels, or an evaluated score is not finite.
    """
    pixels = sort_pixels(y, scores)
    missing = pixels.counts.missing()
    if missing is not None:
        raise ValueError(
            "the best F1 threshold needs normal and anomalous pixels, but y has "
            f"{missing} among its {sum(pixels.counts)} evaluated pixels. Choose it on "
            "slices with a lesion."
        )
    _, last_flagged = _best_f1(pixels)
    return _threshold_above(last_flagged, pixels)


@described
def best_dice_score(y: ArrayLike, scores: ArrayLike) -> float:
    """Compute the best Dice coefficient over all thresholds.

    For pooled pixels Dice equals F1, so this is the F1 at `best_f1_threshold` on the same
    data: an upper bound for thresholds chosen on other data.

    Parameters
    ----------
    %(y)s
    %(scores)s

    Returns
    -------
    float
        Best possible Dice. NaN, with an `UndefinedMetricWarning`, when `y` holds no
        anomalous or no normal pixel.

    Raises
    ------
    ValueError
        If the shapes differ, `y` holds other labels or only -1, or an evaluated score is
        not finite.
    """
    pixels = sort_pixels(y, scores)
    if undefined("best Dice", pixels.counts):
        return float("nan")
    return _best_f1(pixels)[0]


@described
def pixel_fpr_at_tpr_score(y: ArrayLike, scores: ArrayLike, *, tpr: float = 0.95) -> float:
    """Compute the false positive rate at a given true positive rate.

    Parameters
    ----------
    %(y)s
    %(scores)s
    tpr : float, default=0.95
        True positive rate, in (0, 1].

    Returns
    -------
    float
        Lowest false positive rate of a threshold with at least this true positive rate;
        lower is better. NaN, with an `UndefinedMetricWarning`, when `y` holds no
        anomalous or no normal pixel.

    Raises
    ------
    ValueError
        If the shapes differ, `tpr` is out of range, `y` holds other labels or only -1,
        or an evaluated score is not finite.
    """
    if not 0 < tpr <= 1:
        raise ValueError(f"tpr is {tpr}; expected a number in (0, 1].")
    pixels = sort_pixels(y, scores)
    if undefined(f"FPR at {tpr:g} TPR", pixels.counts):
        return float("nan")
    # Rounded first: 0.95 of 100 is 95 pixels, not 96.
    needed = int(np.ceil(round(tpr * pixels.anomalous.size, 6)))
    last = pixels.anomalous[max(needed, 1) - 1]
    flagged = np.searchsorted(pixels.normal, last, side="right")
    return float(flagged / pixels.normal.size)


@described
def pixel_scores_at_threshold(
    y: ArrayLike, scores: ArrayLike, threshold: float, *, zero_division: float = 0.0
) -> dict[str, float]:
    """Compute precision, recall, F1, Dice and specificity at one threshold.

    Parameters
    ----------
    %(y)s
    %(scores)s
    threshold : float
        Pixels with a score below it are flagged; compared in the precision of `scores`,
        as ``score_samples(X) - offset_ < 0`` in `predict`.
    zero_division : float, default=0.0
        Value of a ratio 0/0: precision when no pixel is flagged, recall when none is
        anomalous, F1 and Dice when neither is, specificity when none is normal.
        Pass ``numpy.nan`` to mark these cases.

    Returns
    -------
    dict
        The keys precision, recall, f1, dice and specificity. For pooled pixels Dice
        equals F1; both names are in common use.

    Raises
    ------
    ValueError
        If the shapes differ, `y` holds other labels or only -1, an evaluated score is not
        finite, or the threshold is NaN.
    """
    limit = float(threshold)
    if math.isnan(limit):
        raise ValueError("threshold is NaN; expected a number on the scale of the scores.")
    labels, values = as_pair(y, scores)
    counts = count_labels(labels)
    true_positives = false_positives = bad = 0
    for anomalous, normal in part_by_label(labels, values):
        true_positives += int(np.count_nonzero(anomalous < limit))
        false_positives += int(np.count_nonzero(normal < limit))
        bad += sum(
            int(np.count_nonzero(~np.isfinite(part))) for part in (anomalous, normal)
        )
    if bad:
        raise_not_finite(bad, sum(counts))

    def ratio(part: int, whole: int) -> float:
        return part / whole if whole else float(zero_division)

    flagged = true_positives + false_positives
    f1 = ratio(2 * true_positives, flagged + counts.anomalous)
    return {
        "precision": ratio(true_positives, flagged),
        "recall": ratio(true_positives, counts.anomalous),
        "f1": f1,
        "dice": f1,
        "specificity": ratio(counts.normal - false_positives, counts.normal),
    }


def _best_f1(pixels: SortedPixels) -> tuple[float, np.floating]:
    """Return the best F1 and the highest score it flags.

    Raising the threshold past normal pixels alone only lowers F1, so the best set ends at
    the score of an anomalous pixel.
    """
    best, last_flagged = -1.0, pixels.anomalous[0]
    for values, true_positives, false_positives in cumulative_counts(pixels):
        f1 = 2 * true_positives / (true_positives + false_positives + pixels.anomalous.size)
        i = int(np.argmax(f1))
        if f1[i] > best:
            best, last_flagged = float(f1[i]), values[i]
    return best, last_flagged


def _threshold_above(score: np.floating, pixels: SortedPixels) -> float:
    """Return a number t of the scores' dtype with score < t <= the next higher score."""
    above = [
        part[i]
        for part in pixels
        if (i := int(np.searchsorted(part, score, side="right"))) < part.size
    ]
    if not above:
        with np.errstate(over="ignore"):  # above the largest number only infinity is left
            return float(np.nextafter(score, score.dtype.type(np.inf)))
    following = min(above)
    # Halve first, in float64: the difference of two large scores could overflow.
    middle = score.dtype.type(float(score) / 2 + float(following) / 2)
    return float(middle if score < middle <= following else following)
