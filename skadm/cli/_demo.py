"""``skadm demo``: run the whole protocol."""

import argparse
import platform
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from skadm.cli import _options, _progress, _results
from skadm.cli._choice import print_choice, settle, settle_size
from skadm.cli._data import lesions_outside_brain, print_data
from skadm.cli._model import make_detector, preprocessing, save_model, title
from skadm.cli._output import (
    check_figures,
    check_inner_folder,
    check_new_folder,
    print_files,
    say,
    write_json,
)

_TEXT = """\
Run the whole protocol: split the patients, train a detector on the normal slices of one
part, set its threshold on their abnormal slices, test it on the other patients, and
compare it with plain and smoothed FLAIR and FLAIR + T2 intensity.

Without --data it runs on a built-in phantom, so nothing needs to be downloaded. Results
on the phantom are not representative of real scans.
"""

_EPILOG = """\
examples:
  skadm demo --n-patients 6 --preset quick --out try/    a quick test
  skadm demo                                             the full phantom, some minutes
  skadm demo --data scans/ --test-fraction 1/4 --seed 1 --out scans_1/

files: metrics.json, metrics.csv, per_patient.csv, run.json (how it was made), figures
(roc.png, precision_recall.png, montage.png, history.png), model.skadm, and maps/ with an
anomaly map and a segmentation of each test patient
"""

