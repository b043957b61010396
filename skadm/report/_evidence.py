"""Contrasts and features that make a flagged region anomalous."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from skadm._pipelines import parts_of

_SHOWN = 3

PARTS = "part of the feature in the anomaly"
INTENSITIES = "preprocessed intensity"


def evidence_kind(detector: Any) -> str:
    """Say what the numbers of `region_evidence` are."""
    return INTENSITIES if _explaining(detector) is None else PARTS


def _explaining(detector: Any) -> Any | None:
    """The detector that can explain: the given one, or one that it is made of."""
    return next((part for part in parts_of(detector) if hasattr(part, "explain")), None)


def region_evidence(
    detector: Any, stack: Any, numbers: NDArray[np.uint8], n_regions: int
) -> list[tuple[tuple[str, float], ...]]:
    """Average over each region what speaks for it, and name the three that speak most.

    Of a detector that can explain its anomaly, that is the part of each feature (of one
    within filters or an ensemble, before the filters, by the first member); of others the
    intensity of each contrast, a z-score as a rule, which tells at least how bright or dark
    the region is.

    The stack holds the slices of one volume, preprocessed; `numbers`, (n_slices, H, W), the
    rank of the region at each pixel, from 1.
    """
    slices = np.flatnonzero(
        ((numbers > 0) & (numbers <= n_regions)).any(axis=(1, 2))
    )  # others need not be explained
    if not slices.size:
        return []
    explaining = _explaining(detector)
    if explaining is not None:
        explanation = explaining.explain(stack[slices])
        names, maps = explanation.names, explanation.features
    else:
        names, maps = stack.contrasts, stack[slices].X
    regions = np.arange(1, n_regions + 1)
    means = np.array(
        [ndimage.mean(maps[:, i], numbers[slices], regions) for i in range(len(names))]
    )
    # A part below 0 speaks against an anomaly; an intensity below 0 is as unusual as above.
    weights = np.abs(means) if explaining is None else means
    order = np.argsort(-weights, axis=0, kind="stable")
    # Exactly 0 is what was left out: the evidence of a contrast that is missing.
    shown = [[i for i in order[:, k] if means[i, k] != 0] for k in range(n_regions)]
    return [
        tuple((names[i], float(means[i, region])) for i in features[:_SHOWN])
        for region, features in enumerate(shown)
    ]
