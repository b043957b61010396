"""Several looks at the same slices: over seeds, and mirrored."""

from skadm.ensemble._flips import FlipAveragedDetector
from skadm.ensemble._seeds import EnsembleDetector

__all__ = ["EnsembleDetector", "FlipAveragedDetector"]
