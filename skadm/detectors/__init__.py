"""The detectors, and a list of them all."""

from skadm.base import BaseDetector
from skadm.detectors._adm import ADMDetector
from skadm.detectors._intensity import IntensityDetector

__all__ = ["ADMDetector", "IntensityDetector", "all_detectors"]


def all_detectors() -> list[tuple[str, type[BaseDetector]]]:
    """All detectors of the package, as scikit-learn's `all_estimators`.

    Returns
    -------
    detectors : list of tuple
        (name, class), sorted by name.
    """
    return sorted(
        (name, found)
        for name, found in globals().items()
        if isinstance(found, type) and name in __all__
    )
