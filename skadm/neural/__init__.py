"""What all detectors that train networks share."""

from skadm.neural._detector import TorchDetector
from skadm.neural._device import resolve_device

__all__ = ["TorchDetector", "resolve_device"]
