"""Lazy import of matplotlib, and sizes, colours and line styles of all figures."""

from collections.abc import Iterator
from importlib import import_module
from itertools import count
from typing import Any

from skadm._extras import import_extra

FONT_SIZE = 8.0
SMALL_FONT_SIZE = 7.0
GREY = "0.45"

# Okabe and Ito's colour-blind-safe palette, without yellow, which is too pale on white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# Styles differ too, for greyscale print.
_STYLES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)))


def import_matplotlib() -> Any:
    """Import matplotlib; an ImportError names the extra to install."""
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
    """Yield line styles indefinitely; 28 are distinct."""
    for i in count():
        # Seven colours and four styles are coprime: all pairs occur.
        yield {
            "color": _COLOURS[i % len(_COLOURS)],
            "linestyle": _STYLES[i % len(_STYLES)],
            "linewidth": 1.4,
        }


def tidy(axes: Any) -> None:
    """Style axes: small font, thin left and bottom spines, faint grid."""
    axes.tick_params(labelsize=SMALL_FONT_SIZE, width=0.6, length=3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_linewidth(0.6)
    axes.grid(color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)
