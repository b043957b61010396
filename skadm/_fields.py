"""Smooth random fields on regular grids."""

import numpy as np


def smooth_field(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    length: float,
) -> np.ndarray:
    """Draw a Gaussian random field with zero mean and unit variance, float32.

    White noise on a control grid is interpolated by cubic B-splines, one axis at a time:
    the cost is a few small matrix products for any smoothness. `spacing` is
    the distance between points of the field along each axis, `length` that between control
    points, about the size of one blob; both in mm.
    """
    bases = [_spline_basis(n, step / length) for n, step in zip(shape, spacing)]
    field = rng.standard_normal([basis.shape[1] for basis in bases], dtype=np.float32)
    for basis in reversed(bases):
        # Each step works on the last axis and moves the result to the front.
        field = np.moveaxis(field @ basis.T, -1, 0)
    return field


def _spline_basis(n_points: int, step: float) -> np.ndarray:
    """Cubic B-spline weights (n_points, n_controls), rows of unit Euclidean norm."""
    position = step * np.arange(n_points)
    first = np.floor(position).astype(int)
    t = (position - first)[:, np.newaxis]
    weights = np.hstack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    )
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    basis = np.zeros((n_points, first[-1] + 4), dtype=np.float32)
    np.put_along_axis(basis, first[:, np.newaxis] + np.arange(4), weights, axis=1)
    return basis
