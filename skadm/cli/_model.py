"""Creation of detectors from options, and saving and loading of models."""

import argparse
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from skadm.cli._output import say

_LEARNED = "learned"
_ADM_PLUS = "ADM+"  # as in `presets`, whose import takes seconds
# For a file of such a name use ./synthetic.
_PRETRAINED = ("synthetic", "synthetic-small-lesions")


def check_names(args: argparse.Namespace) -> None:
    """Refuse names of --data, --model and --detector that do not exist.

    In any command, before the imports that take seconds.
    """
    from skadm.detectors import detector_names

    if (data := getattr(args, "data", None)) not in (None, "phantom"):
        place = Path(data).expanduser()
        if not place.exists():
            raise FileNotFoundError(f"{place}: no such file or folder")
    if (model := getattr(args, "model", None)) not in (None, *_PRETRAINED):
        check_model(model)
    known = [_ADM_PLUS, *detector_names()]
    if (name := getattr(args, "detector", None)) not in (None, *known):
        raise ValueError(f"there is no detector {name!r}; expected one of {known}")


def make_detector(args: argparse.Namespace, contrasts: Sequence[str]) -> Any:
    """Create the detector for the options; raise for unknown presets and devices."""
    from skadm import presets
    from skadm.detectors import all_detectors
    from skadm.training._device import resolve_device

    resolve_device(args.device)
    accepted = presets.classes_by_name()[args.detector]().get_params()
    if args.init is not None and "init" not in accepted:
        takers = [name for name, kind in all_detectors() if "init" in kind().get_params()]
        raise ValueError(
            f"{args.detector} has no pretrained weights; omit --init, or choose "
            f"{' or '.join(takers)}"
        )
    if args.preset is None:
        args.preset = "cpu" if args.init is None else "fine-tune"
    if args.epochs is not None and "max_epochs" not in accepted:
        raise ValueError(f"{args.detector} is not trained in epochs; omit --epochs")
    given = {"random_state": args.seed, "device": args.device}
    given |= stated_prior(args, contrasts, accepted)
    if args.init is not None:
        given["init"] = args.init
    detector = presets.make_detector(
        args.detector,
        args.preset,
        **{name: value for name, value in given.items() if name in accepted},
    )
    if args.epochs is not None:
        # Stages without a separate number use max_epochs; 0 skips a stage.
        numbers = {
            name: args.epochs
            for name, value in detector.get_params().items()
            if name.endswith("epochs") and value
        }
        detector.set_params(**numbers)
    return _composed(detector, args)


def _composed(detector: Any, args: argparse.Namespace) -> Any:
    """Wrap the detector as requested by the options."""
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
    """Return the name of a detector in tables: its class and wrappers."""
    from skadm import EnsembleDetector, PostprocessedDetector

    around = []
    while isinstance(detector, EnsembleDetector | PostprocessedDetector):
        if isinstance(detector, EnsembleDetector):
            around.append(f"ensemble of {detector.n_detectors}")
        else:
            around.append("filtered")
        detector = detector.detector
    return ", ".join([type(detector).__name__.removesuffix("Detector"), *around[::-1]])


def stated_prior(
    args: argparse.Namespace, contrasts: Sequence[str], accepted: Iterable[str]
) -> dict[str, Any]:
    """Return the prior parameters of a detector."""
    from skadm.detectors import all_detectors

    details = {"prior_sign": args.prior_sign, "prior_rule": args.prior_rule}
    details = {name: value for name, value in details.items() if value is not None}
    if args.prior is None:
        for name, value in details.items():
            raise ValueError(
                f"--{name.replace('_', '-')} {value} needs --prior: name the contrasts, as "
                "in --prior FLAIR T2"
            )
        return {}
    if "prior" not in accepted:
        takers = [name for name, kind in all_detectors() if "prior" in kind().get_params()]
        raise ValueError(
            f"{args.detector} does not support a prior; omit --prior, or choose "
            f"{', '.join(takers[:-1])} or {takers[-1]}"
        )
    learned = args.prior == [_LEARNED]
    prior = _LEARNED if learned else _weights(args.prior, contrasts)
    return {"prior": prior, **details}


