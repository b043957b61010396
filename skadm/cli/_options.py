"""Options that several commands share."""

import argparse
from fractions import Fraction
from typing import Any

DATA_HELP = (
    "folder of patients in the layout of a public collection or of BIDS, or a .csv table "
    "of files (see skadm --help)"
)


def command(
    commands: Any, name: str, run: Any, summary: str, text: str, epilog: str
) -> Any:
    """Add a command with the common options."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=text,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of errors")
    # Not "run", which is the BIDS option --run.
    parser.set_defaults(execute=run)
    return parser


def add_model(parser: Any) -> None:
    """Add --model."""
    parser.add_argument(
        "--model", required=True, metavar="FILE", help="model saved by 'skadm fit'"
    )


def add_application(parser: Any, results: str) -> None:
    """Add --model, --data and --out, the folder for `results`."""
    add_model(parser)
    parser.add_argument("--data", required=True, metavar="PATH", help=DATA_HELP)
    parser.add_argument(
        "--out", required=True, metavar="FOLDER", help=f"output folder for {results}"
    )


def add_pretrained(parser: Any) -> None:
    """Add the options of pretrained models, --model synthetic."""
    group = parser.add_argument_group(
        "with --model synthetic",
        "instead of a file: a detector trained on synthetic brains only, for any "
        "of\nthe contrasts T1, T1ce, T2, PD, FLAIR, DWI and ADC. It flags 1 % of the "
        "pixels\nof synthetic normal brains; of a real one more or less. For lesions of a "
        "few\nmillimetres: --model synthetic-small-lesions with --prior; it flags 3 %",
    )
    add_prior(group)
    add_smooth_through(group)
    add_contrasts(group)


def add_contrasts(parser: Any) -> None:
    """Add --contrasts."""
    parser.add_argument(
        "--contrasts",
        nargs="+",
        metavar="NAME",
        help="contrasts to use, e.g. FLAIR T2 (default: all)",
    )


def add_prior(parser: Any) -> None:
    """Add --prior, --prior-sign and --prior-rule."""
    parser.add_argument(
        "--prior",
        nargs="+",
        metavar="NAME[=WEIGHT]",
        help="contrasts that lesions change, e.g. FLAIR T2=0.5, on which they are "
        "bright (with a negative weight: dark); or 'learned', from slice labels "
        "of the masks. 'skadm list' shows which detectors support a prior "
        "(default: none)",
    )
    parser.add_argument(
        "--prior-rule",
        choices=("sum", "all"),
        help="'all': lesions change every contrast of --prior, as acute strokes do in "
        "--prior DWI ADC=-1, while artefacts change one of them (default: sum)",
    )
    parser.add_argument(
        "--prior-sign",
        choices=("known", "unknown"),
        help="'unknown': lesions may change the contrasts of --prior in either direction "
        "(default: known)",
    )


def add_smooth_through(parser: Any) -> None:
    """Add --smooth-through."""
    parser.add_argument(
        "--smooth-through",
        type=slices,
        metavar="SIGMA",
        help="smooth maps through the slices of a patient by a Gaussian of this "
        "standard deviation, in slices: 5 for slices of 1 mm, 1 for small lesions; not "
        "useful for thick slices",
    )


def add_force(parser: Any) -> None:
    """Add --force."""
    parser.add_argument("--force", action="store_true", help="overwrite existing results")


def add_device(parser: Any) -> None:
    """Add --device."""
    parser.add_argument(
        "--device",
        default="auto",
        help="device of the networks: cpu, cuda:0, ...; auto uses a GPU if available "
        "(default: %(default)s)",
    )


def add_selection(parser: Any, *, masks: bool = True) -> None:
    """Add the options that select files and mask values."""
    group = parser.add_argument_group("selection of files")
    group.add_argument(
        "--patients", nargs="+", metavar="ID", help="read only these patients"
    )
    group.add_argument(
        "--sessions", nargs="+", metavar="ID", help="read only these sessions"
    )
    group.add_argument(
        "--space",
        metavar="LABEL",
        help="BIDS: read the images of this space; 'native' for images without one "
        "(default: native, if there are any)",
    )
    group.add_argument(
        "--run", metavar="LABEL", help="BIDS: read this run if there are several"
    )
    group.add_argument(
        "--patient-pattern",
        metavar="REGEX",
        help="regular expression whose first group is the patient's name in the path of a "
        "scan's folder, such as '(P[0-9]+)_', so that several scans count as one patient",
    )
    if masks:
        group.add_argument(
            "--lesion-labels",
            nargs="+",
            type=positive,
            metavar="N",
            help="labels of a mask that count as lesion (default: all but 0)",
        )
        group.add_argument(
            "--mask-threshold",
            type=float,
            metavar="P",
            help="for probability masks: threshold for lesion (default: probability "
            "masks are refused)",
        )


SELECTION = ("sessions", "space", "run", "patient_pattern")
MASKS = ("lesion_labels", "mask_threshold")


def selected(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return options of `add_selection` for the readers: those named, or all."""
    chosen = names or ("patients", *SELECTION, *MASKS)  # if the command has them
    return {name: getattr(args, name) for name in chosen if hasattr(args, name)}


