"""The picture by which a person judges what was done to a patient."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from skadm.plotting._style import FONT_SIZE, import_matplotlib
from skadm.raw._itk import import_sitk

_PLANES = ("axial", "coronal", "sagittal")
_PANEL = 2.6  # inches, width
_EDGES, _OUTLINE = "#FFB000", "#00E5FF"
_EDGE_SIGMA = 1.5  # mm
_EDGE_SHARE = 85  # percentile of the gradient in the brain, above which edges are drawn
_RIM = 5.0  # mm around the brain with edges; the scalp's lie elsewhere on each contrast
_MARGIN = 15.0  # mm around the brain that are seen


def draw_quality(
    path: Path, heads: Mapping[str, Any], brain: Any, reference: str, title: str
) -> None:
    """Draw the mask's outline on the reference, and its edges over the other contrasts.

    `heads` are the contrasts with skull, on the grid of the brain: cubic voxels in axial
    slices. The title stands above; the file is a .png.
    """
    matplotlib, sitk = import_matplotlib(), import_sitk()
    inside = sitk.GetArrayFromImage(brain) > 0
    spacing = brain.GetSpacing()[0]
    views = [_View.of(inside, axis, _MARGIN / spacing) for axis in range(len(_PLANES))]
    edges = [
        _edges(view(sitk.GetArrayViewFromImage(heads[reference])), view(inside), spacing)
        for view in views
    ]
    columns = [reference, *(name for name in heads if name != reference)]
    heights = [len(view(inside)) / view(inside).shape[1] for view in views]
    figure = matplotlib.figure.Figure(
        figsize=(_PANEL * len(columns), _PANEL * sum(heights) + 0.5),
        layout="constrained",
        facecolor="black",
    )
    panels = figure.subplots(
        len(_PLANES), len(columns), squeeze=False, height_ratios=heights
    )
    for column, name in enumerate(columns):
        head = sitk.GetArrayViewFromImage(heads[name])
        low, high = np.percentile(head[inside], (1, 99.5))
        for panel, view, edge in zip(panels[:, column], views, edges):
            panel.imshow(view(head), cmap="gray", vmin=min(0, low), vmax=high)
            if view(inside).any():
                panel.contour(view(inside), [0.5], colors=_OUTLINE, linewidths=0.7)
            if name != reference:
                panel.imshow(
                    np.ma.masked_equal(edge, 0),
                    cmap=matplotlib.colors.ListedColormap([_EDGES]),
                    interpolation="nearest",
                )
            panel.set_axis_off()
        text = name if name == reference else f"{name}, edges of {reference}"
        panels[0, column].set_title(text, color="white", fontsize=FONT_SIZE)
    figure.suptitle(
        f"{title}: {', '.join(_PLANES)}; the patient's right or front is on the left",
        color="white",
        fontsize=FONT_SIZE,
    )
    figure.savefig(path, dpi=140)


class _View(NamedTuple):
    """A plane through the middle of the brain, cut to it and a margin."""

    window: tuple[Any, ...]
    upside_down: bool

    @classmethod
    def of(cls, inside: NDArray[np.bool_], axis: int, margin: float) -> "_View":
        places = np.nonzero(inside)
        window: list[Any] = [
            slice(max(0, int(place.min() - margin)), int(place.max() + margin) + 2)
            for place in places
        ]
        window[axis] = round(places[axis].mean())
        return cls(tuple(window), axis > 0)

    def __call__(self, voxels: NDArray) -> NDArray:
        """Show the front, or the top of the head, up."""
        plane = voxels[self.window]
        return plane[::-1] if self.upside_down else plane


def _edges(plane: NDArray, brain: NDArray[np.bool_], spacing: float) -> NDArray[np.bool_]:
    """Pixels in and around the brain on the crests of its strongest gradients."""
    sitk = import_sitk()
    if not brain.any():
        return brain
    image = sitk.GetImageFromArray(np.ascontiguousarray(plane))
    sigma = max(1.0, _EDGE_SIGMA / spacing)  # pixels
    strength = sitk.GradientMagnitudeRecursiveGaussian(image, sigma)
    limit = float(np.percentile(sitk.GetArrayViewFromImage(strength)[brain], _EDGE_SHARE))
    edges = sitk.CannyEdgeDetection(
        image, lowerThreshold=limit / 2, upperThreshold=limit, variance=[sigma**2] * 2
    )
    near = ndimage.distance_transform_edt(~brain) * spacing <= _RIM
    return near & (sitk.GetArrayViewFromImage(edges) > 0)