_PHANTOM_PATIENTS = 20


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = _options.command(
        commands, "demo", run, "split, train, test and plot", _TEXT, _EPILOG
    )
    parser.add_argument(
        "--data",
        default="phantom",
        metavar="PATH",
        help=f"'phantom', or a {_options.DATA_HELP}; with masks (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        default="out",
        metavar="FOLDER",
        help="output folder (default: %(default)s)",
    )
    parser.add_argument(
        "--n-patients",
        type=_options.positive,
        metavar="N",
        help=f"patients of the phantom (default: {_PHANTOM_PATIENTS}), or the first N of "
        "the folder (default: all)",
    )
    parser.add_argument(
        "--slices",
        type=_options.positive,
        metavar="N",
        help="slices per patient of the phantom (default: 40)",
    )
    parser.add_argument(
        "--test-fraction",
        type=_options.fraction,
        default=1 / 3,
        metavar="F",
        help="fraction of patients to test on (default: 1/3)",
    )
    _options.add_training(parser)
    _options.add_selection(parser)
    _options.add_empty_masks(parser)
    _options.add_figures(parser)
    _options.add_device(parser)
    _options.add_force(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    started = time.perf_counter()
    settle_size(args)
    out = check_new_folder(
        args.out, None if args.data == "phantom" else args.data, args.force
    )
    maps = check_inner_folder(out, "maps")
    check_figures(args.figures)
    from skadm._pipelines import parts_of
    from skadm.cohort import KINDS, write_scores
    from skadm.evaluation import (
        evaluate_split,
        intensity_baselines,
        patient_split,
        verdict,
    )

    stack = _phantom(args) if args.data == "phantom" else _read(args)
    if len(set(stack.groups.tolist())) < 2:
        raise ValueError(
            f"{args.data} holds one patient; expected at least two, for training and "
            "testing. Train with 'skadm fit', and test with 'skadm evaluate'"
        )
    chosen = settle(args, stack)
    detector = make_detector(args, stack.contrasts)
    _refuse_its_own_brains(args.data, parts_of(detector))
    train, test = patient_split(
        stack.groups, test_fraction=args.test_fraction, random_state=args.seed
    )
    split = {
        "train": sorted(set(stack.groups[train].tolist())),
        "test": sorted(set(stack.groups[test].tolist())),
    }
    print_data(args.data, stack)
    print_choice(chosen)
    print(f"seed:      {args.seed}")
    print(f"training:  {', '.join(split['train'])}")
    print(f"test:      {', '.join(split['test'])}", flush=True)
    say("reading")
    steps = preprocessing(stack, args.size)
    prepared = steps.transform(stack).in_memory()
    labels = prepared.y
    outside = lesions_outside_brain(prepared)
    read_in = time.perf_counter() - started

    name = title(detector)
    baselines, left_out = intensity_baselines(stack.contrasts)
    with _progress.shown([detector]):
        evaluation = evaluate_split(
            {name: detector} | baselines,
            prepared,
            labels,
            train=train,
            test=test,
            seed=args.seed,
        )
    _progress.silence(evaluation.detectors.values())
    trained = evaluation.detectors[name]

    say("writing")
    _results.remove_previous(out)
    test_stack = prepared[test]
    files = _results.write_tables(out, evaluation, outside)
    if args.figures:
        files += _results.write_figures(out, test_stack, labels[test], evaluation.maps)
        histories = (getattr(part, "history_", None) for part in parts_of(trained))
        if history := next(filter(None, histories), None):
            from skadm.plotting import plot_history

            figure = plot_history(history)
            files.append(_results.save_figure(out / "history.png", figure))
    files.append(out / "model.skadm")
    training = {
        "patients": split["train"],
        "seed": args.seed,
        "detector": args.detector,
        "preset": args.preset,
        "threshold": "best F1 on the abnormal slices of the training patients",
        "baselines": {key: evaluation.detectors[key] for key in baselines},
        "left_out": left_out,
    }
    measured = [row for row in evaluation.rows if row["method"] == name]
    save_model(files[-1], steps, trained, training, measured)
    files += write_scores(evaluation.maps[name], test_stack, maps, trained, kinds=KINDS)
    files.append(out / "run.json")
    seconds = {
        "data": read_in,
        **evaluation.seconds,
        "total": time.perf_counter() - started,
    }
    write_json(files[-1], _record(args, trained, split, left_out, seconds))

    _results.print_tables(evaluation, left_out)
    if args.preset == "quick":
        print("\nThe preset 'quick' is only a test run; its scores are not meaningful.")
    print(f"\n{verdict(evaluation.rows, evaluation.patient_rows)}\n")
    print_files(out, files)


def _phantom(args: argparse.Namespace) -> Any:
    from skadm.data import make_phantom

    if args.patients is not None:
        raise ValueError(
            "--patients selects patients of a folder, but --data is the phantom; pass "
            "--n-patients for the number of its patients"
        )
    options = {} if args.contrasts is None else {"contrasts": args.contrasts}
    return make_phantom(
        n_patients=args.n_patients or _PHANTOM_PATIENTS,
        n_slices=args.slices or 40,
        size=args.size,
        random_state=args.seed,
        **options,
    )


def _read(args: argparse.Namespace) -> Any:
    from skadm.data import read_any

    if args.slices is not None:
        raise ValueError("--slices is only for the phantom; omit it with --data")
    stack = read_any(
        args.data,
        contrasts=args.contrasts,
        allow_empty_masks=args.allow_empty_masks,
        **_options.selected(args),
    )
    if not stack.volumes[0].has_labels:
        raise ValueError(f"{args.data} has no masks; expected masks to evaluate")
    if args.n_patients is None:
        return stack
    first = list(dict.fromkeys(stack.groups.tolist()))[: args.n_patients]
    chosen = stack[[patient in first for patient in stack.groups.tolist()]]
    chosen.record = stack.record
    return chosen


def _record(
    args: argparse.Namespace,
    detector: Any,
    split: dict[str, list[str]],
    left_out: dict[str, str],
    seconds: dict[str, float],
) -> dict[str, Any]:
    """Return a record with which the run can be reproduced."""
    from skadm.training._device import resolve_device

    packages = ("skadm", "numpy", "scipy", "scikit-learn", "torch", "nibabel")
    return {
        "command": args.command_line,
        "data": args.data if args.data == "phantom" else str(Path(args.data).absolute()),
        "seed": args.seed,
        "split": split,
        "test_fraction": args.test_fraction,
        "size": args.size,
        "detector": args.detector,
        "preset": args.preset,
        "parameters": detector.get_params(),
        "device": str(resolve_device(args.device)),
        "left_out": left_out,
        "seconds": seconds,
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in packages},
        },
        "machine": f"{platform.system()} {platform.machine()}",
    }


def _refuse_its_own_brains(data: str, parts: Iterable[Any]) -> None:
    """Raise if a model pretrained on synthetic brains is evaluated on the phantom."""
    if data == "phantom" and any(getattr(part, "init", None) for part in parts):
        raise ValueError(
            "the pretrained weights were trained on brains from the phantom's "
            "generator, so results on the phantom are not valid. Omit --init, or pass "
            "scans with --data"
        )
