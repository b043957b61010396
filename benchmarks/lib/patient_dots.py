"""Figure of diseases: a dot for each patient, a column a method, a panel a disease."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.lib.summary import TIER_COLOURS
from skadm._supervision import TIERS


def draw(rows: Sequence[dict[str, Any]], summary: Sequence[dict[str, Any]]) -> Figure:
    """Average precision: a dot a patient, a bar the mean, a panel a disease."""
    # One column for the threshold, on whichever contrast.
    rows = [row | {"method": column(row["method"])} for row in rows]
    tier_of = {column(row["method"]): row["supervision"] for row in summary}
    names = sorted(tier_of, key=lambda name: TIERS.index(tier_of[name]))
    ill = [row for row in rows if not np.isnan(row["auc"])]
    diseases = list(dict.fromkeys(row["disease"] for row in ill))
    height = 1.25 * len(diseases) + 1.6
    figure = Figure(figsize=(0.27 * len(names) + 1.2, height), layout="constrained")
    panels = figure.subplots(len(diseases), 1, sharex=True, sharey=True, squeeze=False)
    handles = {}
    for axes, disease in zip(panels[:, 0], diseases):
        here = [row for row in ill if row["disease"] == disease]
        n_patients = len({row["patient"] for row in here})
        for place, name in enumerate(names):
            colour = TIER_COLOURS[tier_of[name]]
            values = by_patient(here, name)
            if not len(values):
                continue
            offsets = np.linspace(-0.18, 0.18, len(values)) if len(values) > 1 else [0.0]
            handles[tier_of[name]] = axes.scatter(
                place + np.asarray(offsets), values, s=9, color=colour, linewidths=0
            )
            axes.hlines(np.mean(values), place - 0.33, place + 0.33, color="0.1", lw=1.2)
        who = "1 patient" if n_patients == 1 else f"{n_patients} patients"
        axes.set_title(f"{disease}, {who}", fontsize=8, loc="left", pad=3)
        axes.set_ylim(0, 1)
        axes.grid(axis="y", linewidth=0.4, color="0.85")
        axes.tick_params(labelsize=7)
        axes.set_axisbelow(True)
        for place in range(1, len(names)):
            if tier_of[names[place]] != tier_of[names[place - 1]]:
                axes.axvline(place - 0.5, linewidth=0.6, color="0.6")
    # The colours say the supervision.
    labels = [name.partition(", ")[0] for name in names]
    panels[-1, 0].set_xticks(
        range(len(names)),
        labels,
        rotation=60,
        ha="right",
        fontsize=7,
        rotation_mode="anchor",
    )
    panels[-1, 0].set_xlim(-0.6, len(names) - 0.4)
    figure.supylabel("average precision", fontsize=8)
    shown_tiers = [tier for tier in TIERS if tier in handles]
    figure.legend(
        [handles[tier] for tier in shown_tiers],
        shown_tiers,
        title="supervision",
        loc="outside upper center",
        ncols=len(shown_tiers),
        fontsize=7,
        title_fontsize=7,
        frameon=False,
    )
    return figure


def column(method: str) -> str:
    """Name of a method's column in the figure."""
    return "threshold" if method.endswith(" threshold") else method


def by_patient(rows: Iterable[Mapping[str, Any]], method: str) -> NDArray[np.float64]:
    """AP of each patient by a method, mean over seeds."""
    values: dict[str, list[float]] = {}
    for row in rows:
        if row["method"] == method:
            values.setdefault(row["patient"], []).append(row["ap"])
    return np.array([np.mean(seeds) for seeds in values.values()])
