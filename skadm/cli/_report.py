"""``skadm report``: HTML pages of a cohort and of each patient."""

import argparse
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from skadm._files import write_text
from skadm.cli import _options
from skadm.cli._data import warn_of_trained_patients
from skadm.cli._model import model_and_stack, read_for
from skadm.cli._output import (
    check_inner_folder,
    check_new_folder,
    print_files,
    print_supplied,
    raise_failures,
    say,
    write_csv,
)

_TEXT = """\
Write an HTML page for each patient, with a slice viewer and a list of suspicious regions,
and one for the cohort, with the most suspicious patients first. Each page is one file
that works offline. Masks are optional; the pages then show them and how much of them is
detected.
"""

_EPILOG = """\
examples:
  skadm report --model model.skadm --data new/ --out report/
  skadm report --model model.skadm --data new/ --out report/ --normal controls/
  skadm report --model model.skadm --data prepared/ --out report/ --dicom dicom/
  skadm report --model synthetic --data new/ --out report/ --prior FLAIR T2=0.5

files: index.html, patients/<patient>.html, and regions.csv, which lists the suspicious
regions of all patients: volume in ml, position in mm (right, anterior, superior);
with --dicom, dicom/<patient>_regions.dcm and _anomaly.dcm, which overlay the series that
the others were registered to. They name the patient as the pages do

A region is flagged around one peak of the anomaly. Regions smaller than --min-region are
counted and not listed. The first 20 of each patient are listed, by p-value if there is one,
else by strength.

--normal adds p-values to regions: the probability of such a strong candidate lesion in a
normal slice of a new patient. Patients used for training, calibration or in the report
are excluded. With masks, only slices without anomaly are used; without masks, all.

A patient that cannot be scored does not stop the others; the page of the cohort and the
last line name it, and the exit code is 1.
"""


