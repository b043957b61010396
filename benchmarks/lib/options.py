"""Command lines of the benchmarks: options, and messages.

No slow imports, so that --help is quick.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.lib.budget import BUDGET_EPOCHS, BUDGET_SLICES


class _Formatter(
    argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter
):
    """Keep the line breaks of the docstring, and show defaults if there are any."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False):
            return action.help
        return super()._get_help_string(action)


def read_options(module: str, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the options of a benchmark, defined by its `add_arguments`.

    `module` is ``__name__`` of the benchmark. Its docstring is the description. `QUICK`,
    if it exists, holds the defaults with --quick. The result also has `out`, the folder of
    the results, and `command`, which repeats the run.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    script = sys.modules[module]
    name = module.rpartition(".")[2]
    parser = argparse.ArgumentParser(
        f"python -m benchmarks {name}",
        description=script.__doc__,
        formatter_class=_Formatter,
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out", name), help="folder of the results"
    )
    script.add_arguments(parser)
    if quick := getattr(script, "QUICK", None):
        parser.add_argument(
            "--quick",
            action="store_true",
            help="small test run: "
            + ", ".join(f"{name} {value}" for name, value in quick.items()),
        )
        # Set before parsing, so that options on the command line take precedence.
        if parser.parse_known_args(argv)[0].quick:
            parser.set_defaults(**quick)
    options = parser.parse_args(argv)
    if getattr(options, "cache", options.out) is None:
        options.cache = options.out / "cache"
    options.command = f"{parser.prog} {shlex.join(argv)}".strip()
    return options


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --data and --size, and the size of the phantom."""
    parser.add_argument(
        "--data",
        default="phantom",
        help="'phantom', or a folder of scans (BraTS or ISLES layout, or a table)",
    )
    parser.add_argument("--size", type=positive, default=128, help="pixels along a side")
    parser.add_argument(
        "--patients", type=positive, default=12, help="patients of the phantom"
    )
    parser.add_argument(
        "--slices", type=positive, default=24, help="slices of a phantom patient"
    )


def add_experiment_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the paper's experiments: data, seeds, preset, budget, cache."""
    add_data_arguments(parser)
    parser.add_argument("--seeds", type=positive, default=3, help="runs of each method")
    parser.add_argument("--preset", default="cpu", help="preset of the methods")
    parser.add_argument(
        "--budget",
        action="store_true",
        help=f"less work: {BUDGET_EPOCHS:g} of the preset's epochs, and at most about "
        f"{BUDGET_SLICES} slices",
    )
    parser.add_argument(
        "--augment-test",
        action="store_true",
        help="also test on augmented copies of the test slices, as in the paper",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        help="folder of finished runs, which experiments can share "
        "(default: cache in the folder of the results)",
    )


def add_methods(
    parser: argparse.ArgumentParser, default: Sequence[str] | None = None
) -> None:
    """Add --methods; None means all."""
    parser.add_argument(
        "--methods",
        nargs="+",
        metavar="NAME",
        default=default,
        help="class names without 'Detector'; default: all",
    )


def positive(text: str) -> int:
    """Parse an integer of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return value


def say(message: str) -> None:
    """Print a message that is not a result to stderr."""
    print(message, file=sys.stderr, flush=True)
