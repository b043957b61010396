"""The picture by which a person judges what was done to a patient."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skadm.plotting._style import FONT_SIZE, import_matplotlib
from skadm.raw._itk import import_sitk

_PLANES = ("axial", "coronal", "sagittal")
_PANEL = 2.4  # inches
_EDGES, _OUTLINE = "#FFB000", "#00E5FF"
_EDGE_SIGMA = 1.5  # mm
_EDGE_SHARE = 90  # percentile of the gradient above which an edge is drawn


def draw_quality(
    path: Path, heads: Mapping[str, Any], brain: Any, reference: str, title: str
) -> None:
    """Draw the mask's outline on the reference, and its edges over the other contrasts.

    Parameters
    ----------
    path : Path
        A .png file.
    heads : mapping of str to SimpleITK.Image
        The contrasts with skull, on one grid of cubic voxels in axial slices.
    brain : SimpleITK.Image
        The brain, on the same grid.
    reference : str
        The reference contrast.
    title : str
        What stands above.
    """
    matplotlib, sitk = import_matplotlib(), import_sitk()
    inside = sitk.GetArrayFromImage(brain) > 0
    edges = _edges(heads[reference])
    centre = [round(places.mean()) for places in np.nonzero(inside)]
    columns = [reference, *(name for name in heads if name != reference)]
    figure = matplotlib.figure.Figure(
        figsize=(_PANEL * len(columns), _PANEL * len(_PLANES) + 0.3),
        layout="constrained",
        facecolor="black",
    )
    panels = figure.subplots(len(_PLANES), len(columns), squeeze=False)
    for column, name in enumerate(columns):
        head = sitk.GetArrayFromImage(heads[name])
        low, high = np.percentile(head[inside], (1, 99.5))
        for axis in range(len(_PLANES)):
            panel = panels[axis, column]
            panel.imshow(
                _shown(head, axis, centre), cmap="gray", vmin=min(0, low), vmax=high
            )
            outline = _shown(inside, axis, centre)
            panel.contour(outline, [0.5], colors=_OUTLINE, linewidths=0.7)
            if name != reference:
                shown = _shown(edges, axis, centre)
                panel.imshow(
                    np.ma.masked_equal(shown, 0),
                    cmap=matplotlib.colors.ListedColormap([_EDGES]),
                    alpha=0.6,
                    interpolation="nearest",
                )
            panel.set_axis_off()
            if axis == 0:
                text = name if name == reference else f"{name}, edges of {reference}"
                panel.set_title(text, color="white", fontsize=FONT_SIZE)
    figure.suptitle(f"{title}: {', '.join(_PLANES)}", color="white", fontsize=FONT_SIZE)
    figure.savefig(path, dpi=110)


def _shown(voxels: NDArray, axis: int, centre: list[int]) -> NDArray:
    """Cut a plane, with the top of the head or the front up."""
    plane = np.take(voxels, centre[axis], axis)
    return plane if axis == 0 else plane[::-1]


def _edges(image: Any) -> NDArray[np.bool_]:
    """Voxels on the crests of a strong gradient."""
    sitk = import_sitk()
    strength = sitk.GradientMagnitudeRecursiveGaussian(image, _EDGE_SIGMA)
    limit = float(np.percentile(sitk.GetArrayViewFromImage(strength), _EDGE_SHARE))
    edges = sitk.CannyEdgeDetection(
        image,
        lowerThreshold=limit / 2,
        upperThreshold=limit,
        variance=[_EDGE_SIGMA**2] * 3,
    )
    return sitk.GetArrayFromImage(edges) > 0
