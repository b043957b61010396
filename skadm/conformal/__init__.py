"""Thresholds that hold a false positive rate, without labels of lesions.

Scores of normal slices of patients kept out of the training calibrate a detector: a share
of false positives is then held on new patients, whatever the detector is, in finite
samples. Pixels of a patient are alike, and so are slices; patients are exchangeable, and
they are the unit.
"""

from skadm.conformal._calibration import Calibration
from skadm.conformal._detector import ConformalDetector
from skadm.conformal._lesions import CandidateLesion, CandidateLesions

__all__ = [
    "Calibration",
    "CandidateLesion",
    "CandidateLesions",
    "ConformalDetector",
]
