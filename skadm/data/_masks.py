"""The one way from the values of a mask file to a mask."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Interpolation and rescaling leave 0.99999997 for 1: values this close to whole numbers,
# relative to the largest, are these numbers. Probabilities are farther away.
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class MaskValues:
    """Which values of a mask file count.

    Parameters
    ----------
    labels : collection of int, default=None
        Labels that count, such as 1 and 4 of BraTS. None: all but 0.
    threshold : float, default=None
        For masks of probabilities: values above it count. None: probabilities are
        refused.
    """

    labels: Collection[int] | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if self.labels is not None and self.threshold is not None:
            raise ValueError("give the labels that count or a threshold, not both")
        if self.labels is not None:
            labels = tuple(sorted({int(label) for label in self.labels}))
            if not labels or labels[0] < 1:
                raise ValueError(
                    f"lesion labels are {list(labels)}; expected whole numbers from 1"
                )
            object.__setattr__(self, "labels", labels)

    def of_brain(self) -> "MaskValues":
        """Say which values count in a mask of the brain, whose labels are not lesions'.

        Returns
        -------
        MaskValues
            With the same threshold, and without labels.
        """
        return MaskValues(threshold=self.threshold)

    def of(self, values: NDArray, place: Any) -> NDArray[np.bool_]:
        """Turn the values of a mask file into a mask.

        Values within 0.0001 of whole numbers, relative to the largest value, are rounded.

        Parameters
        ----------
        values : ndarray
            What the file holds.
        place : object
            The file, for error messages.

        Returns
        -------
        ndarray of bool, same shape
            True where a value counts.

        Raises
        ------
        ValueError
            If the file holds negative numbers, or numbers that are not whole and no
            threshold is given.
        """
        if self.threshold is not None:
            return values > self.threshold
        rounded = values
        if values.dtype.kind == "f":
            rounded = np.rint(values)
            largest = max(1.0, float(np.abs(values).max(initial=0)))
            wrong = np.abs(values - rounded) > min(0.1, _TOLERANCE * largest)
            if wrong.any():
                raise ValueError(
                    f"{place}: a mask with values such as {values[wrong][0]:g}; expected "
                    "whole numbers, with 0 outside. If the values are probabilities, say "
                    "which count (mask_threshold=0.5, --mask-threshold 0.5)"
                )
        if (negative := rounded < 0).any():
            raise ValueError(
                f"{place}: a mask with values such as {values[negative][0]:g}; expected "
                "whole numbers, with 0 outside"
            )
        if self.labels is None:
            return rounded > 0
        return np.isin(rounded, list(self.labels))


ALL_LABELS = MaskValues()
