"""Volumes are decoded once, however many detectors look at them."""

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
    """Read the volumes of stacks, unless they take more than `working_memory`.

    Whole volumes are kept, also where a stack holds some of the slices: steps of a Pipeline
    take statistics of whole volumes. Arrays are left as they are.
    """
    lazy = [X for X in stacks if isinstance(X, SliceStack)]
    if sum(map(_volume_bytes, lazy)) > working_memory():
        return stacks
    return [X.in_memory() if isinstance(X, SliceStack) else X for X in stacks]


def take(X: Any, indices: NDArray[np.intp]) -> Any:
    """Some images of an array, a stack or a list of volumes, in the indices' order."""
    return [X[index] for index in indices] if isinstance(X, list) else X[indices]


def by_volume(X: Any) -> Iterator[tuple[Places, Any]]:
    """Go through slices, those together that have to be seen together: places, and slices.

    Slices are in memory: of a stack, those of a volume from the lowest to the highest; of
    an array, as many as make a chunk. A wrong shape, or no slice, is a ValueError.
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
    """Score slices volume by volume: places, scores, and brain (n, H, W).

    `score` takes slices in memory and their brain.
    """
    for places, part in by_volume(X):
        brain = brain_of(part)
        yield places, score(part, brain), brain


def score_maps(detector: Any, X: Any) -> NDArray:
    """Normality (n_slices, H, W) of slices in memory; another shape is a ValueError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FlaggedShareWarning)  # its threshold is not in use
        maps = np.asarray(detector.score_samples(X))
    expected = (X.shape[0], *X.shape[2:])
    if maps.shape != expected:
        raise ValueError(
            f"score_samples of {type(detector).__name__} has shape {maps.shape}; expected "
            f"maps of shape {expected}, one number for each pixel of X. Steps that change "
            "the size of slices go before the wrapper: make_pipeline(SliceResizer(), ...)."
        )
    return maps


def _volume_bytes(stack: SliceStack) -> int:
    pixels = sum(volume.n_slices * prod(volume.grid.shape) for volume in stack.volumes)
    return 4 * len(stack.contrasts) * pixels
