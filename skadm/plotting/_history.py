"""Training curves."""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from skadm.plotting._style import (
    FONT_SIZE,
    import_matplotlib,
    line_looks,
    new_figure,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEFT_OUT = ("stage", "epoch", "seconds")


def plot_history(
    history: Sequence[Mapping[str, Any]], *, keys: Sequence[str] | None = None
) -> "Figure":
    """Plot the loss and other numbers against the epoch for each training stage.

    Parameters
    ----------
    history : sequence of mapping
        One entry for each epoch with the keys epoch, loss and, where training has several
        stages, stage; further keys with numbers are plotted too.
    keys : sequence of str, optional
        Keys to plot, from top to bottom. By default the loss and then every other key
        with numbers, except the seconds.

    Returns
    -------
    matplotlib.figure.Figure
        A column of panels for each stage and a row for each key. A panel has a
        logarithmic scale if its numbers are positive and span a factor of 20 or more;
        non-finite numbers leave a gap.

    Raises
    ------
    ValueError
        If the history is empty, an entry lacks its epoch, or a key is in no entry.
    ImportError
        If matplotlib is not installed.
    """
    if not history:
        raise ValueError(
            "history is empty; expected one entry for each epoch. Fit the detector first."
        )
    for i, entry in enumerate(history):
        if "epoch" not in entry:
            raise ValueError(
                f"entry {i} of history has the keys {list(entry)}; expected 'epoch' "
                "among them."
            )
    recorded = _number_keys(history)
    rows = list(recorded if keys is None else keys)
    absent = [key for key in rows if key not in recorded]
    if absent or not rows:
        raise ValueError(
            f"history has no numbers for {absent}; expected keys out of {recorded}."
        )
    stages = list(dict.fromkeys(entry.get("stage", "") for entry in history))
    figure = new_figure(
        figsize=(0.4 + 2.5 * len(stages), 0.5 + 1.35 * len(rows)),
        dpi=150,
        layout="constrained",
    )
    grid = figure.subplots(len(rows), len(stages), squeeze=False, sharex="col")
    for column, stage in enumerate(stages):
        entries = [entry for entry in history if entry.get("stage", "") == stage]
        for axes, key, look in zip(grid[:, column], rows, line_looks()):
            _draw(axes, entries, key, look["color"])
            axes.set_ylabel(_words(key), fontsize=FONT_SIZE)
        grid[0, column].set_title(_words(stage), fontsize=FONT_SIZE)
        shown = [axes for axes in grid[:, column] if axes.axison]
        if shown:
            shown[-1].set_xlabel("Epoch", fontsize=FONT_SIZE)
            shown[-1].tick_params(labelbottom=True)
    figure.align_ylabels()
    return figure


def _number_keys(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys that hold numbers, the loss first."""
    keys = {
        key: None
        for entry in history
        for key, value in entry.items()
        if isinstance(value, Real) and not isinstance(value, bool) and key not in _LEFT_OUT
    }
    return sorted(keys, key=lambda key: key != "loss")


def _draw(axes: Any, entries: list[Mapping[str, Any]], key: str, colour: str) -> None:
    epochs = np.array([entry["epoch"] for entry in entries], dtype=float)
    numbers = np.array([entry.get(key, np.nan) for entry in entries], dtype=float)
    numbers[~np.isfinite(numbers)] = np.nan
    if np.isnan(numbers).all():  # key of another stage
        axes.set_axis_off()
        return
    tidy(axes)
    # A single epoch or a number between two gaps shows no line.
    axes.plot(epochs, numbers, color=colour, linewidth=1.2, marker="o", markersize=1.8)
    axes.xaxis.get_major_locator().set_params(integer=True)
    low, high = np.nanmin(numbers), np.nanmax(numbers)
    if low > 0 and high / low >= 20:
        axes.set_yscale("log", subs=[])
        axes.yaxis.set_major_locator(
            import_matplotlib().ticker.LogLocator(subs=(1, 2, 5), numticks=8)
        )
        axes.yaxis.set_major_formatter("{x:g}")


def _words(name: Any) -> str:
    """Format a key as words with an initial capital."""
    text = str(name).replace("_", " ")
    return text[:1].upper() + text[1:]
