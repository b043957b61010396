"""Selection of slices and contrasts, and orientation, cropping and labels of panels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skadm._arrays import as_numbers

OUTLINE = "#00E5FF"  # of lesions


def representative_slices(
    y: ArrayLike, groups: ArrayLike | None = None, n_slices: int = 4
) -> list[int]:
    """Choose slices with large to small lesions, and one normal slice.

    Parameters
    ----------
    y : array-like of shape (n_slices, H, W)
        Labels: 0 normal, 1 anomaly, -1 outside the brain.
    groups : array-like of shape (n_slices,), optional
        Patient of each slice. The slices are from different patients, if there are
        enough.
    n_slices : int, default=4
        Number of slices.

    Returns
    -------
    list of int
        Indices: lesions from large to small, then the normal slice with the most brain.
        Fewer than `n_slices` if there are no more.
    """
    labels = as_numbers(y, "y")
    lesion = (labels == 1).reshape(len(labels), -1).sum(axis=1)
    brain = (labels >= 0).reshape(len(labels), -1).sum(axis=1)
    patients = np.arange(len(labels)) if groups is None else np.asarray(groups)
    normal = np.flatnonzero((lesion == 0) & (brain > 0))
    abnormal = np.flatnonzero(lesion > 0)
    chosen: list[int] = []

    def choose(candidates: NDArray, cost: NDArray) -> None:
        candidates = np.setdiff1d(candidates, chosen)
        if candidates.size:
            seen = np.isin(patients[candidates], patients[chosen])
            order = np.lexsort((cost[candidates], seen))  # a new patient before a low cost
            chosen.append(int(candidates[order[0]]))

    n_abnormal = n_slices - 1 if normal.size else n_slices
    # Exclude the largest and the smallest, which are rarely typical.
    for share in np.linspace(0.9, 0.2, n_abnormal) if abnormal.size else ():
        target = np.quantile(lesion[abnormal], share)
        choose(abnormal, np.abs(lesion - target))
    chosen.sort(key=lambda index: -lesion[index])
    while len(chosen) < n_slices and np.setdiff1d(normal, chosen).size:
        choose(normal, -brain)
    return chosen


def names_of_contrasts(names: Sequence[str] | None, n_contrasts: int) -> list[str]:
    """Return the given names, or "Contrast 0" and so on."""
    if names is None:
        return [f"Contrast {i}" for i in range(n_contrasts)]
    if len(names) != n_contrasts:
        raise ValueError(
            f"contrast_names has {len(names)} names, {list(names)}; expected {n_contrasts}."
        )
    return [str(name) for name in names]


def indices_of_contrasts(
    contrasts: Sequence[int | str] | None, names: list[str]
) -> list[int]:
    """Resolve contrasts from names and indices; FLAIR and T2 by default."""
    if contrasts is None:
        upper = [name.upper() for name in names]
        return [upper.index(name) for name in ("FLAIR", "T2") if name in upper] or [0]
    for contrast in contrasts:
        if contrast not in names and contrast not in range(len(names)):
            raise ValueError(
                f"contrast {contrast!r} does not exist; expected one of {names} or an "
                f"index from 0 to {len(names) - 1}."
            )
    return [c if isinstance(c, int) else names.index(c) for c in contrasts]


def indices_of_slices(
    slices: Sequence[int] | None, labels: NDArray | None, groups: Any, n_slices: int
) -> list[int]:
    """Check the slices to show; `representative_slices` by default."""
    if slices is None:
        if labels is None:
            raise ValueError(
                "slices is None and there are no labels; pass the slices to show."
            )
        return representative_slices(labels, groups)
    chosen = [int(index) for index in slices]
    outside = [index for index in chosen if not 0 <= index < n_slices]
    if outside or not chosen:
        raise ValueError(
            f"slices {outside or chosen} do not exist; expected indices from 0 to "
            f"{n_slices - 1}."
        )
    return chosen


def label_of(index: int, groups: Any, z: Any) -> str:
    """Return the label of a slice: patient and position."""
    place = f"slice {index}" if z is None else f"z = {int(z[index])}"
    return place if groups is None else f"{groups[index]}\n{place}"


def flips_of(
    affine: NDArray | None, index: int, vertical: bool | None, horizontal: bool | None
) -> tuple[bool, bool]:
    """Return whether to flip (H, W) so that anterior is up and right is on the left."""
    if affine is not None:
        slice_affine = affine if affine.ndim == 2 else affine[index]
        # Row 0 is drawn at the top and column 0 at the left: they must be the most
        # anterior and the rightmost.
        vertical = bool(slice_affine[1, 1] > 0) if vertical is None else vertical
        horizontal = bool(slice_affine[0, 0] > 0) if horizontal is None else horizontal
    return bool(vertical), bool(horizontal)


def colour_range(values: NDArray, percentiles: tuple[float, float]) -> tuple[float, float]:
    """Return the limits of a colour scale: distinct percentiles."""
    low, high = (float(value) for value in np.percentile(values, percentiles))
    return (low, high) if low < high else (low - 0.5, low + 0.5)


def box_around(masks: list[NDArray]) -> tuple[slice, slice]:
    """Return the box around all masks, with a margin of two pixels."""
    anywhere = np.logical_or.reduce(masks)
    box = []
    for axis in (1, 0):
        inside = np.flatnonzero(anywhere.any(axis=axis))
        box.append(slice(max(inside[0] - 2, 0), inside[-1] + 3))
    return box[0], box[1]


def display(array: NDArray, flips: tuple[bool, bool]) -> NDArray:
    """Flip an image for radiological display; see `flips_of`."""
    up, over = flips
    return array[:: -1 if up else 1, :: -1 if over else 1]