_COLUMNS = (
    *("name", "rank", "volume_ml", "side", "height", "front", "depth_mm"),
    *("right_mm", "front_mm", "up_mm", "strength", "peak", "overlap", "p_value"),
)


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = _options.command(commands, "report", run, "write HTML reports", _TEXT, _EPILOG)
    _options.add_application(parser, "pages")
    parser.add_argument(
        "--normal",
        metavar="PATH",
        help="patients with normal slices for p-values, in the format of --data",
    )
    parser.add_argument(
        "--min-region",
        type=float,
        default=0.1,
        metavar="ML",
        help="ml of the smallest region that is listed (default: %(default)s, a sphere of "
        "6 mm; one of 3 mm has 0.014)",
    )
    _options.add_pretrained(parser)
    _options.add_selection(parser)
    parser.add_argument(
        "--no-masks",
        dest="masks",
        action="store_false",
        help="do not read masks; pages do not show them",
    )
    parser.add_argument(
        "--dicom",
        metavar="FOLDER",
        help="also write the regions as DICOM SEG and the scores as a Parametric Map, over "
        "the series in this folder, of which 'skadm prepare' has made --data",
    )
    _options.add_missing(parser, "report on")
    _options.add_device(parser)
    _options.add_force(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    out = check_new_folder(args.out, args.data, args.force)
    from skadm.report import cohort_page, describe_model, examine, patient_page
    from skadm.report._configuration import Setting
    from skadm.report._examine import check_min_region
    from skadm.report._libraries import require_libraries

    require_libraries()
    check_min_region(args.min_region)
    # Healthy patients are reported too.
    model, stack = model_and_stack(
        args,
        **_options.selected(args),
        labels=args.masks,
        allow_empty_masks=True,
        allow_missing=args.allow_missing,
    )
    pages = check_inner_folder(out, "patients")
    # Names were checked when read: none points elsewhere.
    places = {volume.name: pages / f"{volume.name}.html" for volume in stack.volumes}
    warn_of_trained_patients(stack, model.training_, "reported")
    originals = {}
    if args.dicom is not None:
        from skadm.raw._dicom_results import read_originals

        originals = read_originals(
            Path(args.dicom).expanduser(),
            {volume.name: volume.source.header.path for volume in stack.volumes},
        )
        check_inner_folder(out, "dicom")
    candidates = note = None
    if args.normal is not None:  # scores all normal slices: after all that may be refused
        # The threshold was set on calibration patients: their false positives are weaker.
        others = {
            *model.training_.get("patients", ()),
            *getattr(model[-1], "calibration_groups_", ()),
            *stack.groups.tolist(),
        }
        candidates = _candidates(model, args.normal, others)
        note = _p_value_note(candidates.n_groups)
    settings = [
        Setting("Report", "command", shlex.join(args.command_line)),
        *describe_model(model),
    ]
    summaries, regions, failures = [], [], dict(stack.record.left_out)
    objects: list[Path] = []
    # One volume at a time, for constant memory.
    for number, volume in enumerate(stack.volumes, start=1):
        say(f"scoring {volume.name} ({number} of {len(stack.volumes)})")
        try:
            report = examine(volume, model, candidates, min_region_ml=args.min_region)
        except (ValueError, OSError) as error:  # report the other patients
            failures[volume.name] = " ".join(str(error).split())
            continue
        _write(places[volume.name], patient_page(report, settings, note))
        if originals:
            objects += _write_dicom(originals[volume.name], report, out / "dicom")
        summaries.append(report.summary)
        regions += [_row(volume.name, region) for region in report.regions]
    if summaries:
        index, table = out / "index.html", out / "regions.csv"
        write_csv(table, regions, _COLUMNS)
        _write(index, cohort_page(summaries, settings, note, failures))
        written = [index, table, *(places[summary.name] for summary in summaries)]
        print_files(out, [*written, *objects])
    for summary in summaries:
        if summary.supplied:
            print_supplied(summary.name, summary.supplied)
    raise_failures(failures, stack)


def _write_dicom(original: Any, report: Any, folder: Path) -> list[Path]:
    """Write what was found of a patient over the series of the scanner."""
    from skadm.raw._dicom_results import write_dicom

    labels = [
        f"Region {region.rank}: {region.volume_ml:.2g} ml, {region.side}"
        for region in report.regions
    ]
    return write_dicom(original, report.maps, labels, folder)


def _candidates(model: Any, data: str, others: Iterable[str]) -> Any:
    """Fit candidate lesions to normal slices, volume by volume."""
    import numpy as np

    from skadm._pipelines import looks_through_slices
    from skadm.conformal import CandidateLesions
    from skadm.data import SliceStack
    from skadm.data._patients import patient_key

    known = {patient_key(name) for name in others}
    volumes = [
        volume
        for volume in read_for(model, data, allow_empty_masks=True).volumes
        if patient_key(volume.patient) not in known
    ]
    if not volumes:
        raise ValueError(
            f"--normal {data} holds only patients used for training, calibration or in "
            "the report; expected other patients"
        )
    decisions, patients = [], []
    for number, volume in enumerate(volumes, start=1):
        say(f"scoring normal slices of {volume.name} ({number} of {len(volumes)})")
        prepared = model[:-1].transform(SliceStack.from_volumes([volume])).in_memory()
        labels = prepared.y
        shown = np.ones(len(prepared), bool)
        if labels is not None:
            shown = (labels >= 0).any(axis=(1, 2)) & ~(labels == 1).any(axis=(1, 2))
        if not shown.any():
            continue
        if not looks_through_slices(model[-1]):
            prepared, shown = prepared[shown], shown[shown]
        decisions.append(model[-1].decision_function(prepared)[shown])
        patients.append(prepared.groups[shown])
    if not decisions:
        raise ValueError(
            f"--normal {data} has no normal slice; expected slices without anomaly"
        )
    return CandidateLesions(np.concatenate(decisions), np.concatenate(patients))


def _p_value_note(n_patients: int) -> str:
    """Return the explanation of the p-values."""
    return (
        "chance that a normal slice of a new patient has a candidate lesion as strong as "
        "the strongest in the region, or stronger. From normal slices of "
        f"{n_patients} patient{'' if n_patients == 1 else 's'}; the minimum possible "
        f"value is 1 / {n_patients + 1}. Not corrected for multiple testing: among many "
        "slices and regions, some values are small by chance."
    )


def _row(name: str, region: Any) -> dict[str, Any]:
    """Return a region as a row of the table."""
    place = dict(zip(("right_mm", "front_mm", "up_mm"), region.centroid_mm))
    known = {"name": name, **place}
    return {
        column: known[column] if column in known else getattr(region, column)
        for column in _COLUMNS
    }


def _write(path: Path, page: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, page)
