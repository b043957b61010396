"""Montage of scans and the anomaly maps of several methods."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skadm._arrays import as_numbers
from skadm.data._slices import as_slices
from skadm.metrics import anomaly_map
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

_PANEL_WIDTH = 1.3  # inches, as the margins below
_GAP, _LEFT, _TITLE_LINE, _BOTTOM = 0.04, 0.42, 0.13, 0.52
_TITLE_LETTERS = 19  # maximum title length above a panel


class _Row(NamedTuple):
    """One slice for display: flipped and cropped."""

    label: str
    scans: list[NDArray]
    maps: list[NDArray]
    brain: NDArray
    lesion: NDArray
    right_is_left: bool


def plot_montage(
    X: Any,
    y: ArrayLike | None = None,
    maps: Mapping[str, ArrayLike] | None = None,
    *,
    slices: Sequence[int] | None = None,
    contrasts: Sequence[int | str] | None = None,
    contrast_names: Sequence[str] | None = None,
    groups: ArrayLike | None = None,
    z: ArrayLike | None = None,
    affine: ArrayLike | None = None,
    flip_vertical: bool | None = None,
    flip_horizontal: bool | None = None,
    percentiles: tuple[float, float] = (1.0, 99.5),
    background: str = "black",
    cmap: str = "inferno",
    max_columns: int = 10,
) -> "Figure":
    """Plot slices beside the anomaly maps of several methods.

    Rows are slices; columns are one or more contrasts, then one map for each method, shown
    as anomaly (bright = abnormal), with the outline of the lesion on every panel. For a
    `SliceStack`, labels, names, patients, positions and affines are taken from it.

    Parameters
    ----------
    X : SliceStack or array-like of shape (n_slices, n_contrasts, H, W)
        Slices. A pixel whose contrasts are all 0 is background. Of a stack, only the slices
        shown are read.
    y : array-like of shape (n_slices, H, W), optional
        Labels: 0 normal, 1 anomaly, -1 outside the brain.
    maps : mapping of str to array-like of shape (n_slices, H, W), optional
        For each method, normality maps as `score_samples` returns them. The title of a
        method named like a contrast gets the suffix "intensity".
    slices : sequence of int, optional
        Indices of the slices to show. By default `representative_slices` chooses.
    contrasts : sequence of int or str, optional
        Contrasts to show, by index or name. By default FLAIR and T2 if present, else the
        first.
    contrast_names : sequence of str, optional
        Names of all contrasts.
    groups : array-like of shape (n_slices,), optional
        Patient of each slice, for the row labels.
    z : array-like of shape (n_slices,), optional
        Position of each slice in its volume, for the row labels.
    affine : array-like of shape (4, 4) or (n_slices, 4, 4), optional
        From voxel (i, j, k) to world (right, anterior, superior) coordinates, for all
        slices or each slice; j runs along H and i along W.
    flip_vertical, flip_horizontal : bool, optional
        Whether to flip slices. By default they are flipped to radiological convention by
        the affine (anterior up, the patient's right on the left, marked R), and not
        flipped without an affine.
    percentiles : (float, float), default=(1, 99.5)
        Percentiles of a method's anomaly over the brain pixels of all slices shown, the
        limits of its colour scale.
    background : str, default="black"
        Colour outside the brain, on scans and maps.
    cmap : str, default="inferno"
        Colour map of the anomaly maps.
    max_columns : int, default=10
        Maximum number of columns; further columns are placed in blocks below, to keep the
        figure readable on a page.

    Returns
    -------
    matplotlib.figure.Figure
        The montage, cropped to the brain.

    Raises
    ------
    ValueError
        If shapes do not fit, a slice or contrast does not exist, a slice shown has no
        brain, neither `slices` nor labels are given, or `max_columns` is below 1.
    ImportError
        If matplotlib is not installed.
    """
    matplotlib = import_matplotlib()
    if max_columns < 1:
        raise ValueError(f"max_columns is {max_columns}; expected 1 or more.")
    X = as_slices(X)
    if len(X.shape) != 4:
        raise ValueError(f"X has shape {X.shape}; expected (n_slices, n_contrasts, H, W).")
    n_slices, n_contrasts, height, width = X.shape
    y = getattr(X, "y", None) if y is None and slices is None else y
    labels = None if y is None else _of_shape("y", y, (n_slices, height, width))
    normality = {
        name: _of_shape(f"the map of {name!r}", scores, (n_slices, height, width))
        for name, scores in (maps or {}).items()
    }
    groups = getattr(X, "groups", None) if groups is None else np.asarray(groups)
    z = getattr(X, "z", None) if z is None else np.asarray(z)
    affine = getattr(X, "affines", None) if affine is None else np.asarray(affine)
    names = names_of_contrasts(contrast_names or getattr(X, "contrasts", None), n_contrasts)
    shown = indices_of_contrasts(contrasts, names)
    chosen = indices_of_slices(slices, labels, groups, n_slices)

    selected = X[chosen]
    images = np.asarray(selected)
    if labels is None:
        stack_labels = getattr(selected, "y", None)
        shown_labels = (
            np.zeros((len(chosen), height, width)) if stack_labels is None else stack_labels
        )
    else:
        shown_labels = labels[chosen]
    brains = (images != 0).any(axis=1) & (shown_labels != -1)
    for index, brain in zip(chosen, brains):
        if not brain.any():
            raise ValueError(f"slice {index} has no brain pixel; choose another slice.")
    ranges = [
        colour_range(anomaly_map(scores[chosen])[brains], percentiles)
        for scores in normality.values()
    ]

    rows = []
    for row, index in enumerate(chosen):
        flips = flips_of(affine, index, flip_vertical, flip_horizontal)
        rows.append(
            _Row(
                label=label_of(index, groups, z),
                scans=[display(images[row, contrast], flips) for contrast in shown],
                maps=[
                    display(anomaly_map(scores[index]), flips)
                    for scores in normality.values()
                ],
                brain=display(brains[row], flips),
                lesion=display(shown_labels[row] == 1, flips),
                right_is_left=affine is not None and flip_horizontal is None,
            )
        )
    # Distinguish the method "FLAIR" from the contrast of that name.
    methods = [f"{name} intensity" if name in names else name for name in normality]
    titles = [names[contrast] for contrast in shown] + methods
    return _draw(matplotlib, rows, titles, ranges, background, cmap, max_columns)


def _of_shape(name: str, array: ArrayLike, shape: tuple[int, ...]) -> NDArray:
    values = as_numbers(array, name)
    if values.shape != shape:
        raise ValueError(f"{name} has shape {values.shape}; expected {shape}, as in X.")
    return values


def _draw(
    matplotlib: Any,
    rows: list[_Row],
    titles: list[str],
    ranges: list[tuple[float, float]],
    background: str,
    cmap: str,
    max_columns: int,
) -> "Figure":
    box = box_around([row.brain for row in rows])
    height, width = rows[0].brain[box].shape
    panel_height = _PANEL_WIDTH * height / width
    n_scans = len(titles) - len(ranges)
    n_bands = -(-len(titles) // max_columns)
    per_band = -(-len(titles) // n_bands)
    total_width = _LEFT + per_band * (_PANEL_WIDTH + _GAP)
    titles = [textwrap.fill(title, _TITLE_LETTERS) for title in titles]
    top_margin = 0.11 + _TITLE_LINE * max(title.count("\n") + 1 for title in titles)
    panels_height = top_margin + len(rows) * (panel_height + _GAP)
    band_height = panels_height + _BOTTOM
    total_height = n_bands * band_height
    figure = new_figure(figsize=(total_width, total_height), dpi=200)

    def add_axes(left: float, top: float, width: float, height: float) -> Any:
        """Add axes at inches from the left and from the top."""
        bottom = total_height - top - height
        return figure.add_axes(
            (
                left / total_width,
                bottom / total_height,
                width / total_width,
                height / total_height,
            )
        )

    grey = matplotlib.colormaps["gray"].with_extremes(bad=background)
    colours = matplotlib.colormaps[cmap].with_extremes(bad=background)
    for r, row in enumerate(rows):
        brain = row.brain[box]
        for c, title in enumerate(titles):
            band, place = divmod(c, per_band)
            axes = add_axes(
                _LEFT + place * (_PANEL_WIDTH + _GAP),
                band * band_height + top_margin + r * (panel_height + _GAP),
                _PANEL_WIDTH,
                panel_height,
            )
            is_map = c >= n_scans
            panel = (row.maps[c - n_scans] if is_map else row.scans[c])[box]
            low, high = (
                ranges[c - n_scans] if is_map else colour_range(panel[brain], (0.5, 99.5))
            )
            axes.imshow(
                np.ma.masked_array(panel, ~brain),
                cmap=colours if is_map else grey,
                vmin=low,
                vmax=high,
                interpolation="nearest",
            )
            lesion = row.lesion[box]
            if lesion.any():
                axes.contour(lesion, levels=[0.5], colors=OUTLINE, linewidths=0.7)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if r == 0:
                axes.set_title(title, fontsize=FONT_SIZE, pad=3)
            if place == 0:
                axes.set_ylabel(row.label, fontsize=SMALL_FONT_SIZE, labelpad=3)
                if row.right_is_left:
                    axes.text(
                        0.03, 0.97, "R", transform=axes.transAxes, va="top",
                        fontsize=SMALL_FONT_SIZE, color="0.6",
                    )  # fmt: skip
    for c, (low, high) in enumerate(ranges):
        band, place = divmod(n_scans + c, per_band)
        left = _LEFT + place * (_PANEL_WIDTH + _GAP) + 0.08
        bar_top = band * band_height + panels_height + 0.03
        axes = add_axes(left, bar_top, _PANEL_WIDTH - 0.16, 0.07)
        norm = matplotlib.colors.Normalize(low, high)
        mappable = matplotlib.cm.ScalarMappable(norm, colours)
        bar = figure.colorbar(mappable, cax=axes, orientation="horizontal", extend="both")
        bar.outline.set_linewidth(0.4)
        bar.ax.tick_params(labelsize=SMALL_FONT_SIZE - 1, length=2, width=0.5, pad=1.5)
        bar.locator = matplotlib.ticker.MaxNLocator(3)
        bar.set_label("anomaly score", fontsize=SMALL_FONT_SIZE, labelpad=1)
    if any(row.lesion.any() for row in rows):
        line = matplotlib.lines.Line2D([], [], color=OUTLINE, linewidth=1.2)
        figure.legend(
            [line], ["lesion outline"], loc="upper left", frameon=False,
            bbox_to_anchor=(
                _LEFT / total_width, 1 - (panels_height - 0.03) / total_height
            ),
            fontsize=SMALL_FONT_SIZE, borderpad=0, handlelength=1.4,
        )  # fmt: skip
    return figure
