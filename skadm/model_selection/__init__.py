"""Choosing the threshold of a detector, and its parameters, with and without labels."""

from skadm.model_selection._likelihood import HeldOutLikelihoodScorer
from skadm.model_selection._synthetic import SyntheticLesionScorer
from skadm.model_selection._threshold import (
    labels_in_brain,
    set_offset_by_f1,
    set_offset_on_abnormal_slices,
)

__all__ = [
    "HeldOutLikelihoodScorer",
    "SyntheticLesionScorer",
    "labels_in_brain",
    "set_offset_by_f1",
    "set_offset_on_abnormal_slices",
]
