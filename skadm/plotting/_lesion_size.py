"""ROC AUC by lesion size (paper, Fig. 7)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from skadm.plotting._style import (
    FONT_SIZE,
    GREY,
    SMALL_FONT_SIZE,
    line_looks,
    new_figure,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_roc_auc_by_lesion_size(
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
) -> "Figure":
    """Plot the AUC of slices against the size of their lesions.

    Parameters
    ----------
    rows : mapping of str to sequence of mapping
        For each method, rows of `roc_auc_by_lesion_size` with the same bins.

    Returns
    -------
    matplotlib.figure.Figure
        For each method a line of means with standard deviations (left axis); the number
        of slices per bin is dashed (right axis). Empty bins have no point.

    Raises
    ------
    ValueError
        If there is no method, or the bins differ between methods.
    ImportError
        If matplotlib is not installed.
    """
    if not rows:
        raise ValueError("rows is empty; expected a mapping of method name to rows.")
    edges = {
        name: [(row["low"], row["high"]) for row in bins] for name, bins in rows.items()
    }
    expected = next(iter(edges.values()))
    for name, method_edges in edges.items():
        if method_edges != expected:
            raise ValueError(
                f"the bins of {name!r} are {method_edges}; expected {expected}, as for "
                "the first method."
            )
    places = np.arange(len(expected))
    figure = new_figure(figsize=(5.4, 3.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    counts = [row["n_slices"] for row in next(iter(rows.values()))]
    right = axes.twinx()
    right.plot(places, counts, color=GREY, linestyle="--", marker=".", linewidth=1.0)
    right.set_ylim(0, 1.15 * max(*counts, 1))
    right.set_ylabel("Slices (dashed)", fontsize=FONT_SIZE, color=GREY)
    right.tick_params(labelsize=SMALL_FONT_SIZE, labelcolor=GREY, width=0.6, length=3)
    right.spines["top"].set_visible(False)
    axes.set_zorder(right.get_zorder() + 1)  # draw methods above the counts
    axes.patch.set_visible(False)
    shifts = (np.arange(len(rows)) - (len(rows) - 1) / 2) * 0.08
    for (name, bins), look, shift in zip(rows.items(), line_looks(), shifts):
        mean, std = (np.array([row[key] for row in bins]) for key in ("mean", "std"))
        axes.errorbar(
            places + shift, mean, std, label=name, marker="o", ms=3, capsize=2, **look
        )
    axes.set_xticks(places, [f"{low:g} to {high:g}" for low, high in expected])
    tidy(axes)
    axes.tick_params(axis="x", rotation=30)
    axes.set_xlabel("Lesion of the slice, pixels", fontsize=FONT_SIZE)
    axes.set_ylabel("AUC of the slice", fontsize=FONT_SIZE)
    axes.set_ylim(top=min(1.01, axes.get_ylim()[1]))  # error bars may exceed 1
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside upper center",
        ncols=3,
        frameon=False,
        fontsize=SMALL_FONT_SIZE,
    )
    return figure
