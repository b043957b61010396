"""Free-response ROC: lesions found against false alarms."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from skadm.plotting._style import (
    FONT_SIZE,
    SMALL_FONT_SIZE,
    line_looks,
    new_figure,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_froc(curves: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> "Figure":
    """Plot the share of lesions found against false positives per volume.

    Parameters
    ----------
    curves : mapping of str to (false_positives_per_volume, sensitivity)
        For each method two arrays of one length, as `lesion_froc_curve` returns them
        first; in any order.

    Returns
    -------
    matplotlib.figure.Figure
        A line for each method: the best sensitivity that is reached with at most so many
        false positives. The axis is logarithmic above 1 and linear below.

    Raises
    ------
    ValueError
        If there is no method, or the two arrays of one differ in length.
    ImportError
        If matplotlib is not installed.
    """
    if not curves:
        raise ValueError("curves is empty: expected a mapping of method name to curve.")
    figure = new_figure(figsize=(5.4, 3.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    for (name, pair), look in zip(curves.items(), line_looks()):
        false, sensitivity = (np.asarray(values, dtype=float) for values in pair)
        if false.shape != sensitivity.shape or false.ndim != 1:
            raise ValueError(
                f"the curve of {name!r} has false positives of shape {false.shape} and "
                f"sensitivity of shape {sensitivity.shape}; expected two of one length."
            )
        order = np.lexsort((sensitivity, false))
        best = np.maximum.accumulate(sensitivity[order])
        axes.step(false[order], best, where="post", label=name, **look)
    axes.set_xscale("symlog", linthresh=1.0)
    axes.set_xlim(left=0)
    axes.set_ylim(-0.02, 1.02)
    tidy(axes)
    axes.set_xlabel("False positives per volume", fontsize=FONT_SIZE)
    axes.set_ylabel("Lesions found", fontsize=FONT_SIZE)
    figure.legend(loc="outside right upper", frameon=False, fontsize=SMALL_FONT_SIZE)
    return figure
