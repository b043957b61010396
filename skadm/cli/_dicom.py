"""What commands that take DICOM share: its options, what was found, and converting it."""

import argparse
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from skadm.cli import _options
from skadm.cli._output import say


def add_dicom(parser: Any) -> None:
    """Add the options of DICOM."""
    group = parser.add_argument_group("of DICOM")
    group.add_argument(
        "--series",
        nargs="+",
        metavar="NAME=SERIES",
        help="which series is a contrast, where headers do not settle it, by its number, "
        "UID or description, such as T1=5 'T1ce=t1 mprage post'; T1=none leaves T1 out",
    )
    group.add_argument(
        "--pseudonyms",
        metavar="TABLE",
        help="a .csv table with two columns below a header, the PatientID and the name to "
        "replace it by (default: numbers, and anonymous files keep their PatientID)",
    )


def is_dicom(args: argparse.Namespace, data: str) -> bool:
    """Whether a folder holds DICOM series, and no image files of another kind.

    If not, the options of DICOM are refused.
    """
    from skadm.data._dicom_files import holds_dicom
    from skadm.data._folders import image_files

    place = Path(data).expanduser()
    if holds_dicom(place):
        if not (images := image_files(place)):
            return True
        say(
            f"skadm: warning: the DICOM files in {data} are left unread, since there are "
            f"image files beside them, such as {images[0]}"
        )
    for name in ("series", "pseudonyms"):
        if data == args.data and getattr(args, name) is not None:
            raise ValueError(f"--{name} is of DICOM, which is not read in {data}")
    return False


def find_dicom(args: argparse.Namespace) -> Any:
    """Find the studies that were chosen in a folder of DICOM series."""
    from skadm.data._readers import of_sessions
    from skadm.data._studies import choose_patients
    from skadm.raw._dicom_studies import find_dicom_studies

    others = [name for name in ("space", "run", "patient_pattern") if getattr(args, name)]
    if others:
        option = others[0].replace("_", "-")
        raise ValueError(
            f"--{option} has no meaning for DICOM, whose tags say what is what"
        )
    table = None if args.pseudonyms is None else Path(args.pseudonyms).expanduser()
    folder = find_dicom_studies(Path(args.data).expanduser(), _choices(args.series), table)
    collection = folder.collection
    if args.sessions is not None:
        collection = of_sessions(collection, args.sessions)
    return folder.choose(choose_patients(collection.studies, args.patients))


def _choices(words: list[str] | None) -> dict[str, list[str]]:
    from skadm.raw._dicom_rules import CONTRASTS

    choices: dict[str, list[str]] = {}
    for word in words or ():
        name, _, series = word.partition("=")
        if name not in CONTRASTS or not series:
            raise ValueError(
                f"--series {word!r}: expected a contrast ({', '.join(CONTRASTS)}), =, and "
                "a series, such as T1=5"
            )
        choices.setdefault(name, []).append(series)
    return choices


def print_dicom(folder: Any) -> None:
    """Print which series of each study are taken, which are not, and why."""
    for identifier, label in folder.labels.items():
        if label != f"sub-{identifier}":
            print(f"PatientID {identifier} is called {label}")
    for one in folder.studies:
        print(f"{one.study.name}:")
        for contrast, (series, evidence) in one.chosen.items():
            print(f"  {contrast + ':':<9} {series.label}: {evidence}")
        for series, reason in one.left_out:
            print(f"  left out: {series.label}: {reason}")
        if one.study.problem:
            print(f"  refused:  {one.study.problem.removeprefix(one.study.name + ': ')}")
    for number, what in (
        (folder.n_others, "are no DICOM files, and were left unread"),
        (folder.n_unreadable, "begin as DICOM files do, but cannot be read"),
    ):
        if number:
            print(f"{number} files {what}")
    print(end="", flush=True)


@contextmanager
def raw_studies(args: argparse.Namespace, out: Path) -> Iterator[list[Any]]:
    """The studies of --data; those of DICOM are converted, and lie in `out` for a while."""
    from skadm.data import find_studies
    from skadm.data._studies import choose_patients

    if not is_dicom(args, args.data):
        studies = find_studies(args.data, **_options.selected(args, *_options.SELECTION))
        yield choose_patients(studies, args.patients)
        return
    if out.resolve().is_relative_to(Path(args.data).expanduser().resolve()):
        raise ValueError(
            f"--out {out} lies in --data {args.data}; choose a folder elsewhere"
        )
    folder = find_dicom(args)
    print_dicom(folder)
    # Hidden, so that no reader finds it. An earlier run may have been killed.
    place = out / ".skadm-dicom.unfinished"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    try:
        yield [one.convert(place) for one in folder.studies]
    finally:
        shutil.rmtree(place)
