"""``skadm score``: anomaly maps of new patients."""

import argparse
from typing import Any

from skadm.cli import _options
from skadm.cli._model import load_model, read_for
from skadm.cli._output import check_folder, print_files, say
from skadm.cli._results import ANOMALY, SEGMENTATION, write_volumes

_TEXT = """\
Write an anomaly map of each patient, as a NIfTI file on the grid of the patient's own
images: higher = more abnormal, the lowest value outside the brain. No masks are needed.
"""

_EPILOG = """\
examples:
  skadm score --model model.skadm --data new/ --out maps/
  skadm score --model model.skadm --data new/ --out maps/ --binary --patients P07

files: <patient>_anomaly.nii.gz and, with --binary, <patient>_segmentation.nii.gz
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = _options.command(
        commands, "score", run, "write anomaly maps of patients", _TEXT, _EPILOG
    )
    parser.add_argument(
        "--model", required=True, metavar="FILE", help="what 'skadm fit' has saved"
    )
    parser.add_argument("--data", required=True, metavar="PATH", help=_options.DATA_HELP)
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where maps go")
    parser.add_argument(
        "--binary",
        action="store_true",
        help="also write segmentations: 1 where the model calls a pixel anomalous, at the "
        "resolution it works at",
    )
    _options.add_patients(parser)
    _options.add_device(parser)
    _options.add_force(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    out = check_folder(args.out)
    model = load_model(args.model, args.device)
    from skadm.data import SliceStack

    stack = read_for(model, args.data, patients=args.patients, labels=False)
    for volume in stack.volumes:
        for suffix in (ANOMALY, SEGMENTATION) if args.binary else (ANOMALY,):
            path = out / f"{volume.name}{suffix}.nii.gz"
            if path.exists() and not args.force:
                raise FileExistsError(f"{path} exists; pass --force to replace it")
    files = []
    # One volume at a time: memory does not grow with their number.
    for number, volume in enumerate(stack.volumes, start=1):
        say(f"scoring {volume.name} ({number} of {len(stack.volumes)})")
        prepared = model[:-1].transform(SliceStack.from_volumes([volume])).in_memory()
        scores = model[-1].score_samples(prepared)
        files += write_volumes(out, prepared, scores, model[-1], binary=args.binary)
    print(f"threshold: {-model[-1].offset_:.6g} (pixels above it are anomalies)")
    print_files(out, files)
