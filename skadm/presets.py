"""Presets: named sets of parameters for the detectors."""

from typing import Any

from skadm.base import BaseDetector
from skadm.detectors import all_detectors

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    name: detector._presets for name, detector in all_detectors()
}
"""Parameters by detector and preset; other parameters keep their defaults."""


def make_detector(name: str, preset: str | None = None, **parameters) -> BaseDetector:
    """Create a detector from its name and a preset.

    Parameters
    ----------
    name : str
        Class name, such as "ADMDetector".
    preset : str, default=None
        Key of ``PRESETS[name]``. None: the defaults.
    **parameters
        Parameters that override the preset.

    Returns
    -------
    detector : BaseDetector
        The unfitted detector.

    Raises
    ------
    ValueError
        If the detector or preset is unknown.
    """
    detectors = dict(all_detectors())
    if name not in detectors:
        raise ValueError(
            f"there is no detector {name!r}; expected one of {sorted(detectors)}."
        )
    known = PRESETS.get(name, {})
    if preset is not None and preset not in known:
        raise ValueError(
            f"{name} has no preset {preset!r}; expected one of {sorted(known)}."
        )
    chosen = known[preset] if preset is not None else {}
    return detectors[name](**{**chosen, **parameters})
