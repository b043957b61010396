"""``skadm score``: anomaly maps of new patients."""

import argparse
from typing import Any

from skadm.cli import _options
from skadm.cli._model import model_and_stack
from skadm.cli._output import (
    check_folder,
    print_files,
    print_supplied,
    print_threshold,
    raise_failures,
    say,
)

_TEXT = """\
Write an anomaly map of each patient, as a NIfTI file on the grid of the patient's own
images: higher = more abnormal. Outside the brain it is the lowest value of the training.
No masks are needed.
"""

_EPILOG = """\
examples:
  skadm score --model model.skadm --data new/ --out maps/
  skadm score --model model.skadm --data new/ --out maps/ --binary --patients P07
  skadm score --model model.skadm --data archive/ --out maps/ --jobs 8 --skip-existing
  skadm score --model synthetic --data new/ --out maps/ --prior FLAIR T2=0.5

files: <patient>_anomaly.nii.gz; with --binary <patient>_segmentation.nii.gz; with
--uncertainty, of a model of 'skadm fit --ensemble', <patient>_uncertainty.nii.gz; of a
patient who lacks a contrast (--allow-missing), <patient>_supplied.json, which names it;
of a patient with a warning, <patient>_warnings.json. Data with the names of BIDS give maps
that have them, with sidecars: sub-01_desc-anomaly_statmap.nii.gz, _desc-anomaly_mask and
_desc-uncertainty_statmap

A patient that cannot be scored does not stop the others; it is named at the end, and the
exit code is 1.
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = _options.command(
        commands, "score", run, "write anomaly maps of patients", _TEXT, _EPILOG
    )
    _options.add_application(parser, "maps")
    parser.add_argument(
        "--binary",
        action="store_true",
        help="also write segmentations: 1 where the model calls a pixel anomalous, at the "
        "resolution it works at",
    )
    parser.add_argument(
        "--uncertainty",
        action="store_true",
        help="also write how far the members of an ensemble disagree: the standard "
        "deviation of their scores; takes as long as scoring once more",
    )
    parser.add_argument(
        "--jobs",
        type=_options.positive,
        default=1,
        metavar="N",
        help="patients at a time, each in a process of its own (default: %(default)s)",
    )
    _options.add_pretrained(parser)
    _options.add_selection(parser, masks=False)
    _options.add_missing(parser, "score")
    _options.add_device(parser)
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument(
        "--force",
        dest="existing",
        action="store_const",
        const="replace",
        default="raise",
        help="replace maps that exist already",
    )
    existing.add_argument(
        "--skip-existing",
        dest="existing",
        action="store_const",
        const="skip",
        help="keep maps that exist already, and make those that are missing",
    )


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    out = check_folder(args.out, args.data)
    from skadm.cohort import UNCERTAINTY, score_cohort

    kinds = ["anomaly"]
    if args.binary:
        kinds.append("segmentation")
    if args.uncertainty:
        kinds.append(UNCERTAINTY)
    model, stack = model_and_stack(
        args,
        **_options.selected(args),
        labels=False,
        allow_missing=args.allow_missing,
    )
    try:
        report = score_cohort(
            model,
            stack,
            out,
            kinds=kinds,
            existing=args.existing,
            n_jobs=args.jobs,
            on_start=lambda name, number, total: say(
                f"scoring {name} ({number} of {total})"
            ),
        )
    except FileExistsError as error:
        raise FileExistsError(
            f"{error}; pass --force to replace it, or --skip-existing to keep it"
        ) from error
    print_threshold(model[-1], model.training_.get("threshold", "unknown"))
    print_files(out, report.files)
    for name, contrasts in report.supplied.items():
        print_supplied(name, contrasts)
    if report.skipped:
        print(f"left as they were: {', '.join(report.skipped)}")
    raise_failures(report.failures | stack.record.left_out, stack)
