"""Figures for papers and reports.

Every function returns a :class:`matplotlib.figure.Figure` and leaves it to the caller to
save or show it; no global setting or backend of matplotlib is touched. Matplotlib is
imported when a figure is drawn; ``pip install skadm[plot]`` brings it.
"""

from skadm.plotting._decomposition import plot_explanation
from skadm.plotting._froc import plot_froc
from skadm.plotting._heat_map import plot_heat_map
from skadm.plotting._history import plot_history
from skadm.plotting._lesion_size import plot_roc_auc_by_lesion_size
from skadm.plotting._montage import plot_montage
from skadm.plotting._panels import representative_slices
from skadm.plotting._roc import plot_precision_recall, plot_roc

__all__ = [
    "plot_explanation",
    "plot_froc",
    "plot_heat_map",
    "plot_history",
    "plot_montage",
    "plot_precision_recall",
    "plot_roc",
    "plot_roc_auc_by_lesion_size",
    "representative_slices",
]
