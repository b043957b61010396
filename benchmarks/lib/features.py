"""Features of pixels in three dimensions (paper, Fig. 8a and b)."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from skadm.plotting._style import FONT_SIZE, SMALL_FONT_SIZE, import_matplotlib

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_features_3d(features: ArrayLike, *, n_points: int = 4000) -> "Figure":
    """Show three features of many pixels, (n_pixels, 3), with the plane they lie in.

    Both panels show a random sample of pixels; in red the plane of the two largest
    eigenvectors of their covariance, two standard deviations to each side; in the title the
    eigenvalues. One view shows the plane as such, and one lies in it: features that have
    collapsed are a line.
    """
    points = np.asarray(features, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or len(points) < 4:
        raise ValueError(
            f"features have shape {points.shape}; expected (n_pixels, 3), 4 pixels or more."
        )
    if not np.isfinite(points).all():
        raise ValueError("features hold NaN or infinity; expected finite numbers.")
    mean = points.mean(axis=0)
    eigenvalues, axes_of = np.linalg.eigh(np.cov(points.T))
    views = [_direction(axes_of[:, 0], angle) for angle in (35.0, 90.0)]
    corners = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]])
    sides = axes_of[:, 1:] * 2 * np.sqrt(np.clip(eigenvalues[1:], 0, None))
    plane = mean + corners @ sides.T
    rng = np.random.default_rng(0)
    chosen = points[rng.permutation(len(points))[:n_points]]
    matplotlib = import_matplotlib()
    figure = matplotlib.figure.Figure(figsize=(7.2, 3.4), dpi=150, layout="constrained")
    panels = figure.subplots(1, 2, subplot_kw={"projection": "3d"})
    for axes, (elevation, azimuth) in zip(panels, views):
        axes.scatter(*chosen.T, s=1.5, color="#0072B2", alpha=0.35, linewidths=0)
        closed = np.vstack([plane, plane[:1]])
        axes.plot(*closed.T, color="red", linewidth=1.2)
        axes.plot_trisurf(
            *plane.T, triangles=[(0, 1, 2), (0, 2, 3)], color="red", alpha=0.1
        )
        axes.set_aspect(
            "equal", adjustable="datalim"
        )  # with other scales, angles would be distorted
        axes.view_init(elevation, azimuth)
        axes.set_proj_type("ortho")  # a plane seen from the side is a line
        axes.tick_params(labelsize=SMALL_FONT_SIZE - 1, pad=-2)
        for axis, name in zip((axes.xaxis, axes.yaxis, axes.zaxis), "123"):
            axis.set_label_text(f"feature {name}", fontsize=SMALL_FONT_SIZE)
            axis.set_major_locator(matplotlib.ticker.MaxNLocator(4))
    shown = ", ".join(f"{value:.2g}" for value in eigenvalues)
    figure.suptitle(f"Eigenvalues of the covariance: {shown}", fontsize=FONT_SIZE)
    return figure


def _direction(normal: np.ndarray, angle: float) -> tuple[float, float]:
    """Return elevation and azimuth, in degrees, that see a normal under an angle."""
    # The most horizontal vector within the plane.
    level = np.cross(normal, [0.0, 0.0, 1.0])
    if np.linalg.norm(level) < 1e-6:
        level = np.array([1.0, 0.0, 0.0])
    level /= np.linalg.norm(level)
    radians = np.deg2rad(angle)
    x, y, z = np.cos(radians) * normal + np.sin(radians) * level
    return float(np.rad2deg(np.arcsin(z))), float(np.rad2deg(np.arctan2(y, x)))
