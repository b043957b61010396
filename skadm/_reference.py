"""Reference statistics of training slices and scores, and checks against them."""

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from skadm._brain import brain_mask
from skadm._disk import release, row_chunks
from skadm._validation import check_arrays

LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_LOW, _MIDDLE, _HIGH = (LEVELS.index(level) for level in (0.05, 0.5, 0.95))

# Limits beyond all measured patients: see docs/thresholds.md.
_MOST_SHIFT = 1.0
_MOST_STRETCH = 3.0
_MOST_GAIN = 0.2
# Minimum number of brain pixels for these checks.
_LEAST_PIXELS = 1000

_SAMPLE = 2**18

# Fractions of training pixels below the thresholds of a `ScoreReference`.
_SHARES = np.concatenate([[0], np.geomspace(1e-4, 0.5, 60), np.linspace(0.5, 1, 41)[1:]])
_OF_PATIENTS = 0.1, 0.9  # robust to outlying patients, unlike minimum and maximum
# Fractions of a brain, see docs/thresholds.md.
_LARGEST_LESION = 0.16
_MOST_FLAGGED = 0.25
_MOST_BEYOND = 0.06
# Minimum number of patients to estimate their variation.
_LEAST_PATIENTS = 3


class IntensityShiftWarning(UserWarning):
    """Intensities to be scored differ from those of the training."""


class FlaggedShareWarning(UserWarning):
    """More of a brain is flagged than expected, or scores differ from the training.

    Parameters
    ----------
    message : str
        Message.
    share : float, default=None
        Fraction of brain pixels flagged.
    expected : float, default=None
        Fraction flagged in normal training brains: the 90th percentile over patients.
    volume : str, default=None
        Name of the volume; None for slices of an array.
    """

    def __init__(
        self,
        message: str,
        share: float | None = None,
        expected: float | None = None,
        volume: str | None = None,
    ) -> None:
        super().__init__(message)
        self.share, self.expected, self.volume = share, expected, volume


