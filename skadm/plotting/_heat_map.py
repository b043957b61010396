"""Heat map of a grid of two parameters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from skadm.plotting._style import FONT_SIZE, SMALL_FONT_SIZE, import_matplotlib, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_heat_map(
    values: ArrayLike,
    *,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    row_title: str = "",
    column_title: str = "",
    value_title: str = "",
) -> "Figure":
    """Plot a table of numbers as an annotated heat map.

    Parameters
    ----------
    values : array-like of shape (n_rows, n_columns)
        Values such as the mean AUC of each candidate of a grid; higher is better. NaN
        cells are empty.
    row_labels, column_labels : sequence of str
        Values of the two parameters.
    row_title, column_title, value_title : str, default=""
        Names of the two parameters, and of the values.

    Returns
    -------
    matplotlib.figure.Figure
        The best cell has a frame.

    Raises
    ------
    ValueError
        If the labels do not match the values, or all values are NaN.
    ImportError
        If matplotlib is not installed.
    """
    table = np.asarray(values, dtype=float)
    if table.shape != (len(row_labels), len(column_labels)):
        raise ValueError(
            f"values have shape {table.shape}; expected {len(row_labels)} rows and "
            f"{len(column_labels)} columns, to match the labels."
        )
    if not np.isfinite(table).any():
        raise ValueError("values are all NaN or infinite; expected a finite value.")
    matplotlib = import_matplotlib()
    n_rows, n_columns = table.shape
    figure = new_figure(
        figsize=(1.6 + 0.8 * n_columns, 0.9 + 0.5 * n_rows), dpi=150, layout="constrained"
    )
    axes = figure.subplots()
    image = axes.imshow(table, cmap="viridis", aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        if np.isfinite(value):
            pale = image.norm(value) > 0.6
            axes.text(
                column,
                row,
                f"{value:.3f}",
                ha="center",
                va="center",
                fontsize=SMALL_FONT_SIZE,
                color="black" if pale else "white",
            )
    row, column = np.unravel_index(np.nanargmax(table), table.shape)
    frame = {"fill": False, "edgecolor": "#D55E00", "linewidth": 2}
    axes.add_patch(
        matplotlib.patches.Rectangle(
            (column - 0.5, row - 0.5), 1, 1, clip_on=False, **frame
        )
    )
    axes.set_xticks(range(n_columns), column_labels)
    axes.set_yticks(range(n_rows), row_labels)
    axes.tick_params(labelsize=SMALL_FONT_SIZE, length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(column_title, fontsize=FONT_SIZE)
    axes.set_ylabel(row_title, fontsize=FONT_SIZE)
    bar = figure.colorbar(image, ax=axes)
    bar.set_label(value_title, fontsize=FONT_SIZE)
    bar.ax.tick_params(labelsize=SMALL_FONT_SIZE)
    bar.outline.set_visible(False)
    return figure
