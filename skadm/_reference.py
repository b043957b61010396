"""What the slices and scores of a training looked like, and whether others do."""

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

# Limits far from all patients on which they were measured: see docs/persistence.md.
_MOST_SHIFT = 1.0
_MOST_STRETCH = 3.0
_MOST_GAIN = 0.2
# Fewer brain pixels say little about the intensities of a scan.
_LEAST_PIXELS = 1000

_SAMPLE = 2**18

# Shares of the training below the thresholds of which a `ScoreReference` keeps count.
_SHARES = np.concatenate([[0], np.geomspace(1e-4, 0.5, 60), np.linspace(0.5, 1, 41)[1:]])
_OF_PATIENTS = 0.1, 0.9  # the least and the highest share would be those of odd patients
# Shares of a brain, see docs/persistence.md.
_LARGEST_LESION = 0.16
_MOST_FLAGGED = 0.25
_MOST_BEYOND = 0.06
# Fewer say little about how much patients differ.
_LEAST_PATIENTS = 3


class IntensityShiftWarning(UserWarning):
    """Intensities to be scored are not like those of the training."""


class FlaggedShareWarning(UserWarning):
    """More of a brain is flagged than lesions make up, or scores are not as trained on.

    Parameters
    ----------
    message : str
        What to tell.
    share : float, default=None
        Share of the brain pixels that is flagged.
    expected : float, default=None
        Share that is flagged of a normal brain of the training: nine of ten patients have
        less.
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
    """How much of the normal brains of a training lies below any threshold.

    Shares are of the brain pixels with a score below each threshold: one of ten patients of
    the training has less than the first row, nine of ten have less than the second. They
    are of all its slices together, if X does not name patients.
    """

    thresholds: NDArray[np.float64]  # (n_thresholds,): normality, ascending
    shares: NDArray[np.float64]  # (2, n_thresholds)
    n_patients: int  # of the training; 1 if X does not name them

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
        """Look at the scores of a training, some at a time; the result is small.

        Scores are the normality of the brain pixels, slice by slice, (n_pixels,), in memory
        or mapped to a file; `counts` the brain pixels of each slice, and `patients` its
        patient, (n_slices,).
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
        """Share of a brain of the training below a threshold, interpolated."""
        return float(np.interp(threshold, self.thresholds, self.shares[1], 0.0, 1.0))


class ScoreWatch:
    """Counts the scores of brains, and warns of those that are not as in the training.

    A pixel below the threshold is flagged. `volumes` names the volume of each slice; None
    for slices of an array, which are looked at together.
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
        """Warn of the volumes with 1000 brain pixels or more that are not as expected.

        Warns
        -----
        FlaggedShareWarning
            If the share flagged is above the expected one by more than 16 % of the brain,
            which is as much as the largest lesions make up, or is above 25 % anyway; or if
            at any other threshold the share below is farther than 6 % of the brain outside
            what the patients of the training have, lesions of 16 % added. The latter needs
            three patients in the training.
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
        """Say where the scores are distributed as in no training patient; "" if nowhere."""
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
            f"{high[worst]:.0%}, as of the normal slices of the training, with or without "
            f"lesions. {_NOT_ALIKE}"
        )


