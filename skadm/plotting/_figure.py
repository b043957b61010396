"""Figures that notebooks show, though pyplot does not know of them."""

import io

from matplotlib.figure import Figure

_PIXELS_PER_INCH = 96.0  # of a screen; figures are drawn finer


class NotebookFigure(Figure):
    """A figure that is shown when it is the last line of a cell.

    Notebooks show figures of matplotlib as soon as pyplot is imported, which no function of
    the package does, since it would choose a backend for all that is drawn.
    """

    def _repr_png_(self) -> tuple[bytes, dict[str, float]]:
        """A picture, and how wide and high it is shown."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        width, height = self.get_size_inches() * _PIXELS_PER_INCH
        return buffer.getvalue(), {"width": float(width), "height": float(height)}
