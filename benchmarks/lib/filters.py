"""Filtering of the maps of a run."""

from collections.abc import Sequence

from numpy.typing import NDArray

from benchmarks.lib.data import Split
from skadm.postprocessing._map_transformer import MapTransformer

SIDES = ("validation", "test")


def apply(
    steps: Sequence[MapTransformer], split: Split, maps: dict[str, NDArray]
) -> dict[str, NDArray]:
    """Filter the maps of both sides; the filters are fitted on validation slices."""
    known = {
        side: {
            "brain": split.labels[slices] >= 0,
            "groups": split.stack.groups[slices],
        }
        for side, slices in (("validation", split.validation), ("test", split.test))
    }
    for step in steps:
        step.fit(maps["validation"], **known["validation"])
        maps = {side: step.transform(maps[side], **known[side]) for side in SIDES}
    return maps
