"""Plan of `skadm run`: the commands to run and their estimated time."""

import argparse
import copy
import math
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skadm.cli import _fit, _options, _prepare, _report, _score
from skadm.cli._choice import (
    BEST,
    ERASER,
    OF_SMALL_LESIONS,
    SELF_TRAINED,
    SMALL_LESIONS,
    print_choice,
    settle,
    settle_eraser,
    settle_smoothing,
)
from skadm.cli._found import Found, on_one_grid
from skadm.cli._model import stated_prior
from skadm.cli._output import check_inner_folder

TRAINED, SHIPPED, _SHIPPED_SMALL = "trained", "synthetic", "synthetic-small-lesions"
# Our choice. With the normal slices of one patient, training from scratch was not better
# than the pretrained model (docs/results.md).
_FEWEST_PATIENTS, _FEWEST_SLICES = 2, 100
# Seconds of one thread for a slice of 128 x 128 pixels and the preset cpu (three networks
# of 20 epochs; docs/results.md), for reading and writing a slice, and for a raw patient.
_TRAINING, _SCORING, _READING, _PREPARING = 2.07, 0.041, 0.1, 150
_NETWORKS, _EPOCHS = 3, 20
_SMALLEST_ML = 0.014  # a sphere of 3 mm: the smallest lesions that criteria of MS count


@dataclass(frozen=True)
class Step:
    """One command."""

    command: str
    add_parser: Callable[[Any], None]
    words: list[str]
    seconds: float  # estimated
    finished: bool = False


def make_plan(
    args: argparse.Namespace,
    found: Found,
    chosen: dict[str, Any],
    out: Path,
    dicom: str | None = None,
) -> tuple[str, list[Step]]:
    """Decide whether to train and print the reasons; return the model and the steps.

    `dicom` is the folder of the series that the scans were prepared from, or None.
    """
    from skadm.cohort import map_file
    from skadm.data import read_any

    stack = read_any(
        found.data,
        **chosen,
        contrasts=found.contrasts,
        labels=found.masks and not found.mixed,
        allow_empty_masks=args.allow_empty_masks,
    )
    training_slices, n_normal, why = _select_training_slices(args, found, chosen, stack)
    print()
    made = args
    if training_slices is None:
        model = _SHIPPED_SMALL if args.preset == SMALL_LESIONS else SHIPPED
        why = f"the pretrained model {model}, without training: {why}"
        print_choice([("model", why)])
        options = _shipped(args, found, stack)
    else:
        print_choice([("training", why)])
        made = _settled(args, training_slices)
        model, options = TRAINED, []
    where = {name: value for name, value in chosen.items() if name not in _options.MASKS}
    place = out / "model.skadm"
    common = ["--model", str(place) if model == TRAINED else model]
    common += ["--data", found.data, *_device(args), *_as_words(where), *options]
    steps = []
    if training_slices is not None:
        steps.append(_training(made, found, chosen, training_slices, n_normal, place))
    scoring = _scoring_seconds(args.size, len(stack))
    maps, report = check_inner_folder(out, "maps"), check_inner_folder(out, "report")
    words = ["--out", str(maps), "--binary", "--skip-existing"]
    names = [volume.name for volume in stack.volumes]
    scored = all(
        (maps / map_file(name, kind)).is_file()
        for name in names
        for kind in ("anomaly", "segmentation")
    )
    steps.append(
        Step("score", _score.add_parser, [*common, *words], scoring, finished=scored)
    )
    words = ["--out", str(report), *_as_words(chosen, _options.MASKS)]
    if dicom is not None:
        words += ["--dicom", dicom]
    if made.preset in OF_SMALL_LESIONS:
        words += ["--min-region", f"{_SMALLEST_ML:g}"]
    if found.mixed or not found.masks:
        words.append("--no-masks")
    pages = [report / "index.html"]
    pages += [report / "patients" / f"{name}.html" for name in names]
    finished = all(page.is_file() for page in pages)
    if report.is_dir() and any(report.iterdir()) and not finished:
        words.append("--force")  # an earlier run was interrupted
    steps.append(
        Step("report", _report.add_parser, [*common, *words], scoring, finished=finished)
    )
    return model, steps


