"""The detectors, and a list of them all."""

from skadm._supervision import supervision
from skadm.base import BaseDetector
from skadm.detectors._adm import ADMDetector
from skadm.detectors._dae import DAEDetector
from skadm.detectors._dag import DAGcDetector, DAGDetector
from skadm.detectors._dsvdd import DSVDDDetector
from skadm.detectors._eraser import EraserDetector
from skadm.detectors._explanation import Explanation
from skadm.detectors._fanogan import FAnoGANDetector
from skadm.detectors._gaussian_mixture import GaussianMixtureDetector
from skadm.detectors._gmvae import GMVAEDetector
from skadm.detectors._intensity import IntensityDetector
from skadm.detectors._pca import PCADetector

__all__ = [
    "ADMDetector",
    "DAEDetector",
    "DAGDetector",
    "DAGcDetector",
    "DSVDDDetector",
    "EraserDetector",
    "Explanation",
    "FAnoGANDetector",
    "GMVAEDetector",
    "GaussianMixtureDetector",
    "IntensityDetector",
    "PCADetector",
    "all_detectors",
    "supervision",
]


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
        if isinstance(found, type) and issubclass(found, BaseDetector) and name in __all__
    )
