"""From raw scans to what detectors take: co-registered, skull-stripped, 1 mm³."""

from skadm.raw._brain_extraction import HDBET, GivenMasks
from skadm.raw._patient import Preparation
from skadm.raw._prepare import prepare

__all__ = [
    "HDBET",
    "GivenMasks",
    "Preparation",
    "prepare",
]
