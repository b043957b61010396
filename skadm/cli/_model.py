"""From options to a detector, and the file a trained one is kept in."""

import argparse
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

# What detectors call what each option states of lesions.
_BRIGHT = ("direction", "weights")
_ALONG = ("along",)
_LEARNED = "learned"
_LEARNS = ("direction", "along")


def make_detector(args: argparse.Namespace, contrasts: Sequence[str]) -> Any:
    """Make the detector that the options describe; unknown names and devices are errors."""
    from skadm import presets
    from skadm.detectors import all_detectors
    from skadm.neural import resolve_device

    resolve_device(args.device)
    known = dict(all_detectors())
    if args.detector not in known:
        raise ValueError(f"no detector {args.detector!r}; expected one of {sorted(known)}")
    if args.preset is None:
        args.preset = "cpu"
    accepted = known[args.detector]().get_params()
    if args.epochs is not None and "max_epochs" not in accepted:
        raise ValueError(f"{args.detector} is not trained in epochs; leave --epochs out")
    given = {"random_state": args.seed, "device": args.device}
    for option, names in (("bright", _BRIGHT), ("along", _ALONG)):
        if (stated := getattr(args, option)) is not None:
            parameter = _first_of(names, accepted, option, args.detector)
            if list(stated) != [_LEARNED]:
                given[parameter] = _weights(stated, contrasts, option)
            elif parameter in _LEARNS:
                given[parameter] = _LEARNED
            else:
                raise ValueError(
                    f"{args.detector} does not learn what lesions look like; name the "
                    f"contrasts, as in --{option} FLAIR T2"
                )
    detector = presets.make_detector(
        args.detector,
        args.preset,
        **{name: value for name, value in given.items() if name in accepted},
    )
    if args.epochs is not None:
        # Stages without a number of their own follow max_epochs; 0 leaves a stage out.
        numbers = {
            name: args.epochs
            for name, value in detector.get_params().items()
            if name.endswith("epochs") and value
        }
        detector.set_params(**numbers)
    return _composed(detector, args)


def _composed(detector: Any, args: argparse.Namespace) -> Any:
    """The detector within what the options put around it."""
    from skadm import EnsembleDetector, PostprocessedDetector
    from skadm.postprocessing import GaussianSmoother

    if args.smooth_through is not None:
        smoother = GaussianSmoother(0.0, sigma_through=args.smooth_through)
        detector = PostprocessedDetector(detector, smoother)
    if args.ensemble is not None:
        detector = EnsembleDetector(
            detector, n_detectors=args.ensemble, random_state=args.seed
        )
        detector._check()  # before anything is read
    return detector


def title(detector: Any) -> str:
    """Name of a detector in tables: its class, and what is around it."""
    from skadm import EnsembleDetector, PostprocessedDetector

    around = []
    while isinstance(detector, EnsembleDetector | PostprocessedDetector):
        if isinstance(detector, EnsembleDetector):
            around.append(f"ensemble of {detector.n_detectors}")
        else:
            around.append("filtered")
        detector = detector.detector
    return ", ".join([type(detector).__name__.removesuffix("Detector"), *around[::-1]])


def _first_of(
    names: Sequence[str], accepted: Iterable[str], option: str, detector: str
) -> str:
    """The parameter of a detector that takes what an option states of lesions."""
    from skadm.detectors import all_detectors

    for name in names:
        if name in accepted:
            return name
    takers = [
        name
        for name, kind in all_detectors()
        if not set(names).isdisjoint(kind().get_params())
    ]
    raise ValueError(
        f"{detector} cannot be told what lesions look like by --{option}; leave it out, or "
        f"take {' or '.join(takers)}"
    )


def _weights(
    stated: Sequence[str], contrasts: Sequence[str], option: str
) -> dict[str, float]:
    """Weights from NAME or NAME=WEIGHT."""
    if _LEARNED in stated:
        raise ValueError(f"--{option} {' '.join(stated)}: 'learned' stands alone")
    found = {}
    for each in stated:
        name, equals, weight = each.partition("=")
        try:
            found[name] = float(weight) if equals else 1.0
        except ValueError:
            raise ValueError(
                f"--{option} {each}: expected a contrast, or one with a number, as "
                f"{name}=0.5"
            ) from None
    if unknown := [name for name in found if name not in contrasts]:
        raise ValueError(
            f"--{option} names {', '.join(unknown)}; the contrasts are "
            f"{', '.join(contrasts)}"
        )
    return found


def preprocessing(stack: Any, size: int) -> Any:
    """The Pipeline that comes before a detector: normalise, then resize."""
    from sklearn.pipeline import make_pipeline

    from skadm.preprocessing import IntensityNormalizer, SliceResizer

    return make_pipeline(IntensityNormalizer(), SliceResizer(size)).fit(stack)


def save_model(
    path: Path, steps: Any, detector: Any, training: dict[str, Any], metrics: Any = None
) -> None:
    """Write preprocessing and detector as one Pipeline, with a record of the training.

    The record is the attribute `training_` of the Pipeline: patients, seed, preset, where
    the thresholds are from, and the baselines fitted on the same slices. What was measured
    goes to the card.
    """
    from sklearn.pipeline import Pipeline

    from skadm.io import save

    model = Pipeline([*steps.steps, ("detector", detector)])
    model.training_ = training
    path.parent.mkdir(parents=True, exist_ok=True)
    # Whether it may be replaced was asked before the training.
    save(model, path, metrics=metrics, force=True)


def load_model(path: str, device: str) -> Any:
    """Read a Pipeline that ends in a fitted detector, to run on a device."""
    from sklearn.pipeline import Pipeline

    from skadm._parts import parts_of
    from skadm._pipelines import scored_unit
    from skadm.base import MapDetector
    from skadm.io import load
    from skadm.neural import resolve_device

    place = check_model(path)
    resolve_device(device)
    model = load(place)
    if (
        not isinstance(model, Pipeline)
        or len(model.steps) < 2
        or not isinstance(model[-1], MapDetector)
        or scored_unit(model[-1]) != "pixel"
    ):
        raise ValueError(
            f"{place} holds {type(model).__name__}; expected a Pipeline of preprocessing "
            "and a detector, as 'skadm fit' saves it"
        )
    if not hasattr(model[-1], "offset_"):
        raise ValueError(f"{place} holds a detector that is not fitted")
    for part in parts_of(model):
        if "device" in part.get_params(deep=False):
            part.set_params(device=device)
    if not hasattr(model, "training_"):
        warnings.warn(
            f"{place} does not say on which patients it was trained: it was not made by "
            "'skadm fit'",
            stacklevel=2,
        )
        model.training_ = {}
    return model


def check_model(path: str) -> Path:
    """Return where a model is."""
    place = Path(path).expanduser()
    if not place.is_file():
        raise FileNotFoundError(f"{place}: no such model; 'skadm fit' makes one")
    return place


def read_for(model: Any, data: str, **options: Any) -> Any:
    """Read the contrasts that a model was trained on."""
    from skadm.data import read_any

    return read_any(data, contrasts=model[-1].contrasts_, **options)
