"""Patches around brain pixels, as samples for scikit-learn."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.random import sample_without_replacement

from skadm._brain import brain_counts, brain_mask
from skadm._disk import release, row_chunks

# Values per chunk of patches: 8 MB in float64, which fits into a core's cache.
CHUNK_VALUES = 2**20


def draw_patches(
    X: NDArray,
    neighbourhood: int,
    max_samples: int | None,
    random_state: np.random.RandomState,
) -> NDArray[np.float64]:
    """Sample patches of brain pixels without replacement.

    Patches of `max_samples` pixels, or of all if there are fewer, in their order in X.
    Only patches of sampled pixels are extracted. The result is as in `patches_at`.
    """
    if neighbourhood % 2 == 0:
        raise ValueError(
            f"neighbourhood={neighbourhood} is even; expected an odd number of pixels."
        )
    chunks = list(row_chunks(len(X), X[:1].nbytes))
    counts = brain_counts(X, chunks)
    n_pixels = int(counts.sum())
    if max_samples is None or max_samples >= n_pixels:
        chosen = np.arange(n_pixels)
    else:
        chosen = np.sort(
            sample_without_replacement(n_pixels, max_samples, random_state=random_state)
        )
    # Chunk by chunk: the slices may exceed memory.
    ends = np.cumsum(counts)
    parts = []
    for rows, first, drawn in zip(
        chunks, ends - counts, np.split(chosen, np.searchsorted(chosen, ends[:-1]))
    ):
        images = X[rows]
        pixels = np.flatnonzero(brain_mask(images))[drawn - first]
        parts.append(patches_at(images, pixels, neighbourhood))
        release(X)
    return np.concatenate(parts)


def patches_at(
    X: NDArray, pixels: NDArray[np.intp], neighbourhood: int
) -> NDArray[np.float64]:
    """Extract all contrasts of pixels and their in-plane neighbours.

    X has shape (n_slices, n_contrasts, H, W), and pixels are flat indices into its maps.
    `neighbourhood` is the side of the square around the pixel, odd; 1 is the pixel alone.
    The result, (n_pixels, neighbourhood**2 * n_contrasts), is ordered by row, column and
    contrast; 0 outside the slice.
    """
    n_slices, n_contrasts, height, width = X.shape
    slices, rows, columns = np.unravel_index(pixels, (n_slices, height, width))
    margin = neighbourhood // 2
    patches = np.empty((len(pixels), neighbourhood, neighbourhood, n_contrasts))
    for down, right in np.ndindex(neighbourhood, neighbourhood):
        row, column = rows + (down - margin), columns + (right - margin)
        outside = (row < 0) | (row >= height) | (column < 0) | (column >= width)
        row, column = row.clip(0, height - 1), column.clip(0, width - 1)
        patches[:, down, right] = X[slices, :, row, column]
        patches[outside, down, right] = 0
    return patches.reshape(len(pixels), neighbourhood**2 * n_contrasts)


def score_patches(
    X: NDArray,
    brain: NDArray[np.bool_],
    neighbourhood: int,
    score: Callable[[NDArray], NDArray],
) -> NDArray[np.float32]:
    """Score the patch of each brain pixel; return maps (n_slices, H, W).

    Maps are finite, and 0 in the background. `score` takes patches (n_pixels, n_features),
    which it may overwrite, and returns (n_pixels,). It is called slice by slice, since
    rounding of matrix products depends on the number of rows, so the result would depend
    on other slices.
    """
    maps = np.zeros((len(X), *X.shape[2:]), np.float32)
    # Extreme intensities overflow: clip to finite scores.
    most = np.finfo(np.float32).max
    for image, inside, out in zip(X, brain, maps):
        for pixels, patches in iterate_patches(image[None], inside, neighbourhood):
            out.flat[pixels] = score(patches).clip(-most, most)
    return maps


def iterate_patches(
    X: NDArray, brain: NDArray[np.bool_], neighbourhood: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64]]]:
    """Yield all brain pixels and their patches, chunk by chunk."""
    all_pixels = np.flatnonzero(brain)
    step = max(1, CHUNK_VALUES // (neighbourhood**2 * X.shape[1]))
    for start in range(0, len(all_pixels), step):
        pixels = all_pixels[start : start + step]
        yield pixels, patches_at(X, pixels, neighbourhood)


def mean_of_patches(patches: NDArray, n_contrasts: int) -> NDArray[np.float64]:
    """Average each contrast over each patch, (n_pixels, n_contrasts)."""
    return patches.reshape(len(patches), -1, n_contrasts).mean(axis=1)
