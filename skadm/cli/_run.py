"""``skadm run``: from a folder of scans to maps and a report, by the other commands."""

import argparse
import importlib.util
import json
import shlex
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from skadm.cli import _options
from skadm.cli._choice import BEST, ERASER, settle_size, unknown_preset
from skadm.cli._dicom import add_dicom
from skadm.cli._found import Found, find, print_found
from skadm.cli._output import check_folder, check_inner_folder, say, write_json
from skadm.cli._plan import (
    TRAINED,
    Step,
    command_line,
    make_plan,
    make_preparation,
    print_later,
    print_plan,
    require_preparation,
)

_TEXT = """\
From a folder of scans to anomaly maps and a report, in one go: prepare the scans if they
need it, train a detector on the slices that masks mark as normal, or take the model of the
package where there are too few of them, score all patients, and write pages to look at.

It asks nothing, and prints each step as the command that does the same. The same command
again resumes where it stopped, without repeating finished steps.
"""

_EPILOG = """\
examples:
  skadm run --data scans/ --out out/ --dry-run          what it would do, and how long
  skadm run --data scans/ --out out/
  skadm run --data scans/ --out out/ --prior FLAIR T2=0.5

files: prepared/, if the scans needed it; model.skadm, if one was trained; maps/ with an
anomaly map and a segmentation of each patient; report/index.html, and report/regions.csv
with the suspicious regions; run.json, how it was made

No accuracy is measured, for which patients would have to be left out of the training:
'skadm demo --data scans/ --preset best' does that.
"""

