"""How much the maps of a detector owe to what is known of lesions."""

from typing import Any

from skadm._pipelines import last_step

TIERS = ("none", "slice labels", "known contrasts", "known direction")
"""From nothing to most; a result is comparable with others of its tier."""


def supervision(detector: Any) -> str | None:
    """Name what the maps of a detector owe to knowledge of lesions.

    Parameters
    ----------
    detector : estimator
        A detector, fitted or not, with whatever is around it: wrappers, a Pipeline.

    Returns
    -------
    tier : str or None
        "none": normal slices alone. "slice labels": which training slices hold an anomaly,
        but not where; weak supervision. "known contrasts": which contrasts lesions change,
        as stated by the user. "known direction": in which direction they change them as
        well. None: the detector does not say.

    Notes
    -----
    The tier is that of the maps. A threshold at the best F1 is set on the masks of
    validation slices, whatever the tier.

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
