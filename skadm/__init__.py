"""Unsupervised anomaly detection in multicontrast MR images, as scikit-learn estimators."""

from importlib import import_module

from skadm._version import __version__

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
    "save",
]

_HOMES = {
    "ADMDetector": "skadm.detectors",
    "Augmentation": "skadm.augmentation",
    "ConformalDetector": "skadm.wrappers",
    "DAEDetector": "skadm.detectors",
    "DAGDetector": "skadm.detectors",
    "DAGcDetector": "skadm.detectors",
    "DSVDDDetector": "skadm.detectors",
    "EnsembleDetector": "skadm.wrappers",
    "EraserDetector": "skadm.detectors",
    "FAnoGANDetector": "skadm.detectors",
    "FlipAveragedDetector": "skadm.wrappers",
    "GMVAEDetector": "skadm.detectors",
    "GaussianMixtureDetector": "skadm.detectors",
    "IntensityDetector": "skadm.detectors",
    "IntensityShiftWarning": "skadm.reference",
    "PCADetector": "skadm.detectors",
    "PostprocessedDetector": "skadm.wrappers",
    "SliceDetector": "skadm.wrappers",
    "VolumeDetector": "skadm.wrappers",
    "card": "skadm.io",
    "load": "skadm.io",
    "save": "skadm.io",
}


def __getattr__(name: str):
    # Torch takes seconds to import; who only reads or writes files does not wait for it.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'skadm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
