"""P-values from the scores of normal slices of patients kept out of the training.

They hold a share of false positives on new patients, whatever the detector is, in finite
samples. Pixels of a patient are alike, and so are slices; patients are exchangeable, and
they are the unit. `skadm.ConformalDetector` puts them around a detector.
"""

from skadm.conformal._calibration import Calibration
from skadm.conformal._candidate_lesions import CandidateLesions

__all__ = ["Calibration", "CandidateLesions"]
