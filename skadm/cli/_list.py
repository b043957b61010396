"""``skadm list``: the detectors there are."""

import argparse
import textwrap
from typing import Any

from skadm.cli import _options

_TEXT = """\
List the detectors: the idea of each, the paper it is from, what to tune first, what it is
good at, with which tiers of supervision it can be trained (by --prior), and its presets.
Any of them goes after --detector.
"""

_EPILOG = """\
examples:
  skadm list
  skadm fit --detector GaussianMixtureDetector --data scans/ --out model.skadm
"""

_LABEL_WIDTH = 13


def add_parser(commands: Any) -> None:
    """Add the command."""
    _options.command(commands, "list", run, "the detectors there are", _TEXT, _EPILOG)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from skadm._catalogue import METHODS
    from skadm.presets import PRESETS

    for name, method in METHODS.items():
        print(name)
        for label, text in (
            ("idea", method.idea),
            ("paper", method.paper),
            ("tune", ", ".join(method.tune)),
            ("good at", method.good_at),
            ("supervision", ", ".join(method.supervision)),
            ("presets", ", ".join(PRESETS[name])),
        ):
            lines = textwrap.wrap(text, 92 - 2 - _LABEL_WIDTH)
            indent = " " * (2 + _LABEL_WIDTH)
            print(f"  {label:<{_LABEL_WIDTH}}" + f"\n{indent}".join(lines))
        print()
