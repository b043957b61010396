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
    """Add a command with what all commands have."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=text,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--debug", action="store_true", help="show where in the program an error arose"
    )
    # Not "run": that is --run, of BIDS.
    parser.set_defaults(execute=run)
    return parser


def add_model(parser: Any, more: str = "") -> None:
    """Add --model."""
    parser.add_argument(
        "--model", required=True, metavar="FILE", help=f"what 'skadm fit' has saved{more}"
    )


def add_application(parser: Any, results: str) -> None:
    """Add --model, --data and --out, the folder for what `results` names."""
    add_model(parser, ", or 'synthetic', which needs no training (see below)")
    parser.add_argument("--data", required=True, metavar="PATH", help=DATA_HELP)
    parser.add_argument(
        "--out", required=True, metavar="FOLDER", help=f"where the {results} go"
    )


def add_pretrained(parser: Any) -> None:
    """Add what a model of the package, --model synthetic, is told."""
    group = parser.add_argument_group(
        "with --model synthetic",
        "a detector that was trained on synthetic brains alone, for any of the contrasts\n"
        "T1, T1ce, T2, PD, FLAIR, DWI and ADC. It flags 1 % of the pixels of synthetic\n"
        "normal brains; of a real one more or less",
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
        help="contrasts to use, e.g. FLAIR T2 (default: all there are)",
    )


def add_prior(parser: Any) -> None:
    """Add --prior and --prior-sign."""
    parser.add_argument(
        "--prior",
        nargs="+",
        metavar="NAME[=WEIGHT]",
        help="contrasts that lesions are known to change, e.g. FLAIR T2=0.5, on which they "
        "are bright (with a negative weight: dark); or 'learned': from the slices with a "
        "lesion, wherever in them it is. 'skadm list' shows which detectors take a prior "
        "(default: nothing is known)",
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
        help="smooth maps through the slices of a patient by a Gaussian of this standard "
        "deviation, in slices: 5 for slices of 1 mm; thick slices gain nothing",
    )


def add_force(parser: Any) -> None:
    """Add --force."""
    parser.add_argument(
        "--force", action="store_true", help="replace results that exist already"
    )


def add_device(parser: Any) -> None:
    """Add --device."""
    parser.add_argument(
        "--device",
        default="auto",
        help="where the networks run: cpu, cuda:0, ...; auto takes a GPU if there is one "
        "(default: %(default)s)",
    )


def add_selection(parser: Any, *, masks: bool = True, patients: bool = True) -> None:
    """Add what says which files are read, and how masks are."""
    group = parser.add_argument_group("which files are read")
    if patients:
        group.add_argument(
            "--patients", nargs="+", metavar="ID", help="read only these patients"
        )
    group.add_argument(
        "--sessions", nargs="+", metavar="ID", help="read only these sessions"
    )
    group.add_argument(
        "--space",
        metavar="LABEL",
        help="BIDS: read the images of this space; 'native' for those without one "
        "(default: native, where there are any)",
    )
    group.add_argument(
        "--run", metavar="LABEL", help="BIDS: read this run, where there are several"
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
            help="for masks of probabilities: values above it count (default: such masks "
            "are refused)",
        )


SELECTION = ("sessions", "space", "run", "patient_pattern")
MASKS = ("lesion_labels", "mask_threshold")


def selected(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Options of `add_selection` as the readers take them; those named, or all."""
    chosen = names or ("patients", *SELECTION, *MASKS)  # those that the command has
    return {name: getattr(args, name) for name in chosen if hasattr(args, name)}


def add_missing(parser: Any, done: str) -> None:
    """Add --allow-missing, of a command of which `done` says what it does to patients."""
    parser.add_argument(
        "--allow-missing",
        action="store_true",
        help=f"also {done} patients who lack a contrast (no file, or an empty entry of "
        "the table); ADMDetector supplies one from the others",
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
        help="draw nothing; matplotlib is not needed then",
    )


def add_training(parser: Any) -> None:
    """Add what says how to train."""
    parser.add_argument(
        "--detector",
        metavar="NAME",
        help="any detector that 'skadm list' names, or ADM+: ADMDetector with departures "
        "from the paper (default: ADMDetector; with --preset best, EraserDetector)",
    )
    parser.add_argument(
        "--preset",
        help="named set of parameters: best (what found most on real tumours: detector, "
        "prior and smoothing as the data allow), quick (to see that it runs; scores not "
        "worth reading), cpu (two cores, no GPU), paper (as published; wants a GPU; of "
        "ADMDetector paper-brats, paper-isles; with --init, fine-tune). Default: cpu, or "
        "fine-tune with --init",
    )
    parser.add_argument(
        "--init",
        metavar="NAME",
        help="start from weights that were trained on synthetic brains: 'synthetic', of "
        "EraserDetector (default: from random ones)",
    )
    add_epochs(parser)
    add_prior(parser)
    add_smooth_through(parser)
    parser.add_argument(
        "--ensemble",
        type=several,
        metavar="N",
        help="train N times with other seeds and take the mean of the maps; "
        "'skadm score --uncertainty' writes how far they disagree",
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
        help="epochs of each training stage, instead of the preset's",
    )


def add_size(parser: Any) -> None:
    """Add --size."""
    parser.add_argument(
        "--size",
        type=positive,
        default=128,
        metavar="PIXELS",
        help="height and width that slices are resized to (default: %(default)s)",
    )


def add_seed(parser: Any) -> None:
    """Add --seed."""
    parser.add_argument(
        "--seed",
        type=seed,
        default=0,
        metavar="N",
        help="of all that is random; the same seed gives the same result "
        "(default: %(default)s)",
    )


def positive(text: str) -> int:
    """Read a whole number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def several(text: str) -> int:
    """Read a whole number above 1."""
    if (number := positive(text)) < 2:
        raise argparse.ArgumentTypeError("1 is no ensemble; expected 2 or more")
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
