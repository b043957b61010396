"""Presets: named sets of parameters for the detectors."""

from typing import Any

from skadm.base import BaseDetector, Detector
from skadm.detectors import ADMDetector, all_detectors
from skadm.postprocessing import BorderEroder, GaussianSmoother
from skadm.wrappers import PostprocessedDetector

ADM_PLUS = "ADM+"
"""Name of `ADMDetector` with departures from the paper, for `make_detector`."""


def classes_by_name() -> dict[str, type[BaseDetector]]:
    """Get the classes of all that `make_detector` makes.

    Returns
    -------
    classes : dict of str to type
        By name; of "ADM+" it is `ADMDetector`.
    """
    return dict(all_detectors()) | {ADM_PLUS: ADMDetector}


PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    name: detector._presets for name, detector in classes_by_name().items()
}
"""Parameters by detector and preset; other parameters keep their defaults."""

_DEPARTURES = {"density": "em", "brain_channel": True}


def make_detector(name: str, preset: str | None = None, **parameters: Any) -> Detector:
    """Create a detector from its name and a preset.

    Parameters
    ----------
    name : str
        Class name, such as "ADMDetector"; or "ADM+": ``ADMDetector`` with
        ``density="em"`` and ``brain_channel=True``, in a `PostprocessedDetector` that
        calls the outermost pixel of the brain normal, and then smooths scores by 2 pixels.
        None of the four is in the paper. Sizes were chosen on slices of 64 pixels.
    preset : str, default=None
        Key of ``PRESETS[name]``. None: the defaults.
    **parameters
        Parameters that override the preset. Of "ADM+", parameters of `ADMDetector`.

    Returns
    -------
    detector : Detector
        The unfitted detector.

    Raises
    ------
    ValueError
        If the detector or preset is unknown.
    """
    classes = classes_by_name()
    if name not in classes:
        raise ValueError(
            f"there is no detector {name!r}; expected one of {sorted(classes)}."
        )
    known = PRESETS.get(name, {})
    if preset is not None and preset not in known:
        owners = [other for other, presets in PRESETS.items() if preset in presets]
        raise ValueError(
            f"{name} has no preset {preset!r}; expected one of {sorted(known)}"
            + (f", or as detector {' or '.join(owners)}." if owners else ".")
        )
    chosen = known[preset] if preset is not None else {}
    if name != ADM_PLUS:
        return classes[name](**{**chosen, **parameters})
    return PostprocessedDetector(
        ADMDetector(**{**chosen, **_DEPARTURES, **parameters}),
        # The rim first: smoothing then brings lesions that reach it back.
        [("rim", BorderEroder(1.0)), ("smooth", GaussianSmoother(2.0))],
    )
