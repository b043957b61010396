"""Detection of brain regions outside the field of view of a contrast."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

LOW = 0.2
"""Fraction of the typical brain value below which a contrast has no signal."""

LEAST = 0.01
"""Smallest fraction of the brain beyond an edge; smaller regions are ignored."""

_SILENT, _SHOWN = 0.9, 0.3  # fraction of voxels without signal, outside and inside the edge
_SHARP = 0.04  # maximum width of the edge as a fraction of all layers, at least 3 layers
_WHOLE = 0.8  # ratio of the medians of adjacent layers; lower where interpolated
_FLAT = 0.9  # fraction of a connected region without signal that is beyond its edge
_SULCUS = 0.015  # radius of the opening that separates regions, relative to brain width
_N_FITTED = 4000  # voxels on each side for fitting the direction of an edge


def uncovered(images: NDArray, brain: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """Find brain regions that a contrast does not cover but others do.

    A field of view ends abruptly at a plane. So the brain is divided into layers of one
    voxel from the outside to the inside. A contrast does not cover the outer layers if at
    least 90 % of their voxels have less than 0.2 of its typical value, if this fraction
    drops to 30 % within 3 layers (or 4 % of all layers), and if the outer layers are at
    least 1 % of the brain. Dark tissue, fluid and necrosis have brighter tissue beside
    them in every layer; a brain mask that differs between contrasts ends gradually.

    `images` holds all slices of a volume (n_slices, n_contrasts, H, W), not normalised,
    NaN for missing contrasts. Returns the brain that each contrast does not cover
    (n_contrasts, n_slices, H, W), or None if all are complete.

    The typical value is the median of the absolute values above a tenth of their 95th
    percentile. A voxel counts if another contrast has signal there: noise outside the
    head is not brain. Layers lie along the axes, and, for scans that were rotated, along
    the direction in which a plane best separates a connected region without signal from
    the rest of the brain; 90 % of the region must then be beyond the edge. In
    interpolated scans the edge is a ramp: the next layers also count as uncovered while
    more than 30 % of their voxels have no signal, or their median is less than 0.8 of
    that of the next layer.

    The thresholds were chosen on lower-grade gliomas and the phantom, complete and cut;
    the sharpness criterion after a scan with a different brain mask for each contrast.
    """
    n_voxels = np.count_nonzero(brain)
    relative = [_relative(images[:, k][brain]) for k in range(images.shape[1])]
    silent = np.array(
        [np.ones(n_voxels, bool) if values is None else values < LOW for values in relative]
    )
    missing = np.zeros((images.shape[1], *brain.shape), bool)
    for k, values in enumerate(relative):
        if values is None or np.count_nonzero(silent[k]) < LEAST * n_voxels:
            continue
        shown = ~np.delete(silent, k, axis=0).all(axis=0)
        where = brain.copy()
        where[brain] = shown
        for beyond in _beyond_edges(where, values[shown], LEAST * n_voxels):
            missing[k][where] |= beyond
    return missing if missing.any() else None


def _relative(values: NDArray) -> NDArray | None:
    """Return absolute values relative to the typical value, or None without one."""
    if not values.size or np.isnan(values[0]):
        return None
    values = np.abs(values)
    signal = values[values > 0.1 * np.quantile(values, 0.95)]
    return values / np.median(signal) if signal.size else None


def _beyond_edges(
    brain: NDArray[np.bool_], values: NDArray, least: float
) -> Iterator[NDArray[np.bool_]]:
    """Yield the brain voxels beyond each edge."""
    voxels = np.array(np.nonzero(brain))
    silent = values < LOW
    if np.count_nonzero(silent) < least:
        return
    if silent.all():  # no tissue in common with any other contrast
        yield silent
        return
    for depth, region in _depths(brain, voxels, silent, least):
        layer = (depth.max() - depth).astype(np.intp, copy=False)
        n = np.bincount(layer)
        n_silent = np.bincount(layer, silent)
        # Cumulated from the outside: the outermost layers may have only a few voxels.
        outer = np.cumsum(n_silent) >= _SILENT * np.cumsum(n)
        outer &= n_silent >= _SILENT * n
        if not outer.any():
            continue
        n_layers = int(np.flatnonzero(outer)[-1]) + 1
        inner = slice(n_layers, n_layers + max(3, round(_SHARP * len(n))))
        sharp = (n_silent <= _SHOWN * n)[inner].any()
        if n[:n_layers].sum() < least or not sharp:
            continue
        while n_layers + 1 < len(n) and (
            n_silent[n_layers] > _SHOWN * n[n_layers]
            or _median(values, layer, n_layers)
            < _WHOLE * _median(values, layer, n_layers + 1)
        ):
            n_layers += 1
        beyond = layer < n_layers
        if region is None or np.count_nonzero(beyond[region]) >= _FLAT * len(region):
            yield beyond


def _median(values: NDArray, layer: NDArray[np.intp], number: int) -> float:
    return float(np.median(values[layer == number]))


def _depths(
    brain: NDArray[np.bool_],
    voxels: NDArray[np.intp],
    silent: NDArray[np.bool_],
    least: float,
) -> Iterator[tuple[NDArray, NDArray[np.intp] | None]]:
    """Yield the position of the voxels (3, n) along directions out of the brain.

    A position grows by one from a voxel to the next along the main axis of a direction.
    Directions fitted to a region come with the voxels of that region.
    """
    for positions in voxels:
        yield positions, None
        yield -positions, None
    # Only the box around the brain: what is outside has no signal to find.
    low_corner, high_corner = voxels.min(axis=1), voxels.max(axis=1) + 1
    box = tuple(map(slice, low_corner, high_corner))
    low = np.zeros(high_corner - low_corner, bool)
    low[brain[box]] = silent
    # Separate regions from sulcal fluid, which is dark in many contrasts.
    width = np.ptp(voxels[1:], axis=1).min()
    disc = ndimage.generate_binary_structure(2, 1)[None]  # within slices
    low = ndimage.binary_opening(low, disc, iterations=max(1, round(_SULCUS * width)))
    regions = ndimage.label(low)[0][brain[box]]
    for region in np.flatnonzero(np.bincount(regions)[1:] >= 0.5 * least) + 1:
        inside = np.flatnonzero(regions == region)
        direction = _across(voxels[:, inside].T, voxels[:, ~silent].T)
        yield direction / np.abs(direction).max() @ voxels, inside


def _across(outside: NDArray, rest: NDArray) -> NDArray:
    """Return the direction in which a plane best separates two sets of voxels.

    It maximises the fraction of both sets on the correct side, so outliers have no extra
    weight.
    """
    sets = [side[:: len(side) // _N_FITTED + 1].astype(float) for side in (outside, rest)]
    points = np.concatenate(sets)
    scale = points.std(axis=0) + 1e-3  # 0 along z for a single slice
    weights = np.repeat([1 / len(sets[0]), -1 / len(sets[1])], [len(side) for side in sets])
    points /= scale
    start = weights @ points + 1e-9  # avoid 0 if both centres coincide
    main = np.abs(start).argmax()
    start /= np.abs(start[main])
    others = np.delete(np.arange(3), main)

    def direction(tilt: NDArray) -> NDArray:
        vector = start.copy()
        vector[others] = tilt
        return vector

    def overlap(tilt: NDArray) -> float:
        order = np.argsort(-(points @ direction(tilt)), kind="stable")
        return -float(np.cumsum(weights[order]).max())

    first = start[others] + np.array([[0, 0], [0.3, 0], [0, 0.3]])
    result = optimize.minimize(
        overlap,
        start[others],
        method="Nelder-Mead",
        options={"initial_simplex": first, "xatol": 0.005, "fatol": 1e-4},
    )
    return direction(result.x) / scale
