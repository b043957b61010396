"""Parts of the brain that are beyond the field of view of a contrast."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

LOW = 0.2
"""Below this share of its typical value in the brain, a contrast has no signal."""

LEAST = 0.01
"""Share of the brain that must lie beyond an edge; less is left alone."""

_SILENT, _SHOWN = 0.9, 0.3  # share of voxels without signal, in layers on both sides
_SHARP = 0.04  # of all layers: as many at most, and 3 at least, may lie between them
_WHOLE = 0.8  # median of a layer by that of the next; less where it was interpolated
_FLAT = 0.9  # share of a connected region without signal that must be beyond its edge
_SULCUS = 0.015  # half the width of what parts no regions, by the width of the brain
_N_FITTED = 4000  # voxels on either side that the direction of an edge is fitted to


def uncovered(images: NDArray, brain: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """Find where contrasts were not scanned although others show brain.

    A field of view ends at a plane, and abruptly. So the brain is cut into layers of one
    voxel from the outside to the inside. A contrast does not cover the outer layers if at
    least 90 % of their voxels have less than 0.2 of its typical value, if further inside,
    within 3 layers or 4 % of them, it is at most 30 % of a layer, and if the outer layers
    are at least 1 % of the brain. Dark tissue, fluid and necrosis have brighter tissue
    beside them in every layer; a brain mask that differs between contrasts ends gradually.

    Takes all slices of a volume, not normalised (n_slices, n_contrasts, H, W), NaN where a
    contrast is missing. Returns the brain that each contrast does not cover (n_contrasts,
    n_slices, H, W); None if all are complete.

    The typical value is the median of absolute values that are above a tenth of their 95th
    percentile. A voxel counts if another contrast has signal there: noise outside the head
    is not brain. Layers lie along the axes, and, for scans that were rotated, along the
    direction in which a plane parts a connected region without signal from the rest of the
    brain best; 90 % of the region must then be beyond the edge. Where scans were
    interpolated, the edge is a ramp: the next layers are not covered either as long as more
    than 30 % of them is without signal, or their median is less than 0.8 of that of the
    layer behind.

    The numbers were chosen on lower-grade gliomas and the phantom, complete and cut; that
    an edge must be sharp, after a scan of which each contrast had its own brain mask.
    """
    n_voxels = np.count_nonzero(brain)
    relative = [_relative(images[:, k][brain]) for k in range(images.shape[1])]
    silent = np.array(
        [np.ones(n_voxels, bool) if values is None else values < LOW for values in relative]
    )
    found = np.zeros((images.shape[1], *brain.shape), bool)
    for k, values in enumerate(relative):
        if values is None or np.count_nonzero(silent[k]) < LEAST * n_voxels:
            continue
        shown = ~np.delete(silent, k, axis=0).all(axis=0)
        where = brain.copy()
        where[brain] = shown
        for beyond in _beyond_edges(where, values[shown], LEAST * n_voxels):
            found[k][where] |= beyond
    return found if found.any() else None


def _relative(values: NDArray) -> NDArray | None:
    """Absolute values over the typical one; None for a contrast that has none."""
    if not values.size or np.isnan(values[0]):
        return None
    values = np.abs(values)
    signal = values[values > 0.1 * np.quantile(values, 0.95)]
    return values / np.median(signal) if signal.size else None


def _beyond_edges(
    brain: NDArray[np.bool_], values: NDArray, least: float
) -> Iterator[NDArray[np.bool_]]:
    """Yield which brain voxels are beyond each edge."""
    voxels = np.argwhere(brain)
    silent = values < LOW
    if np.count_nonzero(silent) < least:
        return
    if silent.all():  # no tissue in common with any other contrast
        yield silent
        return
    for direction, region in _directions(brain, voxels, silent, least):
        depth = voxels @ direction
        layer = (depth.max() - depth).astype(np.intp)
        n = np.bincount(layer)
        n_silent = np.bincount(layer, silent)
        # Summed up from the outside: the outermost layers may be a few odd voxels.
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


def _directions(
    brain: NDArray[np.bool_], voxels: NDArray, silent: NDArray[np.bool_], least: float
) -> Iterator[tuple[NDArray, NDArray[np.intp] | None]]:
    """Yield vectors that point out of the brain, one voxel long along their main axis.

    With those that are fitted to a region, which of the voxels it is.
    """
    for axis in np.eye(3):
        yield axis, None
        yield -axis, None
    low = np.zeros(brain.shape, bool)
    low[brain] = silent
    # Fluid in sulci, which is dark in many contrasts, is to be no part of a region.
    width = np.ptp(voxels[:, 1:], axis=0).min()
    disc = ndimage.generate_binary_structure(2, 1)[None]  # within slices
    low = ndimage.binary_opening(low, disc, iterations=max(1, round(_SULCUS * width)))
    regions = ndimage.label(low)[0][brain]
    for region in np.flatnonzero(np.bincount(regions)[1:] >= 0.5 * least) + 1:
        inside = np.flatnonzero(regions == region)
        direction = _across(voxels[inside], voxels[~silent])
        yield direction / np.abs(direction).max(), inside


def _across(outside: NDArray, rest: NDArray) -> NDArray:
    """Direction in which a plane parts two sets of voxels best.

    The share on its side, of both sets, is as large as can be: a few voxels that are far on
    the wrong side count no more than others.
    """
    sets = [side[:: len(side) // _N_FITTED + 1].astype(float) for side in (outside, rest)]
    points = np.concatenate(sets)
    scale = points.std(axis=0) + 1e-3  # a volume of one slice has none along z
    weights = np.repeat([1 / len(sets[0]), -1 / len(sets[1])], [len(side) for side in sets])
    points /= scale
    start = weights @ points + 1e-9  # not 0, where both sets have one centre
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
    found = optimize.minimize(
        overlap,
        start[others],
        method="Nelder-Mead",
        options={"initial_simplex": first, "xatol": 0.005, "fatol": 1e-4},
    )
    return direction(found.x) / scale