def _weights(prior: Sequence[str], contrasts: Sequence[str]) -> dict[str, float]:
    """Parse weights from NAME or NAME=WEIGHT."""
    if _LEARNED in prior:
        raise ValueError(
            f"--prior {' '.join(prior)}: 'learned' cannot be combined with contrasts"
        )
    weights: dict[str, float] = {}
    for text in prior:
        name, equals, weight = text.partition("=")
        if name in weights:
            raise ValueError(
                f"--prior {' '.join(prior)}: {name} is given twice; expected each "
                "contrast once"
            )
        try:
            weights[name] = float(weight) if equals else 1.0
        except ValueError:
            raise ValueError(
                f"--prior {text}: expected a contrast, optionally with a weight, as "
                f"{name}=0.5"
            ) from None
    if unknown := [name for name in weights if name not in contrasts]:
        raise ValueError(
            f"--prior names {', '.join(unknown)}; expected some of {', '.join(contrasts)}"
        )
    return weights


def preprocessing(stack: Any, size: int) -> Any:
    """Return the preprocessing Pipeline: impute, normalise, then resize."""
    from sklearn.pipeline import make_pipeline

    from skadm.preprocessing import CoverageImputer, IntensityNormalizer, SliceResizer

    steps = CoverageImputer(), IntensityNormalizer(), SliceResizer(size)
    return make_pipeline(*steps).fit(stack)


def save_model(
    path: Path, steps: Any, detector: Any, training: dict[str, Any], metrics: Any = None
) -> None:
    """Write preprocessing and detector as one Pipeline, with a record of the training.

    The record is the attribute `training_` of the Pipeline: patients, seed, preset,
    source of the thresholds, and the baselines fitted on the same slices. Metrics are
    written to the card.
    """
    from sklearn.pipeline import Pipeline

    from skadm.io import save

    model = Pipeline([*steps.steps, ("detector", detector)])
    model.training_ = training
    path.parent.mkdir(parents=True, exist_ok=True)
    # Overwriting was checked before the training.
    save(model, path, metrics=metrics, force=True)


def load_model(path: str, device: str) -> Any:
    """Load a Pipeline that ends in a fitted detector, for a device."""
    from sklearn.pipeline import Pipeline

    from skadm._pipelines import parts_of, scored_unit
    from skadm.base import Detector
    from skadm.io import load
    from skadm.training._device import resolve_device

    place = check_model(path)
    resolve_device(device)
    model = load(place)
    if (
        not isinstance(model, Pipeline)
        or len(model.steps) < 2
        or not isinstance(model[-1], Detector)
        or scored_unit(model[-1]) != "pixel"
    ):
        raise ValueError(
            f"{place} holds {type(model).__name__}; expected a Pipeline of preprocessing "
            "and a detector, as saved by 'skadm fit'"
        )
    if not hasattr(model[-1], "offset_"):
        raise ValueError(
            f"{place} holds an unfitted detector; train a model with 'skadm fit'"
        )
    for part in parts_of(model):
        if "device" in part.get_params(deep=False):
            part.set_params(device=device)
    if not hasattr(model, "training_"):
        warnings.warn(
            f"{place} does not list its training patients, since it was not saved by "
            "'skadm fit'",
            stacklevel=2,
        )
        model.training_ = {}
    return model


def check_model(path: str) -> Path:
    """Return the path of a model."""
    place = Path(path).expanduser()
    if not place.is_file():
        raise FileNotFoundError(f"{place}: no such model; train one with 'skadm fit'")
    return place


def model_and_stack(args: argparse.Namespace, **options: Any) -> tuple[Any, Any]:
    """Load the model of --model and read --data for it.

    A pretrained model is made for the contrasts of the data. Only pretrained models
    accept the options of `_options.add_pretrained`.
    """
    if args.model not in _PRETRAINED:
        for name in ("prior", "prior_sign", "prior_rule", "smooth_through", "contrasts"):
            if getattr(args, name) is not None:
                raise ValueError(
                    f"--{name.replace('_', '-')} is only for --model "
                    f"{' and '.join(_PRETRAINED)}; a model saved by 'skadm fit' already "
                    "includes it"
                )
        model = load_model(args.model, args.device)
        return model, read_for(model, args.data, **options)
    from skadm.data import read_any
    from skadm.neural import resolve_device
    from skadm.pretrained import load_pretrained

    resolve_device(args.device)
    stack = read_any(args.data, contrasts=args.contrasts, **options)
    prior = stated_prior(args, stack.contrasts, ("prior",))
    say(f"no training: {args.model}, of {', '.join(stack.contrasts)}")
    model = load_pretrained(
        args.model,
        contrasts=stack.contrasts,
        smooth_through=args.smooth_through or 0.0,
        device=args.device,
        **prior,
    )
    return model, stack


def read_for(model: Any, data: str, **options: Any) -> Any:
    """Read the contrasts that a model was trained on."""
    from skadm.data import read_any

    return read_any(data, contrasts=model[-1].contrasts_, **options)
