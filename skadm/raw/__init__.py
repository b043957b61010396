"""From raw scans to what detectors take: co-registered, skull-stripped, 1 mm³."""

from skadm.raw._bias_field import correct_bias_field
from skadm.raw._brain import HDBET, BrainExtractor, GivenMasks
from skadm.raw._cohort import Outcome, prepare
from skadm.raw._patient import Preparation
from skadm.raw._registration import RigidTransform, register_rigidly
from skadm.raw._resampling import isotropic_grid, resample

__all__ = [
    "HDBET",
    "BrainExtractor",
    "GivenMasks",
    "Outcome",
    "Preparation",
    "RigidTransform",
    "correct_bias_field",
    "isotropic_grid",
    "prepare",
    "register_rigidly",
    "resample",
]
