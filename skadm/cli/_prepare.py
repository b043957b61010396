"""``skadm prepare``: from raw scans to what the other commands take."""

import argparse
from pathlib import Path
from typing import Any

from skadm.cli import _options
from skadm.cli._dicom import add_dicom, raw_studies
from skadm.cli._output import check_folder, say

_TEXT = """\
Prepare raw scans: bias field (N4), brain extraction (HD-BET), rigid co-registration of all
contrasts to one of them, and cubic voxels. DICOM series are converted by dcm2niix first.
Needs 'pip install skadm[raw]'.
"""

_EPILOG = """\
examples:
  skadm prepare --data bids/ --out prepared/
  skadm prepare --data scans.csv --out prepared/ --reference T1 --jobs 4
  skadm prepare --data dicom/ --out prepared/ --series T1=5 --pseudonyms table.csv
  skadm prepare --data bids/ --out prepared/ --brain-masks masks/
  skadm fit --data prepared/ --out model.skadm

files: a BIDS derivative, which the other commands read. For each patient sub-<label>/anat
with the images, brain and lesion masks, xfm with the transforms (ITK), figures with the
picture to check the result by, and a .json of what was done. Names keep letters and digits.

The same command resumes where it stopped. Patients that failed are named, and the
exit code is then 1.
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = _options.command(
        commands, "prepare", run, "make raw scans ready for the others", _TEXT, _EPILOG
    )
    parser.add_argument(
        "--data",
        required=True,
        metavar="PATH",
        help="raw scans: a folder of DICOM series of any nesting, or one in the layout of "
        "BIDS, BraTS or ISLES, or a .csv table; the contrasts of a patient may lie on "
        "different grids",
    )
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where results go")
    parser.add_argument(
        "--reference",
        default="FLAIR",
        metavar="NAME",
        help="contrast that the others are registered to (default: %(default)s)",
    )
    parser.add_argument(
        "--spacing",
        type=float,
        default=1.0,
        metavar="MM",
        help="side of a voxel (default: %(default)s)",
    )
    parser.add_argument(
        "--brain-masks",
        metavar="FOLDER",
        help="masks of your own instead of HD-BET: <patient>.nii.gz on the grid of the "
        "reference contrast",
    )
    parser.add_argument(
        "--jobs",
        type=_options.positive,
        default=1,
        metavar="N",
        help="patients at a time (default: %(default)s)",
    )
    _options.add_selection(parser)
    add_dicom(parser)
    _options.add_device(parser)
    _options.add_force(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    out = check_folder(args.out, args.data)
    from skadm.data._masks import MaskValues
    from skadm.raw import HDBET, GivenMasks, Preparation

    if args.brain_masks is None:
        from skadm.training._device import resolve_device

        brain: Any = HDBET(str(resolve_device(args.device)))
    else:
        brain = GivenMasks(args.brain_masks, args.mask_threshold)
    values = MaskValues(args.lesion_labels, args.mask_threshold)
    preparation = Preparation(args.reference, args.spacing, brain, values)
    with raw_studies(args, out) as studies:
        _prepare(args, studies, out, preparation)


def _prepare(args: argparse.Namespace, studies: list[Any], out: Path, how: Any) -> None:
    """Prepare studies, and say what became of them."""
    from skadm.raw import prepare

    outcomes = []
    say(f"preparing {len(studies)} studies, minutes each unless done before")
    for outcome in prepare(studies, out, how, n_jobs=args.jobs, force=args.force):
        outcomes.append(outcome)
        seconds = sum(outcome.record.get("seconds", {}).values())
        text = {
            "done": f"{seconds:.0f} s",
            "kept": "was done before",
            "failed": f"failed: {outcome.error}",
        }[outcome.status]
        say(f"{outcome.name} ({len(outcomes)} of {len(studies)}): {text}")
        lost = outcome.record.get("brain_not_scanned_ml", 0)
        if lost > 0.01 * outcome.record.get("brain_ml", 0):
            say(
                f"  {lost:.0f} ml of the brain are missing on a contrast, and were set to 0"
            )
        cut = outcome.record.get("lesion_outside_brain_ml", 0)
        if cut > 0:
            say(
                f"  {cut:g} of {outcome.record['lesion_ml']:g} ml of lesion lie outside "
                "the brain that was found; look at the picture"
            )
    failed = [outcome.name for outcome in outcomes if outcome.status == "failed"]
    print(f"Written to {out}: {len(outcomes) - len(failed)} of {len(outcomes)} patients")
    for outcome in outcomes:
        for file in outcome.record.get("outputs", ()):
            if file.endswith(".png"):
                print(f"  {(outcome.folder / file).relative_to(out)}")
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(outcomes)} failed: {', '.join(failed)}")
