"""The one way from the values of a mask file to a mask."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Interpolation and rescaling leave 0.99999997 for 1: values this close to whole numbers,
# relative to the largest, are these numbers. Probabilities are farther away.
_TOLERANCE = 1e-4
# Images have more values than a file of labels.
_MOST_LABELS = 8


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


def require_many_values(image: NDArray[np.float32], path: Any, contrast: str) -> None:
    """Refuse a mask, or an empty image, in place of a contrast.

    That is an image (n_slices, H, W) with at most two values, or at most eight that are all
    whole numbers.
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
    """The values of an image, if they are a few whole numbers; else None."""
    values: NDArray[np.float32] = np.empty(0, np.float32)
    for part in image:  # an image shows in its first slices that it is one
        values = np.union1d(values, part)
        if len(values) > _MOST_LABELS:
            return None
    return values if (values == np.rint(values)).all() else None
