"""``skadm evaluate``: evaluate a model on patients with masks."""

import argparse
from typing import Any

from skadm.cli import _options, _results
from skadm.cli._data import (
    lesions_outside_brain,
    print_data,
    warn_of_trained_patients,
)
from skadm.cli._model import load_model, read_for, title
from skadm.cli._output import check_figures, check_new_folder, print_files, say

_TEXT = """\
Score patients with masks and compute metrics over brain pixels, pooled and per patient:
ROC AUC, average precision, and precision, recall and F1 at the model's threshold. Do not
use training patients.
"""

_EPILOG = """\
examples:
  skadm evaluate --model model.skadm --data labelled/ --out results/ --baselines

files: metrics.json, metrics.csv, per_patient.csv, and the figures roc.png,
precision_recall.png and montage.png

--baselines adds plain and smoothed FLAIR and FLAIR + T2 intensity. Their thresholds, like
the model's, were set on the training patients by 'skadm fit' and saved in the model.
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = _options.command(
        commands, "evaluate", run, "evaluate a model on patients with masks", _TEXT, _EPILOG
    )
    _options.add_application(parser, "tables and figures")
    parser.add_argument(
        "--baselines", action="store_true", help="also evaluate intensity baselines"
    )
    _options.add_selection(parser)
    _options.add_empty_masks(parser)
    _options.add_figures(parser)
    _options.add_device(parser)
    _options.add_force(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    out = check_new_folder(args.out, args.data, args.force)
    check_figures(args.figures)
    model = load_model(args.model, args.device)
    training = model.training_
    if args.baselines and "baselines" not in training:
        raise ValueError(
            f"{args.model} has no baselines with thresholds from the training patients; "
            "train the model with 'skadm fit', or omit --baselines"
        )
    stack = read_for(
        model,
        args.data,
        allow_empty_masks=args.allow_empty_masks,
        **_options.selected(args),
    )
    if not stack.volumes[0].has_labels:
        raise ValueError(f"{args.data} has no masks; expected masks to evaluate")
    warn_of_trained_patients(stack, training, "evaluated")
    from skadm.evaluation import evaluate, verdict

    print_data(args.data, stack)
    say("reading")
    prepared = model[:-1].transform(stack).in_memory()
    labels = prepared.y
    outside = lesions_outside_brain(prepared)
    if not (labels == 1).any():
        raise ValueError(
            f"the masks of {args.data} are empty; expected anomalies to evaluate"
        )
    detectors, left_out = {title(model[-1]): model[-1]}, {}
    if args.baselines:
        detectors |= training["baselines"]
        left_out = training["left_out"]
    say("scoring")
    evaluation = evaluate(detectors, prepared, labels, seed=training.get("seed"))
    files = _results.write_tables(out, evaluation, outside)
    if args.figures:
        files += _results.write_figures(out, prepared, labels, evaluation.maps)
    print(f"thresholds: {training.get('threshold', 'as they were in the model')}")
    _results.print_tables(evaluation, left_out)
    if len(detectors) > 1:
        print(f"\n{verdict(evaluation.rows, evaluation.patient_rows)}")
    print()
    print_files(out, files)