def _n_below(thresholds: NDArray, scores: NDArray) -> NDArray[np.intp]:
    """Number of scores below each threshold."""
    # Number of thresholds that do not lie above a score.
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
    n_patients: int | None  # if X told them
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
        """Look at the slices of a training with some brain, some at a time.

        They are in memory or on disk. `patients` and `brain` of each slice are given if
        known.
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
        """Warn if slices, best all of a patient, do not look like those of the training.

        There is an `IntensityShiftWarning` if the median of a contrast is farther from that
        of the training than the 5 and 95 % quantiles of the training are from each other;
        if this range is less than a third or more than three times that of the training; or
        if two contrasts, exchanged, correlate with the others much more as in the training.
        With fewer than 1000 brain pixels nothing is said. Returned is whether there was
        anything to warn of.
        """
        values = _sample(X, brain)
        if min(len(values), self.n_brain_pixels) < _LEAST_PIXELS:
            return False
        names = contrasts or [f"contrast {k}" for k in range(len(self.quantiles))]
        quantiles = _quantiles(values)
        shifted = False
        for name, found, expected in zip(names, quantiles, self.quantiles):
            if _differs(found, expected):
                shifted = True
                warnings.warn(
                    f"{name}: found intensities of {_range(found)}; expected about "
                    f"{_range(expected)}, as in the training. Scores of images that were "
                    "prepared in another way mean nothing.",
                    IntensityShiftWarning,
                    stacklevel=2,
                )
        if shifted:
            return True
        complete = values[~np.isnan(values).any(axis=1)]
        if len(complete) < _LEAST_PIXELS:
            return False
        pair = self._exchanged(_correlations(complete, quantiles))
        if pair is None:
            return False
        one, other = pair
        warnings.warn(
            f"{names[one]} and {names[other]} may be exchanged: the other way round, "
            "contrasts correlate with each other as they do in the training.",
            IntensityShiftWarning,
            stacklevel=2,
        )
        return True

    def _exchanged(self, found: NDArray[np.float64]) -> tuple[int, int] | None:
        """The two contrasts whose exchange explains the correlations much better."""
        n_contrasts = len(found)
        if n_contrasts < 3:  # the correlation of two is the same both ways
            return None

        def distance(order: list[int]) -> float:
            upper = np.triu_indices(n_contrasts, 1)
            return float(
                np.abs(found[np.ix_(order, order)] - self.correlations)[upper].mean()
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
    "Scans that are not like those of the training (scanner, contrasts, preparation) are "
    "scored so; what is flagged then says nothing of lesions."
)


def _brain_of(volume: str | None) -> str:
    return "the brain" if volume is None else f"the brain of {str(volume)!r}"


def _flagged(volume: str | None, share: float, expected: float) -> str:
    """Say that too much is flagged."""
    if expected + _LARGEST_LESION > _MOST_FLAGGED:
        why = "The threshold does not tell normal brain from lesions: choose another."
    else:
        why = _NOT_ALIKE
    return (
        f"{share:.0%} of {_brain_of(volume)} is flagged at the model's threshold; expected "
        f"up to {expected:.1%}, as of the normal slices of the training, and lesions, "
        f"which seldom make up more than {_LARGEST_LESION:.0%}. {why}"
    )


def _blocks(
    X: NDArray, brain: NDArray[np.bool_] | None
) -> Iterator[tuple[NDArray, NDArray[np.bool_]]]:
    for rows in row_chunks(len(X), X[:1].nbytes):
        yield X[rows], brain_mask(X[rows]) if brain is None else brain[rows]
        release(X)


def _sample(X: NDArray, brain: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """Contrasts of brain pixels, (n_pixels, n_contrasts); not of all, if they are many."""
    n_pixels = X.shape[0] * X.shape[2] * X.shape[3]
    # Drawn, since every n-th pixel can be one column of all slices; always the same draw.
    random = np.random.default_rng(0)
    share = min(1.0, _SAMPLE / max(1, n_pixels))
    drawn = []
    for images, shown in _blocks(X, brain):
        values = images.transpose(0, 2, 3, 1)[shown]
        drawn.append(values[random.random(len(values)) < share].astype(np.float64))
    return np.concatenate(drawn) if drawn else np.empty((0, X.shape[1]))


def _quantiles(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of every contrast, (n_contrasts, n_levels); NaN where it is missing throughout."""
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
    """Correlations of the clipped contrasts; 0 with one that is constant."""
    if not len(values):
        return np.eye(values.shape[1])
    centred = np.clip(values, quantiles[:, 0], quantiles[:, -1])
    centred -= centred.mean(axis=0)
    largest = np.abs(centred).max(axis=0)
    centred /= np.where(largest > 0, largest, 1)  # squares of large numbers overflow
    lengths = np.sqrt(np.square(centred).sum(axis=0))
    centred /= np.where(lengths > 0, lengths, 1)
    return centred.T @ centred


def _differs(found: NDArray, expected: NDArray) -> bool:
    spread, own = (q[_HIGH] - q[_LOW] for q in (expected, found))
    # A contrast without any in the training, or missing here: nothing to compare.
    if spread <= 0 or np.isnan(own):
        return False
    shift = abs(found[_MIDDLE] - expected[_MIDDLE])
    stretched = not spread / _MOST_STRETCH <= own <= spread * _MOST_STRETCH
    return bool(shift > _MOST_SHIFT * spread or stretched)


def _range(quantiles: NDArray) -> str:
    low, middle, high = (f"{quantiles[at]:.3g}" for at in (_LOW, _MIDDLE, _HIGH))
    return f"{low} to {high} (5 to 95 % of the brain), median {middle}"