_DATA_HELP = f"folder of DICOM series, {_options.DATA_HELP}"
_OPTIONS = (
    *(
        "preset",
        "prior",
        "prior_sign",
        "prior_rule",
        "smooth_through",
        "contrasts",
        "epochs",
        "size",
    ),
    *("seed", "masks", "allow_empty_masks", "patients", "series", "pseudonyms"),
    *(*_options.SELECTION, *_options.MASKS),
)


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = _options.command(
        commands,
        "run",
        run,
        "from a folder of scans to a report, in one go",
        _TEXT,
        _EPILOG,
    )
    parser.add_argument("--data", required=True, metavar="PATH", help=_DATA_HELP)
    parser.add_argument(
        "--out", required=True, metavar="FOLDER", help="where everything goes"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print what was found and the plan, with estimated minutes; write nothing",
    )
    parser.add_argument(
        "--preset",
        default=BEST,
        help=f"of {ERASER}, if one is trained: best, quick (to see that it runs), cpu, "
        "paper, fine-tune, small-lesions or strokes (default: %(default)s)",
    )
    _options.add_prior(parser)
    _options.add_smooth_through(parser)
    _options.add_contrasts(parser)
    _options.add_epochs(parser)
    _options.add_size(parser)
    _options.add_seed(parser)
    _options.add_selection(parser)
    parser.add_argument(
        "--no-masks",
        dest="masks",
        action="store_false",
        help="leave masks unread: nothing is trained then",
    )
    _options.add_empty_masks(parser)
    add_dicom(parser)
    _options.add_device(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from skadm.report._libraries import require_libraries
    from skadm.training._device import resolve_device

    settle_size(args)
    out = _check_out(args)
    require_libraries()
    resolve_device(args.device)
    if args.preset not in (known := [BEST, *_presets()]):
        raise unknown_preset(args.preset, known)
    record = _Record.of(args)
    record.check(out)
    chosen = _options.selected(args)
    found = find(args, args.data, chosen)
    print_found(found)
    dicom = args.data if found.layout == "DICOM" else None
    if dicom and importlib.util.find_spec("highdicom") is None:
        say("results are not written as DICOM, which needs: pip install skadm[dicom]")
        dicom = None
    if found.raw:
        preparation = make_preparation(args, found, out)
        if args.dry_run:
            print_plan([preparation])
            print_later(args, found)
            return
        require_preparation(preparation)
        record.write(out, [preparation])
        _do(preparation)
        # Patients were chosen, and masks read, when they were prepared.
        chosen = {}
        found = find(args, str(out / "prepared"), chosen)
        print()
        print_found(found)
    model, steps = make_plan(args, found, chosen, out, dicom)
    record = replace(record, model=model)
    record.check(out)
    print_plan(steps)
    if args.dry_run:
        return
    record.write(out, steps)
    failures = []
    for step in steps:
        if step.finished:
            continue
        try:
            _do(step)
        except RuntimeError as error:
            if step.command == "fit":
                raise
            failures.append(str(error))  # of some patients; there are others to report on
    # Checkpoints of a training that is finished.
    shutil.rmtree(check_inner_folder(out, "checkpoints"), ignore_errors=True)
    print(f"\nReport: {out / 'report' / 'index.html'}")
    print(_caveat(args.preset, found, model))
    if failures:
        raise RuntimeError("; ".join(dict.fromkeys(failures)))


def _presets() -> list[str]:
    from skadm.presets import PRESETS

    return list(PRESETS[ERASER])


def _check_out(args: argparse.Namespace) -> Path:
    """Return --out, if nothing is in it but what an earlier run of this kind has left."""
    out = check_folder(args.out, args.data)
    data = Path(args.data).expanduser().resolve()
    if data.is_dir() and out.resolve().is_relative_to(data):
        raise ValueError(
            f"--out {out} lies in --data {args.data}, where maps would be taken for scans; "
            "choose a folder elsewhere"
        )
    if out.is_dir() and any(out.iterdir()) and not (out / "run.json").is_file():
        raise FileExistsError(
            f"{out} is not empty and was not written by 'skadm run' (it has no "
            "run.json); choose another --out"
        )
    return out


@dataclass(frozen=True)
class _Record:
    """How results were made, with which the same command must agree to go on."""

    data: str
    options: dict[str, Any]  # as they were given, those on which results depend
    model: str | None = None  # None before it is known

    @classmethod
    def of(cls, args: argparse.Namespace) -> "_Record":
        options = {name: getattr(args, name) for name in _OPTIONS}
        return cls(str(Path(args.data).expanduser().resolve()), options)

    def check(self, out: Path) -> None:
        """Refuse to go on with what was begun from other data, options or another model."""
        file = out / "run.json"
        if not file.is_file():
            return
        try:
            entries = json.loads(file.read_text(encoding="utf-8"))
            before = {name: entries[name] for name in ("data", "model")}
            before |= entries["options"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file} is not a record of 'skadm run'") from error
        now = {"data": self.data, "model": self.model, **self.options}
        if self.model is None or before["model"] is None:
            now["model"] = before["model"] = None
        for name, value in now.items():
            if before.get(name) != value:
                raise FileExistsError(
                    f"{out} was made with {name} {_text(before.get(name))}, and this is "
                    f"with {_text(value)}; choose another --out, or delete that folder"
                )

    def write(self, out: Path, steps: list[Step]) -> None:
        """Write it with the commands of the first run, unless all is written already."""
        from skadm._version import __version__

        file = out / "run.json"
        if file.is_file() and json.loads(file.read_text(encoding="utf-8"))["model"]:
            return
        out.mkdir(parents=True, exist_ok=True)
        commands = [command_line(step) for step in steps]
        entries = {**vars(self), "commands": commands, "skadm": __version__}
        write_json(file, entries)


def _text(value: Any) -> str:
    if value is None:
        return "not given"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _do(step: Step) -> None:
    """Run a command as if it had been typed."""
    print(f"\n$ {command_line(step)}", flush=True)
    parser = argparse.ArgumentParser(prog="skadm")
    step.add_parser(parser.add_subparsers())
    args = parser.parse_args([step.command, *step.words])
    args.command_line = ["skadm", step.command, *step.words]
    args.execute(args)


def _caveat(preset: str, found: Found, model: str) -> str:
    """Say how far the maps are to be trusted."""
    if model != TRAINED:
        return (
            "The model was not trained on these patients. The threshold was set on "
            "synthetic brains and is only a starting point."
        )
    # Without --contrasts, the demo expects all patients to have all contrasts.
    contrasts = ["--contrasts", *found.contrasts] if found.left_out else []
    quick = "The preset quick is only a test run; its maps are not meaningful. "
    return (quick if preset == "quick" else "") + (
        "The normal slices of patients with a mask were trained on, and their abnormal "
        "slices set the threshold: their maps say little about new patients. For an "
        "accuracy, on patients left out of the training: "
        + shlex.join(["skadm", "demo", "--data", found.data, *contrasts])
        + " --preset best --out FOLDER"
    )
