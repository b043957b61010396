"""Selection of thresholds and parameters, with and without labels."""

from skadm.model_selection._likelihood import HeldOutLikelihoodScorer
from skadm.model_selection._offset import set_offset_by_f1
from skadm.model_selection._synthetic import SyntheticLesionScorer

__all__ = [
    "HeldOutLikelihoodScorer",
    "SyntheticLesionScorer",
    "set_offset_by_f1",
]