def _select_training_slices(
    args: argparse.Namespace, found: Found, chosen: dict[str, Any], stack: Any
) -> tuple[Any, int, str]:
    """Return the labelled training slices or None, the number of normal ones, and why."""
    from skadm.data import read_any

    if not found.marked:
        why = "masks are not read" if not found.masks else "no patient has a mask"
        return None, 0, f"{why}, so no slice is known to be normal"
    if found.mixed:
        stack = read_any(
            found.data,
            **{**chosen, "patients": [study.name for study in found.marked]},
            contrasts=found.contrasts,
            allow_empty_masks=args.allow_empty_masks,
        )
    n_normal, patients = 0, set()
    for volume in stack.volumes:
        labels: Any = volume.decode().labels
        normal = int((~(labels == 1).any(axis=(1, 2))).sum())
        n_normal += normal
        if normal:
            patients.add(volume.patient)
    what = (
        f"{n_normal} of the {len(stack)} slices with a mask are normal, of {len(patients)} "
        f"patient{'' if len(patients) == 1 else 's'}"
    )
    if len(patients) < _FEWEST_PATIENTS or n_normal < _FEWEST_SLICES:
        least = f"at least {_FEWEST_SLICES} of {_FEWEST_PATIENTS} patients"
        return None, n_normal, f"{what}, but training needs {least}"
    return stack, n_normal, what


def _shipped(args: argparse.Namespace, found: Found, stack: Any) -> list[str]:
    """Return the options of the pretrained model; raise if it is not applicable."""
    from skadm.training._pretrained_networks import known_contrasts

    known = known_contrasts(SHIPPED)
    contrasts = [name for name in found.contrasts if name in known]
    unknown = [name for name in found.contrasts if name not in known]
    if not contrasts:
        raise ValueError(
            f"the pretrained model does not support {', '.join(unknown)}, only "
            f"{', '.join(known)}; provide masks that mark normal slices, so that a model "
            "can be trained"
        )
    if args.prior == ["learned"]:
        raise ValueError(
            "--prior learned needs training, but no model is trained. Name the "
            "contrasts that lesions change, as in --prior FLAIR T2=0.5"
        )
    stated_prior(args, contrasts, ("prior",))  # raises for invalid priors
    if unknown:
        left = f"without {', '.join(unknown)}, which the model does not support"
        print_choice([("contrasts", left)])
    if args.preset == SMALL_LESIONS and (
        args.prior is None or args.prior_sign == "unknown"
    ):
        raise ValueError(
            f"--preset {SMALL_LESIONS} without training needs a prior with a known sign, "
            "such as --prior FLAIR for lesions that are bright on FLAIR"
        )
    if args.prior is None:
        prior = (
            "none; a prior improves detection considerably, such as --prior FLAIR "
            "T2=0.5 for lesions that are bright on FLAIR, and half as bright on T2"
        )
    else:
        prior = f"{' '.join(args.prior)}, as --prior says"
    made = copy.copy(args)
    print_choice([("prior", prior), settle_smoothing(made, stack)])
    words = ["--contrasts", *contrasts]
    return words + _as_words(
        vars(made), ("prior", "prior_sign", "prior_rule", "smooth_through")
    )


def _settled(args: argparse.Namespace, stack: Any) -> argparse.Namespace:
    """Return the options with those of the detector settled; print the choices."""
    made = copy.copy(args)
    made.detector, made.init = None, None
    if args.preset == BEST:
        print_choice(settle(made, stack))
    else:
        made.detector = ERASER
        print_choice(settle_eraser(made, stack))
    return made


def _training(
    made: argparse.Namespace,
    found: Found,
    chosen: dict[str, Any],
    stack: Any,
    n_normal: int,
    place: Path,
) -> Step:
    """Return the training step, of settled options."""
    stated_prior(made, stack.contrasts, ("prior",))  # raises for invalid priors
    words = ["--data", found.data, "--out", str(place), "--contrasts", *found.contrasts]
    settled = ("detector", "preset", "prior", "prior_sign", "prior_rule", "smooth_through")
    words += _as_words(vars(made), (*settled, "epochs", "size", "seed"))
    words += _device(made)
    where = dict(chosen)
    if found.mixed:
        where["patients"] = [study.name for study in found.marked]
    words += _as_words(where)
    if made.allow_empty_masks:
        words.append("--allow-empty-masks")
    words += ["--checkpoints", str(check_inner_folder(place.parent, "checkpoints"))]
    seconds = len(stack) * (_READING + _SCORING) + _training_seconds(
        made.preset, made.epochs, made.size, n_normal, len(stack)
    )
    return Step("fit", _fit.add_parser, words, seconds, finished=place.is_file())


