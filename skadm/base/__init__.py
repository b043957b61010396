"""Base classes of the detectors and their common contract."""

from skadm.base._contract import Detector
from skadm.base._learning import BaseDetector

__all__ = ["BaseDetector", "Detector"]
