"""Model cards: description, training data and intended use of a model."""

import platform
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from skadm._pipelines import COMPOSING, parts_of
from skadm._reference import LEVELS
from skadm._supervision import supervision
from skadm._version import __version__

# Incremented when older files would be misread. 1 was a zip archive.
FORMAT = 2

_PACKAGES = ("numpy", "safetensors", "scikit-learn", "torch")

_INTENDED_USE = (
    "Research: finds pixels that do not look like the brains trained on, in images of the "
    "same contrasts, prepared in the same way. Not a medical device, not for diagnosis."
)


def make_card(model: Any, metrics: Any = None) -> dict[str, Any]:
    """Describe a model in JSON types; unknown values are None."""
    parts = list(parts_of(model))
    detector = next((p for p in parts if hasattr(p, "training_reference_")), None)
    return {
        "format": FORMAT,
        "model": " > ".join(type(part).__name__ for part in parts),
        "intended_use": _INTENDED_USE,
        "supervision": supervision(model),
        "saved": datetime.now(UTC).isoformat(timespec="seconds"),
        "skadm": __version__,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in _PACKAGES},
        },
        "contrasts": _plain(getattr(detector, "contrasts_", None)),
        **_training(detector),
        "parts": [
            {
                "class": type(part).__name__,
                "parameters": _parameters(part),
                "threshold": _plain(vars(part).get("offset_")),
            }
            for part in parts
        ],
        "metrics": _plain(metrics),
    }


def _training(detector: Any) -> dict[str, Any]:
    """Return what the detector stores about its training slices."""
    if detector is None:
        return {"training_data": None, "intensities": None}
    reference = detector.training_reference_
    names = detector.contrasts_ or [str(k) for k in range(len(reference.quantiles))]
    return {
        "training_data": {
            "slices": reference.n_slices,
            "patients": reference.n_patients,
            "brain_pixels": reference.n_brain_pixels,
            "sha256": reference.sha256,
        },
        "intensities": {
            name: {f"{level:.0%}": float(f"{q:.6g}") for level, q in zip(LEVELS, row)}
            for name, row in zip(names, reference.quantiles)
        },
    }


def _parameters(part: Any) -> dict[str, Any]:
    given = part.get_params(deep=False)
    return {
        name: _plain(value)
        for name, value in given.items()
        if name not in (*COMPOSING, "memory", "checkpoints")
    }


def _plain(value: Any) -> Any:
    """Convert a value to JSON types; non-finite numbers become text."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and value - value != 0:
        return repr(value)
    return value if isinstance(value, str | int | float | None) else repr(value)