def _training_seconds(
    preset: str, epochs: int | None, size: int, n_normal: int, n_slices: int
) -> float:
    """Estimate seconds from slices, networks, epochs, pixels and width."""
    from skadm.presets import make_detector

    detector = make_detector(ERASER, preset)
    passes = n_normal * (epochs or detector.max_epochs)
    if detector.self_training_epochs:  # on all slices
        passes += n_slices * (epochs or detector.self_training_epochs)
    work = detector.n_networks * passes / (_NETWORKS * _EPOCHS)
    return _TRAINING * work * (size / 128) ** 2 * max(1, detector.width / 16) ** 2


def _scoring_seconds(size: int, n_slices: int) -> float:
    return n_slices * (_READING + _SCORING * (size / 128) ** 2)


def _device(args: argparse.Namespace) -> list[str]:
    return [] if args.device == "auto" else ["--device", args.device]


def _as_words(options: dict[str, Any], names: tuple[str, ...] | None = None) -> list[str]:
    """Format options, those named or all, as words of a command line."""
    words = []
    for name in names or tuple(options):
        value = options.get(name)
        if value is None:
            continue
        values = value if isinstance(value, list) else [value]
        words += [f"--{name.replace('_', '-')}", *(f"{item}" for item in values)]
    return words


def _reference(found: Found) -> str:
    """Return the contrast on whose grid all masks lie, FLAIR if there are several."""
    names = sorted(found.contrasts, key=lambda name: name != "FLAIR")
    for name in names:
        if all(on_one_grid(study.mask, study.images[name]) for study in found.marked):
            return name
    return names[0]


def make_preparation(args: argparse.Namespace, found: Found, out: Path) -> Step:
    """Return the step that prepares raw scans."""
    words = ["--data", found.data, "--out", str(out / "prepared")]
    words += ["--reference", _reference(found), *_device(args)]
    words += _as_words(_options.selected(args))
    if found.layout == "DICOM":
        words += _as_words(vars(args), ("series", "pseudonyms"))
    return Step("prepare", _prepare.add_parser, words, _PREPARING * len(found.studies))


def require_preparation(step: Step) -> None:
    """Check that the libraries for preparing scans are installed."""
    from skadm.raw import Preparation

    try:
        Preparation().describe()
        from skadm.raw._itk import import_sitk

        import_sitk()
    except ImportError as error:
        raise ImportError(
            f"the scans must be prepared, and {error}. Then repeat the command, or "
            f"prepare the scans separately: {command_line(step)}"
        ) from error


def command_line(step: Step) -> str:
    """Return the command line of a step."""
    return shlex.join(["skadm", step.command, *step.words])


def print_plan(steps: list[Step]) -> None:
    """Print the steps with command lines and estimated minutes."""
    print("\nPlan:")
    for number, step in enumerate(steps, start=1):
        minutes = math.ceil(step.seconds / 60)
        when = "is finished" if step.finished else f"about {minutes} min"
        print(f"  {number}. {step.command:<8} {when}\n     {command_line(step)}")
    print(
        "Minutes are a rough estimate from the time per slice on one core. A GPU is "
        "much faster.",
        flush=True,
    )


def print_later(args: argparse.Namespace, found: Found) -> None:
    """Print the plan after preparation to voxels of 1 mm."""
    n_slices = round(found.millimetres)
    scoring = 2 * _scoring_seconds(args.size, n_slices) / 60
    text = (
        f"The next steps are planned from the prepared scans, about {n_slices} slices. "
        f"Scoring and report take about {math.ceil(scoring)} min."
    )
    if found.marked:
        preset = SELF_TRAINED if args.preset == BEST else args.preset
        seconds = _training_seconds(preset, args.epochs, args.size, n_slices, n_slices)
        text += (
            " If there are enough normal slices, training before that takes at most "
            f"{math.ceil(seconds / 60)} min."
        )
    print(text)
