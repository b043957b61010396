"""How a report was made: model, training, versions."""

from typing import Any, NamedTuple

from skadm._pipelines import COMPOSING, parts_of
from skadm._version import __version__


class Setting(NamedTuple):
    """One line of the configuration."""

    group: str  # heading it stands under
    name: str
    value: str


def describe_model(model: Any) -> list[Setting]:
    """List the steps of a fitted Pipeline, their parameters, and the training.

    Parameters
    ----------
    model : sklearn.pipeline.Pipeline
        Preprocessing and a fitted detector, as 'skadm fit' makes it.

    Returns
    -------
    settings : list of Setting
        To be shown.
    """
    detector = model[-1]
    # Wrapped detectors have no names of their own, other Pipelines no record.
    contrasts = getattr(detector, "contrasts_", None) or ()
    training = getattr(model, "training_", {})
    settings = [
        Setting("Model", "version of skadm", __version__),
        Setting("Model", "detector", type(detector).__name__),
        Setting("Model", "contrasts", ", ".join(contrasts) or "without names"),
        Setting("Model", "threshold of the anomaly score", f"{-detector.offset_:.6g}"),
    ]
    settings += [
        Setting("Training", name, _text(value))
        for name, value in training.items()
        if name != "baselines"
    ]
    parts = list(parts_of(model))
    references = (getattr(part, "training_reference_", None) for part in parts)
    if (reference := next(filter(None, references), None)) is not None:
        settings += [
            Setting("Training", "slices", str(reference.n_slices)),
            Setting("Training", "SHA-256 of the slices", reference.sha256),
        ]
    for part in parts:
        group = type(part).__name__
        parameters = part.get_params(deep=False).items()
        settings += [
            Setting(group, name, _text(value))
            for name, value in parameters
            if name not in COMPOSING
        ]
    return list(dict.fromkeys(settings))  # members of an ensemble differ by the seed alone


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_text(item)}" for name, item in value.items()) or "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
