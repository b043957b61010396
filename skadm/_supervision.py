"""Supervision of detectors: the knowledge of lesions used by their maps."""

from typing import Any

from skadm._pipelines import last_step

TIERS = ("none", "slice labels", "known contrasts", "known direction")
"""From least to most; compare results within a tier."""


def supervision(detector: Any) -> str | None:
    """Return the knowledge of lesions that the maps of a detector use.

    Parameters
    ----------
    detector : estimator
        A detector, fitted or not, optionally in wrappers or a Pipeline.

    Returns
    -------
    tier : str or None
        "none": normal slices only. "slice labels": which training slices contain an
        anomaly, but not where (weak supervision). "known contrasts": which contrasts
        lesions change, given by the user. "known direction": also in which direction.
        None: unknown.

    Notes
    -----
    The tier applies to the maps. A threshold with the best F1 needs masks of validation
    slices for every tier.

    Examples
    --------
    >>> from skadm import EraserDetector, PostprocessedDetector
    >>> from skadm.detectors import supervision
    >>> supervision(PostprocessedDetector(EraserDetector(prior="learned")))
    'slice labels'
    """
    detector = last_step(detector)
    while hasattr(detector, "detector"):
        detector = last_step(detector.detector)
    return getattr(detector, "_supervision", None)
