"""Random acquisition and preprocessing artefacts for one contrast."""

import numpy as np

# Probability of each artefact per contrast.
COARSE, GHOST, SATURATED, CUT = 0.35, 0.1, 0.1, 0.06


def corrupt(rng: np.random.Generator, volume: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Apply randomly drawn artefacts to a contrast of shape (n_slices, H, W).

    The result is positive in the brain, and exactly 0 elsewhere and where the field of
    view is cut.
    """
    if rng.random() < COARSE:
        volume = coarsen(volume, brain, *rng.permutation([rng.uniform(1.2, 3.5), 1.0]))
    if rng.random() < GHOST:
        axis, strength = int(rng.integers(1, 3)), rng.uniform(0.02, 0.1)
        shift = int(volume.shape[axis] * rng.choice([1 / 2, 1 / 3, 1 / 4]))
        volume = np.where(brain, volume + strength * np.roll(volume, shift, axis), 0)
    if rng.random() < SATURATED:
        volume = np.minimum(volume, np.quantile(volume[brain], rng.uniform(0.85, 0.995)))
    if rng.random() < CUT:
        volume = cut(rng, volume, brain)
    return volume.astype(np.float32)


def coarsen(
    volume: np.ndarray, brain: np.ndarray, rows: float, columns: float
) -> np.ndarray:
    """Lower the in-plane resolution by a factor, then interpolate.

    Only brain is averaged, so that the background does not darken its border.
    """
    height, width = volume.shape[1:]
    down, right = coarsening(height, rows), coarsening(width, columns)
    inside = brain.astype(np.float32)
    total = down @ (volume * inside) @ right.T
    share = down @ inside @ right.T
    return np.divide(total, share, out=np.zeros_like(total), where=brain & (share > 1e-6))


def coarsening(n: int, factor: float) -> np.ndarray:
    """Return the weights (n, n) that downsample n pixels by a factor and upsample again.

    Rows sum to 1. A factor of 1 changes nothing.
    """
    if factor <= 1:
        return np.eye(n, dtype=np.float32)
    m = max(1, round(n / factor))
    edges = np.arange(n + 1)
    coarse = np.linspace(0, n, m + 1)
    overlap = np.minimum(edges[1:], coarse[1:, None]) - np.maximum(
        edges[:-1], coarse[:-1, None]
    )
    average = np.clip(overlap, 0, None) / (n / m)
    centres = (coarse[1:] + coarse[:-1]) / 2
    place = np.clip((np.arange(n) + 0.5 - centres[0]) / (n / m), 0, m - 1)
    left = np.minimum(place.astype(int), max(m - 2, 0))
    back = np.zeros((n, m))
    back[np.arange(n), left] += 1 - (place - left)
    back[np.arange(n), np.minimum(left + 1, m - 1)] += place - left
    return (back @ average).astype(np.float32)


def cut(rng: np.random.Generator, volume: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Cut the field of view on one side: slices, rows or columns."""
    axis = int(rng.integers(3))
    shown = np.flatnonzero(brain.any(axis=tuple({0, 1, 2} - {axis})))
    n_cut = max(1, int(len(shown) * rng.uniform(0.05, 0.3)))
    lost = shown[:n_cut] if rng.random() < 0.5 else shown[-n_cut:]
    kept = np.ones(volume.shape[axis], dtype=bool)
    kept[lost] = False
    shape = [1, 1, 1]
    shape[axis] = -1
    return volume * kept.reshape(shape)