@dataclass(frozen=True, eq=False)
class ScoreReference:
    """Distribution of the scores of normal training brains.

    The rows of `shares` are the 10th and 90th percentiles, over training patients, of the
    fraction of brain pixels below each threshold. If X has no patients, all slices are
    pooled.
    """

    thresholds: NDArray[np.float64]  # (n_thresholds,): normality, ascending
    shares: NDArray[np.float64]  # (2, n_thresholds)
    n_patients: int  # of the training; 1 if unknown

    def __post_init__(self) -> None:
        n_thresholds = len(self.thresholds)
        check_arrays(self, {"thresholds": (n_thresholds,), "shares": (2, n_thresholds)})

    @classmethod
    def of(
        cls,
        scores: NDArray,
        counts: NDArray[np.intp],
        patients: Sequence[str] | NDArray | None = None,
    ) -> "ScoreReference":
        """Compute the reference from training scores, chunk by chunk.

        Scores (n_pixels,) are the normality of the brain pixels, slice by slice, in
        memory or memory-mapped; `counts` and `patients` (n_slices,) are the number of
        brain pixels and the patient of each slice.
        """
        step = max(1, len(scores) // _SAMPLE)
        sample = scores[::step].astype(np.float64)
        release(scores)
        thresholds = np.unique(np.quantile(sample, _SHARES))
        names = np.zeros(len(counts)) if patients is None else np.asarray(patients)
        known, owner = np.unique(names, return_inverse=True)
        below = np.zeros((len(known), len(thresholds)))
        ends = np.cumsum(counts)
        for patient, start, end in zip(owner, ends - counts, ends):
            below[patient] += _n_below(thresholds, scores[start:end])
            release(scores)
        sizes = np.bincount(owner, counts, minlength=len(known))
        shares = below[sizes > 0] / sizes[sizes > 0, None]
        return cls(thresholds, np.quantile(shares, _OF_PATIENTS, axis=0), len(shares))

    def expected(self, threshold: float) -> float:
        """Return the interpolated fraction of a training brain below a threshold."""
        return float(np.interp(threshold, self.thresholds, self.shares[1], 0.0, 1.0))


class ScoreWatch:
    """Counts the scores of brains and warns about those unlike the training.

    Pixels below the threshold are flagged. `volumes` is the volume of each slice; None
    for slices of an array, which are pooled.
    """

    def __init__(
        self,
        reference: ScoreReference,
        threshold: float,
        volumes: Sequence[str | None] | NDArray,
    ) -> None:
        self.reference, self.threshold, self.volumes = reference, threshold, volumes
        self._counts: dict[str | None, NDArray] = {}

    def add(self, places: NDArray[np.intp], maps: NDArray, brain: NDArray) -> None:
        """Count the scores (n_slices, H, W) of the slices at some places."""
        thresholds = self.reference.thresholds
        for place, scores, inside in zip(places, maps, brain):
            volume = self.volumes[place]
            values = scores[inside]
            n_flagged = np.count_nonzero(values < values.dtype.type(self.threshold))
            counts = np.array([len(values), n_flagged, *_n_below(thresholds, values)])
            self._counts[volume] = self._counts.get(volume, 0) + counts

    def warn(self) -> None:
        """Warn about volumes of at least 1000 brain pixels that are not as expected.

        Warns
        -----
        FlaggedShareWarning
            If the flagged fraction exceeds the expected one by more than 16 % of the
            brain (the size of the largest lesions), or exceeds 25 %; or if at any other
            threshold the fraction below is more than 6 % of the brain outside the range
            of the training patients, allowing for lesions of 16 %. The latter needs three
            training patients.
        """
        expected = self.reference.expected(self.threshold)
        for volume, (n_brain, n_flagged, *n_below) in self._counts.items():
            if n_brain < _LEAST_PIXELS:
                continue
            share = n_flagged / n_brain
            if share > min(expected + _LARGEST_LESION, _MOST_FLAGGED):
                message = _flagged(volume, share, expected)
            else:
                message = self._shifted(volume, np.array(n_below) / n_brain)
            if message:
                name = None if volume is None else str(volume)
                warnings.warn(
                    FlaggedShareWarning(message, share, expected, name), stacklevel=4
                )

    def _shifted(self, volume: str | None, shares: NDArray) -> str:
        """Describe where the scores are outside the training range; "" if nowhere."""
        if self.reference.n_patients < _LEAST_PATIENTS:
            return ""
        low, high = (1 - _LARGEST_LESION) * self.reference.shares
        high = high + _LARGEST_LESION
        beyond = np.maximum(shares - high, low - shares)
        worst = int(beyond.argmax())
        if beyond[worst] <= _MOST_BEYOND:
            return ""
        return (
            f"{shares[worst]:.0%} of {_brain_of(volume)} scores below "
            f"{self.reference.thresholds[worst]:.3g}; expected {low[worst]:.0%} to "
            f"{high[worst]:.0%}, as in the normal training slices, with or without "
            f"lesions. {_NOT_ALIKE}"
        )


def _n_below(thresholds: NDArray, scores: NDArray) -> NDArray[np.intp]:
    """Count the scores below each threshold."""
    # Number of thresholds not above a score.
    passed = np.searchsorted(thresholds, scores, side="right")
    return np.cumsum(np.bincount(passed, minlength=len(thresholds) + 1))[:-1]


@dataclass(frozen=True, eq=False)
class TrainingReference:
    """Intensities and fingerprint of the slices that a detector was trained on."""

    # (n_contrasts, 7): 1, 5, 25, 50, 75, 95 and 99 % of each contrast, over brain pixels
    quantiles: NDArray[np.float64]
    # (n_contrasts, n_contrasts): over brain pixels, clipped to the 1 and 99 % quantiles
    correlations: NDArray[np.float64]
    n_slices: int
    n_patients: int | None  # None if unknown
    n_brain_pixels: int
    sha256: str  # of shape and values of the slices, in their order

    def __post_init__(self) -> None:
        n_contrasts = len(self.quantiles)
        shapes = {
            "quantiles": (n_contrasts, len(LEVELS)),
            "correlations": (n_contrasts, n_contrasts),
        }
        check_arrays(self, shapes)

    @classmethod
    def of(
        cls,
        X: NDArray[np.float32],
        patients: Sequence[str] | NDArray | None = None,
        brain: NDArray[np.bool_] | None = None,
    ) -> "TrainingReference":
        """Compute the reference from training slices with brain, chunk by chunk.

        The slices are in memory or on disk. `patients` and `brain` are optional.
        """
        digest = hashlib.sha256(repr(tuple(X.shape)).encode())
        n_pixels = 0
        for images, shown in _blocks(X, brain):
            digest.update(np.ascontiguousarray(images, "<f4").data)
            n_pixels += int(shown.sum())
        values = _sample(X, brain)
        quantiles = _quantiles(values)
        return cls(
            quantiles,
            _correlations(values, quantiles),
            len(X),
            None if patients is None else len(set(np.asarray(patients).tolist())),
            n_pixels,
            digest.hexdigest(),
        )

    def check(
        self,
        X: NDArray,
        contrasts: Sequence[str] | None = None,
        brain: NDArray[np.bool_] | None = None,
    ) -> bool:
        """Warn if slices, ideally all of a patient, differ from those of the training.

        Issues an `IntensityShiftWarning` if the median of a contrast differs from that of
        the training by more than the range between the 5 and 95 % quantiles of the
        training; if this range is less than a third or more than three times that of the
        training; or if swapping two contrasts makes the correlations much more like the
        training. With fewer than 1000 brain pixels there is no check. Returns whether
        there was a warning.
        """
        values = _sample(X, brain)
        if min(len(values), self.n_brain_pixels) < _LEAST_PIXELS:
            return False
        names = contrasts or [f"contrast {k}" for k in range(len(self.quantiles))]
        quantiles = _quantiles(values)
        shifted = False
        for name, measured, expected in zip(names, quantiles, self.quantiles):
            if _differs(measured, expected):
                shifted = True
                warnings.warn(
                    f"{name}: found intensities of {_range(measured)}; expected about "
                    f"{_range(expected)}, as in the training. Prepare the images as for "
                    "training, since scores are meaningless otherwise.",
                    IntensityShiftWarning,
                    stacklevel=2,
                )
        if shifted:
            return True
        complete = values[~np.isnan(values).any(axis=1)]
        if len(complete) < _LEAST_PIXELS:
            return False
        pair = self._swapped_contrasts(_correlations(complete, quantiles))
        if pair is None:
            return False
        one, other = pair
        warnings.warn(
            f"{names[one]} and {names[other]} may be swapped: after swapping, the "
            "correlations between contrasts are as in the training. Check the "
            "contrasts.",
            IntensityShiftWarning,
            stacklevel=2,
        )
        return True

    def _swapped_contrasts(
        self, correlations: NDArray[np.float64]
    ) -> tuple[int, int] | None:
        """Return two contrasts whose swap explains the correlations much better."""
        n_contrasts = len(correlations)
        if n_contrasts < 3:  # the correlation of two contrasts is symmetric
            return None

        def distance(order: list[int]) -> float:
            upper = np.triu_indices(n_contrasts, 1)
            return float(
                np.abs(correlations[np.ix_(order, order)] - self.correlations)[upper].mean()
            )

        as_it_is = list(range(n_contrasts))
        gains = {}
        for one, other in combinations(as_it_is, 2):
            order = as_it_is.copy()
            order[one], order[other] = other, one
            gains[one, other] = distance(as_it_is) - distance(order)
        best = max(gains, key=gains.__getitem__)
        return best if gains[best] > _MOST_GAIN else None


_NOT_ALIKE = (
    "Such scores indicate scans unlike the training (scanner, contrasts, preparation), "
    "for which the maps are not reliable."
)


def _brain_of(volume: str | None) -> str:
    return "the brain" if volume is None else f"the brain of {str(volume)!r}"


def _flagged(volume: str | None, share: float, expected: float) -> str:
    """Return the message that too much is flagged."""
    if expected + _LARGEST_LESION > _MOST_FLAGGED:
        why = "The threshold does not separate normal brain from lesions: choose another."
    else:
        why = _NOT_ALIKE
    return (
        f"{share:.0%} of {_brain_of(volume)} is flagged at the model's threshold; "
        f"expected up to {expected:.1%}, as in normal training slices, plus lesions, "
        f"which rarely exceed {_LARGEST_LESION:.0%}. {why}"
    )


def _blocks(
    X: NDArray, brain: NDArray[np.bool_] | None
) -> Iterator[tuple[NDArray, NDArray[np.bool_]]]:
    for rows in row_chunks(len(X), X[:1].nbytes):
        yield X[rows], brain_mask(X[rows]) if brain is None else brain[rows]
        release(X)


def _sample(X: NDArray, brain: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """Return contrasts of brain pixels (n_pixels, n_contrasts), subsampled if many."""
    n_pixels = X.shape[0] * X.shape[2] * X.shape[3]
    # Random but reproducible: every n-th pixel could be one column of all slices.
    random = np.random.default_rng(0)
    share = min(1.0, _SAMPLE / max(1, n_pixels))
    drawn = []
    for images, shown in _blocks(X, brain):
        values = images.transpose(0, 2, 3, 1)[shown]
        drawn.append(values[random.random(len(values)) < share].astype(np.float64))
    return np.concatenate(drawn) if drawn else np.empty((0, X.shape[1]))


def _quantiles(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return quantiles (n_contrasts, n_levels); NaN for missing contrasts."""
    if not len(values):
        return np.zeros((values.shape[1], len(LEVELS)))
    known = [column[~np.isnan(column)] for column in values.T]
    return np.stack(
        [
            np.quantile(column, LEVELS) if len(column) else np.full(len(LEVELS), np.nan)
            for column in known
        ]
    )


def _correlations(
    values: NDArray[np.float64], quantiles: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return correlations of the clipped contrasts; 0 for constant contrasts."""
    if not len(values):
        return np.eye(values.shape[1])
    centred = np.clip(values, quantiles[:, 0], quantiles[:, -1])
    centred -= centred.mean(axis=0)
    largest = np.abs(centred).max(axis=0)
    centred /= np.where(largest > 0, largest, 1)  # avoid overflow of squares
    lengths = np.sqrt(np.square(centred).sum(axis=0))
    centred /= np.where(lengths > 0, lengths, 1)
    return centred.T @ centred


def _differs(measured: NDArray, expected: NDArray) -> bool:
    spread, measured_spread = (q[_HIGH] - q[_LOW] for q in (expected, measured))
    # Constant in the training or missing here: no comparison.
    if spread <= 0 or np.isnan(measured_spread):
        return False
    shift = abs(measured[_MIDDLE] - expected[_MIDDLE])
    stretched = not spread / _MOST_STRETCH <= measured_spread <= spread * _MOST_STRETCH
    return bool(shift > _MOST_SHIFT * spread or stretched)


def _range(quantiles: NDArray) -> str:
    low, middle, high = (f"{quantiles[at]:.3g}" for at in (_LOW, _MIDDLE, _HIGH))
    return f"{low} to {high} (5 to 95 % of the brain), median {middle}"
