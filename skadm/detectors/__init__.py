"""The detectors, and a list of all of them."""

from inspect import isabstract

from skadm._supervision import supervision as supervision
from skadm.base import BaseDetector
from skadm.detectors._adm import ADMDetector as ADMDetector
from skadm.detectors._dae import DAEDetector as DAEDetector
from skadm.detectors._dag import DAGcDetector as DAGcDetector
from skadm.detectors._dag import DAGDetector as DAGDetector
from skadm.detectors._dsvdd import DSVDDDetector as DSVDDDetector
from skadm.detectors._eraser import EraserDetector as EraserDetector
from skadm.detectors._explanation import Explanation as Explanation
from skadm.detectors._fanogan import FAnoGANDetector as FAnoGANDetector
from skadm.detectors._gaussian_mixture import (
    GaussianMixtureDetector as GaussianMixtureDetector,
)
from skadm.detectors._gmvae import GMVAEDetector as GMVAEDetector
from skadm.detectors._intensity import IntensityDetector as IntensityDetector
from skadm.detectors._pca import PCADetector as PCADetector


def all_detectors() -> list[tuple[str, type[BaseDetector]]]:
    """List all detectors of the package, like scikit-learn's `all_estimators`.

    Catalogue, presets, command line and tests use this list.

    Returns
    -------
    detectors : list of tuple
        (name, class), sorted by name.
    """
    return sorted(
        (name, value)
        for name, value in globals().items()
        if isinstance(value, type)
        and issubclass(value, BaseDetector)
        and not isabstract(value)
    )


__all__ = [
    "Explanation",
    "all_detectors",
    "supervision",
    *(name for name, _ in all_detectors()),
]
