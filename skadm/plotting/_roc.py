"""ROC and precision-recall figures."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skadm.metrics import (
    pixel_average_precision_score,
    pixel_precision_recall_curve,
    pixel_roc_auc_score,
    pixel_roc_curve,
)
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


def plot_roc(
    curves: Mapping[str, tuple[Any, ...]], areas: Mapping[str, float] | None = None
) -> "Figure":
    """Plot the ROC curves of several methods.

    Parameters
    ----------
    curves : mapping of str to tuple
        For each method, either ``(y, scores)``, labels and normality maps of one shape, or
        ``(fpr, tpr, thresholds)`` as `pixel_roc_curve` returns it.
    areas : mapping of str to float, default=None
        Areas for the legend, if more accurate than those of the curves, e.g. a mean over
        runs.

    Returns
    -------
    matplotlib.figure.Figure
        One line for each method on square axes, with colour and style by the order in
        `curves`; the legend gives the area under each curve in descending order. The area
        is exact for ``(y, scores)`` and that of the given points otherwise.

    Raises
    ------
    ValueError
        If there is no method, or an entry has another form.
    ImportError
        If matplotlib is not installed.
    """
    lines = _lines(curves, _roc_line)
    for name, area in (areas or {}).items():
        lines[name] = lines[name]._replace(area=area)
    figure, axes = _square_axes(list(lines))
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":", label="_chance")
    _draw(axes, lines, "AUC")
    axes.set_xlabel("False positive rate", fontsize=FONT_SIZE)
    axes.set_ylabel("True positive rate", fontsize=FONT_SIZE)
    return figure


def plot_precision_recall(curves: Mapping[str, tuple[Any, ...]]) -> "Figure":
    """Plot the precision-recall curves of several methods.

    Parameters
    ----------
    curves : mapping of str to tuple
        For each method, either ``(y, scores)``, labels and normality maps of one shape, or
        ``(precision, recall, thresholds)`` as `pixel_precision_recall_curve` returns it.

    Returns
    -------
    matplotlib.figure.Figure
        One step line for each method on square axes, with colour and style by the order
        in `curves`; the legend gives the average precision in descending order. A dotted
        line marks the fraction of anomalous pixels (chance level), if it is common to all
        methods.

    Raises
    ------
    ValueError
        If there is no method, or an entry has another form.
    ImportError
        If matplotlib is not installed.
    """
    lines = _lines(curves, _precision_recall_line)
    figure, axes = _square_axes(list(lines))
    shares = [line.y[0] for line in lines.values()]
    if np.ptp(shares) < 1e-3:
        axes.axhline(shares[0], color=GREY, linewidth=0.8, linestyle=":", label="_chance")
    _draw(axes, lines, "AP", drawstyle="steps-post")
    axes.set_xlabel("Recall", fontsize=FONT_SIZE)
    axes.set_ylabel("Precision", fontsize=FONT_SIZE)
    return figure


class _Line(NamedTuple):
    """The curve of one method."""

    x: NDArray
    y: NDArray
    area: float


def _lines(
    curves: Mapping[str, tuple[Any, ...]], line: Callable[..., _Line]
) -> dict[str, _Line]:
    """Return the line of each method."""
    if not curves:
        raise ValueError("curves is empty: expected a mapping of method name to curve.")
    lines = {}
    for name, entry in curves.items():
        if not isinstance(entry, tuple) or len(entry) not in (2, 3):
            kind = f"{type(entry).__name__} of length {len(entry)}"
            raise ValueError(
                f"the entry of {name!r} is a {kind}; expected a tuple (y, scores) or "
                "three arrays as returned by the curve functions of skadm.metrics."
            )
        lines[name] = line(*entry)
    return lines


def _roc_line(*entry: Any) -> _Line:
    if len(entry) == 2:
        fpr, tpr, _ = pixel_roc_curve(*entry)
        return _Line(fpr, tpr, pixel_roc_auc_score(*entry))
    fpr, tpr, _ = entry
    return _Line(fpr, tpr, float(np.trapezoid(tpr, fpr)))


def _precision_recall_line(*entry: Any) -> _Line:
    computed = len(entry) == 3
    precision, recall, _ = entry if computed else pixel_precision_recall_curve(*entry)
    area = (
        -float(np.sum(np.diff(recall) * precision[:-1]))
        if computed
        else pixel_average_precision_score(*entry)
    )
    # The last point, precision 1 with nothing flagged, is a convention: the line ends
    # horizontally instead.
    return _Line(recall, np.append(precision[:-1], precision[-2]), area)


def _square_axes(names: list[str]) -> tuple["Figure", Any]:
    """Return a figure with square axes and room for a legend."""
    # Manual layout: the automatic one cuts off a legend beside square axes.
    left, bottom, legend = 0.5, 0.42, 0.95 + 0.06 * max(map(len, names))
    side = 2.7 if len(names) <= 8 else 3.8  # larger for many lines
    width, height = left + side + 0.1 + legend, bottom + side + 0.1
    figure = new_figure(figsize=(width, height), dpi=150)
    axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_yticks(np.linspace(0, 1, 6))
    tidy(axes)
    return figure, axes


def _draw(axes: Any, lines: dict[str, _Line], area_name: str, **style: Any) -> None:
    # Styles follow the order given, so that a method looks the same in both figures.
    looks = dict(zip(lines, line_looks()))
    for name in sorted(lines, key=lambda name: lines[name].area, reverse=True):
        x, y, area = lines[name]
        axes.plot(x, y, label=f"{area:.3f}  {name}", **looks[name], **style)
    axes.legend(
        title=area_name,
        alignment="left",
        loc="upper left",
        bbox_to_anchor=(1.03, 1.0),
        borderaxespad=0.0,
        borderpad=0.0,
        frameon=False,
        fontsize=SMALL_FONT_SIZE,
        title_fontsize=SMALL_FONT_SIZE,
        handlelength=2.8,
    )
