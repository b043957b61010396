"""Figures of the ratios, and of losses over the time of training."""

from collections.abc import Mapping, Sequence

from matplotlib.axis import Axis
from matplotlib.figure import Figure

from benchmarks.lib.speed.rows import Row, short
from skadm.plotting._style import FONT_SIZE, GREY, SMALL_FONT_SIZE, line_looks, tidy

REACHED, MISSED, NO_GOAL = "#009E73", "#D55E00", "0.7"


def draw_ratios(rows: Sequence[Row]) -> Figure:
    """A bar for each row with a ratio; a stroke where its goal is."""
    shown = [row for row in rows if row.ratio is not None][::-1]
    figure = Figure(figsize=(7.2, 0.9 + 0.24 * len(shown)), layout="constrained")
    axes = figure.subplots()
    ratios = [row.ratio or 0.0 for row in shown]
    axes.barh(range(len(shown)), ratios, color=[_colour(row) for row in shown], height=0.7)
    for place, (row, ratio) in enumerate(zip(shown, ratios)):
        if row.goal is not None:
            axes.plot([row.goal] * 2, [place - 0.45, place + 0.45], color="k", lw=1.4)
        beyond = max(ratio, row.goal or 0.0)
        axes.text(beyond, place, f"  {short(ratio)}", va="center", fontsize=SMALL_FONT_SIZE)
    axes.set_xscale("log")
    # The numbers stand at the bars; they need room at the right.
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.2), high * 2)
    axes.axvline(1, color=GREY, lw=0.6)
    axes.set_yticks(range(len(shown)), [row.name for row in shown])
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_xlabel("time of the reference / time of ours", fontsize=FONT_SIZE)
    axes.set_title(
        "green: goal (black stroke) reached; orange: missed; grey: no goal",
        fontsize=FONT_SIZE,
        loc="left",
    )
    _plain_numbers(axes.xaxis)
    tidy(axes)
    axes.grid(visible=False, axis="y")
    return figure


def _plain_numbers(axis: Axis) -> None:
    """Ticks of a logarithmic axis at 1, 2 and 5, as 20, not as 2 times a power of 10."""

    def text(value: float, _: int) -> str:
        return f"{value:g}" if f"{value:e}"[0] in "125" else ""

    axis.set_major_formatter(text)
    axis.set_minor_formatter(text)
    axis.set_tick_params(which="minor", labelsize=SMALL_FONT_SIZE)


def _colour(row: Row) -> str:
    if row.goal is None or row.ratio is None:
        return NO_GOAL
    return MISSED if row.missed else REACHED


def draw_losses(rows: Sequence[Row]) -> Figure:
    """Final loss over the seconds of the training, a panel for each stage."""
    figure = Figure(figsize=(7.2, 2.8), layout="constrained")
    panels = figure.subplots(1, len(rows), squeeze=False)[0]
    for axes, row in zip(panels, rows):
        curves: Mapping[str, list[dict]] = row.more["curves"]
        for look, (name, points) in zip(line_looks(), curves.items()):
            seconds = [point["seconds"] for point in points]
            losses = [point["loss"] for point in points]
            axes.plot(seconds, losses, marker="o", ms=3, label=name, **look)
            for point in points:
                axes.annotate(
                    point["epochs"],
                    (point["seconds"], point["loss"]),
                    xytext=(3, 3),
                    textcoords="offset points",
                    fontsize=SMALL_FONT_SIZE,
                )
        axes.axhline(row.more["loss"], color=GREY, lw=0.6)
        axes.set_xscale("log")
        _plain_numbers(axes.xaxis)
        axes.set_title(row.name, fontsize=FONT_SIZE)
        axes.set_xlabel("seconds of a whole training (number: epochs)", fontsize=FONT_SIZE)
        tidy(axes)
    panels[0].set_ylabel("loss on all training slices", fontsize=FONT_SIZE)
    panels[0].legend(fontsize=FONT_SIZE, frameon=False)
    return figure
