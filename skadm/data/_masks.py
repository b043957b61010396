"""Conversion of mask file values to boolean masks."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Tolerance of rounding, relative to the largest value: interpolation and rescaling turn 1
# into 0.99999997. Probabilities are farther from whole numbers.
_TOLERANCE = 1e-4
# Images have more distinct values than label files.
_MOST_LABELS = 8


@dataclass(frozen=True)
class MaskValues:
    """Values of a mask file that count as foreground.

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
        """Check the parameters."""
        if self.labels is not None and self.threshold is not None:
            raise ValueError("both labels and threshold are given; expected one of them")
        if self.labels is not None:
            labels = tuple(sorted({int(label) for label in self.labels}))
            if not labels or labels[0] < 1:
                raise ValueError(
                    f"lesion labels are {list(labels)}; expected whole numbers from 1"
                )
            object.__setattr__(self, "labels", labels)

    def of_brain(self) -> "MaskValues":
        """Return the values for a brain mask, to which lesion labels do not apply.

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
            True on the foreground.

        Raises
        ------
        ValueError
            If the file holds negative numbers, or fractional numbers without a threshold.
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
                    "whole numbers, with 0 outside. For probabilities, set a threshold "
                    "(mask_threshold=0.5, --mask-threshold 0.5)"
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


def require_many_values(image: NDArray[np.float32], path: Any, contrast: str) -> None:
    """Raise a ValueError for a mask or a constant image given as a contrast.

    These have at most two distinct values, or at most eight that are whole numbers.
    `image` has shape (n_slices, H, W).
    """
    low, high = image.min(), image.max()
    if not ((image > low) & (image < high)).any():
        said = f"two values only, {low:g} and {high:g}" if low < high else ""
    elif (few := _few_labels(image)) is None:
        return
    else:
        said = f"a few whole numbers only ({', '.join(f'{value:g}' for value in few)})"
    raise ValueError(
        f"{path}: given as contrast {contrast}, but holds "
        + (f"{said}, as a mask does; list a mask in the "
           "column 'mask' or 'brain_mask' of a table, or name it <any>_seg"
           if said else f"{low:g} everywhere; leave the contrast out")
    )  # fmt: skip


def _few_labels(image: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Return the values of an image if they are a few whole numbers, else None."""
    values: NDArray[np.float32] = np.empty(0, np.float32)
    for part in image:  # the first slices of an image suffice
        values = np.union1d(values, part)
        if len(values) > _MOST_LABELS:
            return None
    return values if (values == np.rint(values)).all() else None
