"""What all figures share: the lazy import, sizes, colours and line styles."""

from collections.abc import Iterator
from importlib import import_module
from itertools import count
from typing import Any

from skadm._extras import import_extra

FONT_SIZE = 8.0
SMALL_FONT_SIZE = 7.0
GREY = "0.45"

# Okabe and Ito's palette, which colour-blind readers can tell apart, without its yellow,
# too pale for a line on white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# Styles differ too, so that lines stay apart in grey print.
_STYLES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)))


def import_matplotlib() -> Any:
    """Return matplotlib with the parts in use, or say how to install it."""
    matplotlib = import_extra("matplotlib", "matplotlib", "plot", "plotting needs")
    for part in ("cm", "colors", "figure", "lines", "patches", "ticker"):
        import_module(f"matplotlib.{part}")
    return matplotlib


def new_figure(**options: Any) -> Any:
    """Make a figure, with the options of matplotlib's Figure, that notebooks show."""
    import_matplotlib()
    from skadm.plotting._figure import NotebookFigure

    return NotebookFigure(**options)


def line_looks() -> Iterator[dict[str, Any]]:
    """Yield looks of lines without end; 28 differ."""
    for i in count():
        # Seven colours and four styles have no common divisor: all pairs come up.
        yield {
            "color": _COLOURS[i % len(_COLOURS)],
            "linestyle": _STYLES[i % len(_STYLES)],
            "linewidth": 1.4,
        }


def tidy(axes: Any) -> None:
    """Give axes small print, thin spines at the left and bottom, and a faint grid."""
    axes.tick_params(labelsize=SMALL_FONT_SIZE, width=0.6, length=3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_linewidth(0.6)
    axes.grid(color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)
