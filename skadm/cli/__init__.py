"""The command ``skadm``: run, prepare, fit, card, score, evaluate, report, demo, list.

Heavy imports are deferred to the commands, so that ``skadm --help`` is fast. Results go
to stdout; progress, notes and errors go to stderr.
"""

import argparse
import io
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Any

from skadm._version import __version__
from skadm.cli._card import add_parser as add_card
from skadm.cli._demo import add_parser as add_demo
from skadm.cli._evaluate import add_parser as add_evaluate
from skadm.cli._fit import add_parser as add_fit
from skadm.cli._list import add_parser as add_list
from skadm.cli._model import check_names
from skadm.cli._output import say
from skadm.cli._prepare import add_parser as add_prepare
from skadm.cli._report import add_parser as add_report
from skadm.cli._run import add_parser as add_run
from skadm.cli._score import add_parser as add_score

_DESCRIPTION = """\
Find anomalies, such as tumours and strokes, in multicontrast MR images of the brain,
without labels: a detector learns from normal slices, and scores every pixel of new ones.
"""

_EPILOG = """\
examples:
  skadm demo                                        the whole protocol, no data needed
  skadm run --data scans/ --out out/                from scans to a report
  skadm prepare --data raw/ --out scans/            preprocess raw scans
  skadm fit --data scans/ --out model.skadm         train on a folder of patients
  skadm score --model model.skadm --data new/ --out maps/
  skadm evaluate --model model.skadm --data labelled/ --out results/ --baselines
  skadm report --model model.skadm --data new/ --out report/
  skadm list                                        list all detectors

data:
  A folder in the layout of BraTS (<any>_flair.nii.gz, _t1, _t1ce, _t2, _seg), of another
  public collection or of BIDS, or a .csv table with a column 'patient', one column of
  paths per contrast, and optionally 'mask', 'brain_mask' and 'session'. Images are
  skull-stripped (exactly 0 outside the brain, or with a mask of the brain beside them) and
  the contrasts of a patient are on one grid: 'skadm prepare' does this for raw scans.

exit code: 0 success, 1 error in data or options, 2 wrong usage.
'skadm COMMAND --help' explains each command.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, default=None
        Arguments. None: the arguments of the process.

    Returns
    -------
    code : int
        0 on success, 1 after an error in data or options, 130 when interrupted, 141 when
        the reader of the output has closed the pipe, as ``head`` does.

    Raises
    ------
    SystemExit
        With code 2 for wrong usage, with 0 for ``--help`` and ``--version``.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # File names may contain bytes that are not valid text.
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            return _run_command(list(sys.argv[1:] if argv is None else argv))
        finally:
            # Flush here: errors during interpreter shutdown cannot be caught.
            print(end="", flush=True)
    except BrokenPipeError:
        _let_go_of_pipes()
        return 128 + 13  # like a program killed by SIGPIPE


def _run_command(arguments: list[str]) -> int:
    args = _parser().parse_args(arguments)
    args.command_line = ["skadm", *arguments]
    said: set[str] = set()

    def show(message: Any, category: Any, *_: Any, **__: Any) -> None:
        # Once, although commands with several steps read the same files again.
        if (text := " ".join(str(message).split())) not in said:
            said.add(text)
            say(f"skadm: warning: {text}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        try:
            check_names(args)
            args.execute(args)
        except KeyboardInterrupt:
            say("skadm: interrupted")
            return 130
        except BrokenPipeError:
            raise
        except (ValueError, OSError, ImportError, RuntimeError, MemoryError) as error:
            if args.debug:
                traceback.print_exc()
            message = " ".join(str(error).split()) or type(error).__name__
            say(f"skadm: error: {message}")
            return 1
    return 0


def _let_go_of_pipes() -> None:
    """Discard pending output silently."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="skadm",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"skadm {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    adders = (
        add_demo,
        add_run,
        add_prepare,
        add_fit,
        add_card,
        add_score,
        add_evaluate,
        add_report,
        add_list,
    )
    for add in adders:
        add(commands)
    return parser
