"""Free-response ROC curves."""

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
    """Plot lesion-level sensitivity against false positives per volume.

    Parameters
    ----------
    curves : mapping of str to (false_positives_per_volume, sensitivity)
        For each method two arrays of equal length, in any order, as returned by
        `lesion_froc_curve`.

    Returns
    -------
    matplotlib.figure.Figure
        A line for each method: the best sensitivity with at most the given number of
        false positives. The axis is linear below 1 and logarithmic above.

    Raises
    ------
    ValueError
        If there is no method, or its two arrays differ in length.
    ImportError
        If matplotlib is not installed.
    """
    if not curves:
        raise ValueError("curves is empty; expected a mapping of method name to curve.")
    figure = new_figure(figsize=(5.4, 3.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    for (name, pair), look in zip(curves.items(), line_looks()):
        false, sensitivity = (np.asarray(values, dtype=float) for values in pair)
        if false.shape != sensitivity.shape or false.ndim != 1:
            raise ValueError(
                f"the curve of {name!r} has false positives of shape {false.shape} and "
                f"sensitivity of shape {sensitivity.shape}; expected equal lengths."
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
