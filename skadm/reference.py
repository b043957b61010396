"""What the slices of a training looked like, and whether others look like them."""

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

__all__ = ["IntensityShiftWarning", "TrainingReference"]

LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_LOW, _MIDDLE, _HIGH = (LEVELS.index(level) for level in (0.05, 0.5, 0.95))

# Limits far from all patients on which they were measured: see docs/persistence.md.
_MOST_SHIFT = 1.0
_MOST_STRETCH = 3.0
_MOST_GAIN = 0.2
# Fewer brain pixels say little about the intensities of a scan.
_LEAST_PIXELS = 1000

_SAMPLE = 2**18


class IntensityShiftWarning(UserWarning):
    """Intensities to be scored are not like those of the training."""


@dataclass(frozen=True, eq=False)
class TrainingReference:
    """Intensities and fingerprint of the slices that a detector was trained on.

    Attributes
    ----------
    quantiles : ndarray of shape (n_contrasts, 7)
        The 1, 5, 25, 50, 75, 95 and 99 % quantiles of each contrast over brain pixels.
    correlations : ndarray of shape (n_contrasts, n_contrasts)
        Of the contrasts over brain pixels, clipped to the 1 and 99 % quantiles.
    n_slices : int
        Slices trained on.
    n_patients : int or None
        Patients they are of, if X told.
    n_brain_pixels : int
        Brain pixels of these slices.
    sha256 : str
        Of their shape and values, in their order.
    """

    quantiles: NDArray[np.float64]
    correlations: NDArray[np.float64]
    n_slices: int
    n_patients: int | None
    n_brain_pixels: int
    sha256: str

    def __post_init__(self) -> None:
        n_contrasts = len(self.quantiles)
        shapes = {
            "quantiles": (n_contrasts, len(LEVELS)),
            "correlations": (n_contrasts, n_contrasts),
        }
        check_arrays(self, shapes)

    @classmethod
    def of(
        cls, X: NDArray[np.float32], patients: Sequence[str] | NDArray | None = None
    ) -> "TrainingReference":
        """Look at the slices of a training, some at a time.

        Parameters
        ----------
        X : ndarray of shape (n_slices, n_contrasts, H, W), float32
            Slices with some brain, in memory or mapped to a file.
        patients : sequence, default=None
            Patient of each slice, if known.

        Returns
        -------
        reference : TrainingReference
            Its size does not depend on that of X.
        """
        digest = hashlib.sha256(repr(tuple(X.shape)).encode())
        n_pixels = 0
        for images in _blocks(X):
            digest.update(np.ascontiguousarray(images, "<f4").data)
            n_pixels += int(brain_mask(images).sum())
        values = _sample(X)
        quantiles = _quantiles(values)
        return cls(
            quantiles,
            _correlations(values, quantiles),
            len(X),
            None if patients is None else len(set(np.asarray(patients).tolist())),
            n_pixels,
            digest.hexdigest(),
        )

    def check(self, X: NDArray, contrasts: Sequence[str] | None = None) -> bool:
        """Warn if slices do not look like those of the training.

        Parameters
        ----------
        X : ndarray of shape (n_slices, n_contrasts, H, W)
            Slices, best all of a patient; with fewer than 1000 brain pixels nothing is
            said.
        contrasts : sequence of str, default=None
            Names of the contrasts, for the message.

        Returns
        -------
        warned : bool
            Whether there was anything to warn of.

        Warns
        -----
        IntensityShiftWarning
            If the median of a contrast is farther from that of the training than the
            5 and 95 % quantiles of the training are from each other; if this range is less
            than a third or more than three times that of the training; or if two
            contrasts, exchanged, correlate with the others much more as in the training.
        """
        values = _sample(X)
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


def _blocks(X: NDArray) -> Iterator[NDArray]:
    for rows in row_chunks(len(X), X[:1].nbytes):
        yield X[rows]
        release(X)


def _sample(X: NDArray) -> NDArray[np.float64]:
    """Contrasts of brain pixels, (n_pixels, n_contrasts); not of all, if they are many."""
    n_pixels = X.shape[0] * X.shape[2] * X.shape[3]
    # Drawn, since every n-th pixel can be one column of all slices; always the same draw.
    random = np.random.default_rng(0)
    share = min(1.0, _SAMPLE / max(1, n_pixels))
    drawn = []
    for images in _blocks(X):
        values = images.transpose(0, 2, 3, 1)[brain_mask(images)]
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