def add_missing(parser: Any, done: str) -> None:
    """Add --allow-missing; `done` is what the command does with patients."""
    parser.add_argument(
        "--allow-missing",
        action="store_true",
        help=f"also {done} patients with a missing contrast (no file, or an empty "
        "table entry); ADMDetector supplies it from the others",
    )


def add_empty_masks(parser: Any) -> None:
    """Add --allow-empty-masks."""
    parser.add_argument(
        "--allow-empty-masks",
        action="store_true",
        help="accept patients whose mask holds no anomaly (healthy controls)",
    )


def add_figures(parser: Any) -> None:
    """Add --no-figures."""
    parser.add_argument(
        "--no-figures",
        dest="figures",
        action="store_false",
        help="do not draw figures; matplotlib is then not needed",
    )


def add_training(parser: Any) -> None:
    """Add the training options."""
    parser.add_argument(
        "--detector",
        metavar="NAME",
        help="name of a detector, see 'skadm list', or ADM+, which is ADMDetector with "
        "departures from the paper (default: ADMDetector; with --preset best, "
        "EraserDetector)",
    )
    parser.add_argument(
        "--preset",
        help="set of parameters: best (best results on real tumours; detector, prior "
        "and smoothing depend on the data), quick (test run; scores are not "
        "meaningful), cpu (two cores, no GPU), paper (as published; needs a GPU; "
        "paper-brats or paper-isles for ADMDetector), fine-tune (with --init), "
        "small-lesions (EraserDetector; with --prior, at full resolution), strokes "
        "(EraserDetector; needs DWI and ADC), self-trained and strokes-self-trained "
        "(EraserDetector; need slices with an anomaly). "
        "Default: cpu, or fine-tune with --init",
    )
    parser.add_argument(
        "--init",
        metavar="NAME",
        help="initial weights: 'synthetic' for EraserDetector pretrained on synthetic "
        "brains (default: random)",
    )
    add_epochs(parser)
    add_prior(parser)
    add_smooth_through(parser)
    parser.add_argument(
        "--ensemble",
        type=several,
        metavar="N",
        help="train N times with different seeds and average the maps; 'skadm score "
        "--uncertainty' writes their standard deviation",
    )
    add_contrasts(parser)
    add_size(parser)
    add_seed(parser)


def add_epochs(parser: Any) -> None:
    """Add --epochs."""
    parser.add_argument(
        "--epochs",
        type=positive,
        metavar="N",
        help="epochs of each training stage; overrides the preset",
    )


def add_size(parser: Any) -> None:
    """Add --size."""
    parser.add_argument(
        "--size",
        type=positive,
        metavar="PIXELS",
        help="height and width of the resized slices (default: 128; with --preset "
        "small-lesions 240)",
    )


def add_seed(parser: Any) -> None:
    """Add --seed."""
    parser.add_argument(
        "--seed",
        type=seed,
        default=0,
        metavar="N",
        help="random seed; the same seed gives the same result (default: %(default)s)",
    )


def positive(text: str) -> int:
    """Read a whole number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def several(text: str) -> int:
    """Read a whole number above 1."""
    if (number := positive(text)) < 2:
        raise argparse.ArgumentTypeError("1 is too few for an ensemble; expected 2 or more")
    return number


def slices(text: str) -> float:
    """Read a number of slices, not a whole one."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0, up to 100")
    return value


def seed(text: str) -> int:
    """Read a seed."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number below 2**32")
    return int(text)


def fraction(text: str) -> float:
    """Read a number between 0 and 1, written 0.25 or 1/4."""
    try:
        value = float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        value = -1.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 1 (0.25 or 1/4)")
    return value
