"""Reading of volumes once for all detectors inside."""

import warnings
from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skadm._disk import release, row_chunks, working_memory
from skadm._reference import FlaggedShareWarning
from skadm._validation import check_shape
from skadm.data import SliceStack
from skadm.data._slices import as_slices, brain_of

Places = slice | NDArray[np.intp]


def read_if_it_fits(stacks: list[Any]) -> list[Any]:
    """Read the volumes of stacks if they fit into `working_memory`.

    Whole volumes are kept, even if a stack holds only some slices, since steps of a
    Pipeline use statistics of whole volumes. Arrays are unchanged.
    """
    lazy = [X for X in stacks if isinstance(X, SliceStack)]
    if sum(map(_volume_bytes, lazy)) > working_memory():
        return stacks
    return [X.in_memory() if isinstance(X, SliceStack) else X for X in stacks]


def take(X: Any, indices: NDArray[np.intp]) -> Any:
    """Select images of an array, a stack or a list of volumes by index."""
    return [X[index] for index in indices] if isinstance(X, list) else X[indices]


def by_volume(X: Any) -> Iterator[tuple[Places, Any]]:
    """Yield places and slices, one volume or one chunk of an array at a time.

    Slices are in memory, those of a volume in ascending z. Raises a ValueError for a
    wrong shape or no slices.
    """
    X = as_slices(X)
    if not check_shape(X)[0]:
        raise ValueError("X holds 0 slices, while a minimum of 1 is required.")
    if not isinstance(X, SliceStack):
        for rows in row_chunks(len(X), X[:1].nbytes):
            yield rows, X[rows]
            release(X)
        return
    for places, part in X.by_volume():
        yield places, part.in_memory()


def score_by_volume(
    score: Callable[[Any, NDArray[np.bool_]], NDArray], X: Any
) -> Iterator[tuple[Places, NDArray, NDArray[np.bool_]]]:
    """Score slices by volume; yield places, scores and brain (n, H, W).

    `score` is called with slices in memory and their brain.
    """
    for places, part in by_volume(X):
        brain = brain_of(part)
        yield places, score(part, brain), brain


def score_maps(detector: Any, X: Any) -> NDArray:
    """Return the normality (n_slices, H, W) of slices in memory; check its shape."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FlaggedShareWarning)  # its threshold is not used
        maps = np.asarray(detector.score_samples(X))
    expected = (X.shape[0], *X.shape[2:])
    if maps.shape != expected:
        raise ValueError(
            f"score_samples of {type(detector).__name__} has shape {maps.shape}; expected "
            f"maps of shape {expected}, one number for each pixel of X. Put steps that "
            "resize slices before the wrapper: make_pipeline(SliceResizer(), ...)."
        )
    return maps


def _volume_bytes(stack: SliceStack) -> int:
    pixels = sum(volume.n_slices * prod(volume.grid.shape) for volume in stack.volumes)
    return 4 * len(stack.contrasts) * pixels
