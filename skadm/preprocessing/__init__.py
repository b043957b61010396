"""Transformers for intensities and geometry of slices, lazy on stacks."""

from skadm.preprocessing._coverage import CoverageImputer
from skadm.preprocessing._crop import BrainCropper
from skadm.preprocessing._normalize import IntensityNormalizer
from skadm.preprocessing._resize import SliceResizer

__all__ = ["BrainCropper", "CoverageImputer", "IntensityNormalizer", "SliceResizer"]
