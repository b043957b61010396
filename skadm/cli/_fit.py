"""``skadm fit``: train a detector on a folder of patients."""

import argparse
from pathlib import Path
from typing import Any

from skadm.cli import _options, _progress
from skadm.cli._choice import print_choice, settle, settle_size
from skadm.cli._data import lesions_outside_brain, print_data
from skadm.cli._model import make_detector, preprocessing, save_model
from skadm.cli._output import check_folder, check_new_file, print_threshold, say

_TEXT = """\
Train a detector and save it.

Where a contrast does not cover the brain, it is estimated from the others. Images are
normalised (z-score over the brain of each volume) and resized. With masks, the detector
is trained on slices without anomaly, and its threshold has the best F1 on slices with
one. Without masks, all slices count as normal, and the threshold flags 1 % of their
pixels.
"""

_EPILOG = """\
examples:
  skadm fit --data scans/ --out model.skadm
  skadm fit --data scans/ --out model.skadm --contrasts FLAIR T2 --preset quick
  skadm fit --data scans/ --out model.skadm --detector EraserDetector --prior FLAIR T2
  skadm fit --data scans/ --out model.skadm --preset best
  skadm fit --data scans/ --out model.skadm --detector EraserDetector --init synthetic
  skadm fit --data scans/ --out model.skadm --ensemble 5
  skadm fit --data scans/ --out model.skadm --patients P01 P02 P03 --seed 1 --force
  skadm fit --data scans/ --out model.skadm --checkpoints runs/
  torchrun --nproc-per-node 4 -m skadm fit --data scans/ --out model.skadm

The file holds a scikit-learn Pipeline (imputer, normaliser, resizer, detector):
  model = skadm.load("model.skadm"); maps = model.score_samples(read_brats("new/"))
It also lists the training patients, and has a model card: skadm card --model model.skadm
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = _options.command(
        commands, "fit", run, "train a detector on a folder of patients", _TEXT, _EPILOG
    )
    parser.add_argument("--data", required=True, metavar="PATH", help=_options.DATA_HELP)
    parser.add_argument(
        "--out", required=True, metavar="FILE", help="output file, e.g. model.skadm"
    )
    _options.add_training(parser)
    _options.add_selection(parser)
    parser.add_argument(
        "--no-masks",
        dest="masks",
        action="store_false",
        help="do not read masks: all slices count as normal",
    )
    _options.add_empty_masks(parser)
    parser.add_argument(
        "--checkpoints",
        metavar="FOLDER",
        help="folder for checkpoints, from which the same command resumes after an "
        "interruption. Delete the folder afterwards",
    )
    _options.add_device(parser)
    _options.add_force(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command in one process or in the processes started by torchrun."""
    settle_size(args)
    out = check_new_file(args.out, args.force)
    from skadm.training import launched

    with launched() as processes:
        _run(args, out, processes.rank)


def _run(args: argparse.Namespace, out: Path, rank: int) -> None:
    from skadm.data import read_any
    from skadm.evaluation import intensity_baselines

    stack = read_any(
        args.data,
        contrasts=args.contrasts,
        **_options.selected(args),
        labels=args.masks,
        allow_empty_masks=args.allow_empty_masks,
    )
    chosen = settle(args, stack)
    detector = make_detector(args, stack.contrasts)
    if args.checkpoints is not None:
        _keep_checkpoints(detector, args)
    steps = preprocessing(stack, args.size)
    print_data(args.data, stack)
    print_choice(chosen)
    say("reading")
    prepared = steps.transform(stack).in_memory()
    labels = prepared.y
    lesions_outside_brain(prepared)
    with _progress.shown([detector]):
        source = _train(detector, prepared, labels)
    if rank > 0:  # only the first process prints and writes
        return
    # Baselines are cheap, and their thresholds must be set on the same patients.
    baselines, left_out = intensity_baselines(stack.contrasts)
    for baseline in baselines.values():
        _train(baseline, prepared, labels)
    patients = sorted(set(stack.groups.tolist()))
    training = {
        "patients": patients,
        "seed": args.seed,
        "detector": args.detector,
        "preset": args.preset,
        "threshold": source,
        "baselines": baselines,
        "left_out": left_out,
    }
    save_model(out, steps, detector, training)
    print_threshold(detector, source)
    print(f"model:     {out}")


def _keep_checkpoints(detector: Any, args: argparse.Namespace) -> None:
    name = next((n for n in detector.get_params() if n.endswith("checkpoints")), None)
    if name is None:
        raise ValueError(f"{args.detector} is not trained in epochs; omit --checkpoints")
    folder = check_folder(args.checkpoints, args.data, "--checkpoints")
    detector.set_params(**{name: folder})


def _train(detector: Any, stack: Any, labels: Any) -> str:
    """Fit, set the threshold if there are anomalies, and describe it."""
    detector.fit(stack, labels)
    abnormal = None if labels is None else (labels == 1).any(axis=(1, 2))
    if abnormal is None or not abnormal.any():
        share = f"{detector.contamination:.0%} of the training pixels"
        return f"flags {share}; no anomalies were given"
    from skadm.model_selection import set_offset_by_f1

    set_offset_by_f1(detector, stack, labels, abnormal_only=True)
    return f"best F1 on the {abnormal.sum()} abnormal slices of the same patients"
