"""The detectors, and a list of all of them."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skadm.base import BaseDetector

# The modules are imported when a name is used: only networks need torch, and importing
# torch takes seconds.
_HOMES = {
    "ADMDetector": "skadm.detectors._adm",
    "DAEDetector": "skadm.detectors._dae",
    "DAGDetector": "skadm.detectors._dag",
    "DAGcDetector": "skadm.detectors._dag",
    "DSVDDDetector": "skadm.detectors._dsvdd",
    "EraserDetector": "skadm.detectors._eraser",
    "FAnoGANDetector": "skadm.detectors._fanogan",
    "GMVAEDetector": "skadm.detectors._gmvae",
    "GaussianMixtureDetector": "skadm.detectors._gaussian_mixture",
    "IntensityDetector": "skadm.detectors._intensity",
    "PCADetector": "skadm.detectors._pca",
    "Explanation": "skadm.detectors._explanation",
    "supervision": "skadm._supervision",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def detector_names() -> list[str]:
    """List the class names of all detectors, sorted, without importing them."""
    return sorted(name for name in __all__ if name.endswith("Detector"))


def all_detectors() -> list[tuple[str, type["BaseDetector"]]]:
    """List all detectors of the package, like scikit-learn's `all_estimators`.

    Catalogue, presets, command line and tests use this list.

    Returns
    -------
    detectors : list of tuple
        (name, class), sorted by name.
    """
    module = sys.modules[__name__]
    return [(name, getattr(module, name)) for name in detector_names()]


__all__ = ["all_detectors", *_HOMES]
