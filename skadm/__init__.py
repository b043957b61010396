"""Unsupervised anomaly detection in multicontrast MR images, as scikit-learn estimators."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from skadm._version import __version__

if TYPE_CHECKING:  # for the type checkers of users; __getattr__ imports them
    from skadm._reference import FlaggedShareWarning, IntensityShiftWarning
    from skadm.augmentation import Augmentation
    from skadm.detectors._adm import ADMDetector
    from skadm.detectors._dae import DAEDetector
    from skadm.detectors._dag import DAGcDetector, DAGDetector
    from skadm.detectors._dsvdd import DSVDDDetector
    from skadm.detectors._eraser import EraserDetector
    from skadm.detectors._fanogan import FAnoGANDetector
    from skadm.detectors._gaussian_mixture import GaussianMixtureDetector
    from skadm.detectors._gmvae import GMVAEDetector
    from skadm.detectors._intensity import IntensityDetector
    from skadm.detectors._pca import PCADetector
    from skadm.io import card, load, save
    from skadm.pretrained import load_pretrained
    from skadm.wrappers import (
        ConformalDetector,
        EnsembleDetector,
        FlipAveragedDetector,
        PostprocessedDetector,
        SliceDetector,
        VolumeDetector,
    )

__all__ = [
    "ADMDetector",
    "Augmentation",
    "ConformalDetector",
    "DAEDetector",
    "DAGDetector",
    "DAGcDetector",
    "DSVDDDetector",
    "EnsembleDetector",
    "EraserDetector",
    "FAnoGANDetector",
    "FlaggedShareWarning",
    "FlipAveragedDetector",
    "GMVAEDetector",
    "GaussianMixtureDetector",
    "IntensityDetector",
    "IntensityShiftWarning",
    "PCADetector",
    "PostprocessedDetector",
    "SliceDetector",
    "VolumeDetector",
    "__version__",
    "card",
    "load",
    "load_pretrained",
    "save",
]

_HOMES = {
    "Augmentation": "skadm.augmentation",
    "ConformalDetector": "skadm.wrappers",
    "EnsembleDetector": "skadm.wrappers",
    "FlipAveragedDetector": "skadm.wrappers",
    "FlaggedShareWarning": "skadm._reference",
    "IntensityShiftWarning": "skadm._reference",
    "PostprocessedDetector": "skadm.wrappers",
    "SliceDetector": "skadm.wrappers",
    "VolumeDetector": "skadm.wrappers",
    "card": "skadm.io",
    "load": "skadm.io",
    "load_pretrained": "skadm.pretrained",
    "save": "skadm.io",
}


def __getattr__(name: str) -> Any:
    # Import torch lazily: it takes seconds, and only networks need it.
    home = _HOMES.get(name, "skadm.detectors" if name.endswith("Detector") else None)
    if home is not None:
        return getattr(import_module(home), name)
    raise AttributeError(f"module 'skadm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
