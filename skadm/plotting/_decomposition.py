"""Figures of the decomposition of anomaly scores."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from skadm._arrays import as_numbers
from skadm.data._slices import as_slices
from skadm.plotting._panels import (
    OUTLINE,
    box_around,
    colour_range,
    display,
    flips_of,
    indices_of_contrasts,
    indices_of_slices,
    label_of,
    names_of_contrasts,
)
from skadm.plotting._style import FONT_SIZE, SMALL_FONT_SIZE, import_matplotlib, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANEL = 1.05  # inches


def plot_explanation(
    X: Any,
    explanation: Any,
    y: ArrayLike | None = None,
    *,
    slices: Sequence[int] | None = None,
    percentile: float = 99.5,
) -> "Figure":
    """Plot slices, their anomaly maps and the contribution of each feature.

    Parameters
    ----------
    X : SliceStack or array-like of shape (n_slices, n_contrasts, H, W)
        Slices.
    explanation : Explanation
        Explanation of these slices, from `ADMDetector.explain`.
    y : array-like of shape (n_slices, H, W), optional
        Labels: 0 normal, 1 anomaly, -1 outside the brain. Those of a stack by default.
    slices : sequence of int, optional
        Indices of the slices to show. By default `representative_slices` chooses.
    percentile : float, default=99.5
        Percentile of the absolute contributions over the brain pixels shown, the limit of
        the colour scale.

    Returns
    -------
    matplotlib.figure.Figure
        A row for each slice. From the left: the scan with the outline of the lesion; the
        anomaly (bright = abnormal); the contribution of each feature on a common scale,
        red where it raises the anomaly and blue where it lowers it; the most probable
        component of the mixture, in a colour each.

    Raises
    ------
    ValueError
        If shapes do not match, or neither `slices` nor labels are given.
    ImportError
        If matplotlib is not installed.
    """
    matplotlib = import_matplotlib()
    X = as_slices(X)
    n_slices, n_contrasts, height, width = X.shape
    if explanation.baseline.shape != (n_slices, height, width):
        raise ValueError(
            f"the explanation has maps of shape {explanation.baseline.shape}; expected "
            f"{(n_slices, height, width)}, as in X."
        )
    y = getattr(X, "y", None) if y is None else as_numbers(y, "y")
    groups, z = getattr(X, "groups", None), getattr(X, "z", None)
    affine = getattr(X, "affines", None)
    chosen = indices_of_slices(slices, y, groups, n_slices)
    flips = {index: flips_of(affine, index, None, None) for index in chosen}
    names = names_of_contrasts(getattr(X, "contrasts", None), n_contrasts)
    contrast = indices_of_contrasts(None, names)[0]
    brain = explanation.component >= 0
    box = box_around([display(brain[index], flips[index]) for index in chosen])
    anomaly, inside = explanation.anomaly, brain[chosen]
    low, high = colour_range(anomaly[chosen][inside], (1.0, percentile))
    parts = np.abs(explanation.features[chosen].transpose(0, 2, 3, 1)[inside])
    most = float(np.percentile(parts, percentile)) or 1.0
    n_components = int(explanation.component.max()) + 1
    colours = matplotlib.colormaps["tab10" if n_components <= 10 else "tab20"]
    palette = matplotlib.colors.ListedColormap(
        [colours(i % colours.N) for i in range(n_components)]
    )
    looks = [
        {"cmap": "inferno", "vmin": low, "vmax": high},
        *[{"cmap": "RdBu_r", "vmin": -most, "vmax": most}] * len(explanation.names),
        {"cmap": palette, "vmin": -0.5, "vmax": n_components - 0.5},
    ]
    titles = [names[contrast], "anomaly", *explanation.names, "component"]
    ratio = (box[0].stop - box[0].start) / (box[1].stop - box[1].start)
    figure = new_figure(
        figsize=(_PANEL * len(titles) + 0.5, _PANEL * ratio * len(chosen) + 0.9),
        dpi=150,
        layout="constrained",
    )
    grid = figure.subplots(len(chosen), len(titles), squeeze=False)
    for row, index in zip(grid, chosen):
        panels = [
            anomaly[index],
            *explanation.features[index],
            explanation.component[index],
        ]
        scan = np.asarray(X[[index]])[0, contrast]
        window = colour_range(scan[brain[index]], (0.5, 99.5))
        shown = [
            (scan, {"cmap": "gray", "vmin": window[0], "vmax": window[1]}),
            *zip(panels, looks),
        ]
        hidden = ~display(brain[index], flips[index])[box]
        for axes, (panel, look) in zip(row, shown):
            axes.set_facecolor("black")
            masked = np.ma.masked_array(display(panel, flips[index])[box], hidden)
            axes.imshow(masked, interpolation="nearest", **look)
            if y is not None and (y[index] == 1).any():
                lesion = display(y[index] == 1, flips[index])[box]
                axes.contour(lesion, levels=[0.5], colors=OUTLINE, linewidths=0.6)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        row[0].set_ylabel(label_of(index, groups, z), fontsize=SMALL_FONT_SIZE)
    for axes, title in zip(grid[0], titles):
        axes.set_title(title.replace(" ", "\n", 1), fontsize=FONT_SIZE)
    n_features = len(explanation.names)
    for columns, label, ticks in (
        (grid[:, 1:2], "anomaly", None),
        (grid[:, 2 : 2 + n_features], "part in the anomaly", None),
        (grid[:, -1:], "component", range(n_components)),
    ):
        bar = figure.colorbar(
            columns[0, 0].images[0],
            ax=list(columns.ravel()),
            orientation="horizontal",
            ticks=ticks,
            aspect=12 * columns.shape[1],
            shrink=0.8 if columns.shape[1] == 1 else 0.5,
        )
        bar.set_label(label, fontsize=SMALL_FONT_SIZE)
        bar.ax.tick_params(labelsize=SMALL_FONT_SIZE - 1)
        bar.outline.set_visible(False)
    return figure
