"""``skadm list``: list the detectors."""

import argparse
import textwrap
from typing import Any

from skadm.cli import _options

_TEXT = """\
List the detectors for --detector: idea, paper, parameters to tune, strengths, tiers of
supervision (set by --prior) and presets.
"""

_EPILOG = """\
examples:
  skadm list
  skadm fit --detector GaussianMixtureDetector --data scans/ --out model.skadm
"""

_LABEL_WIDTH = 13


def add_parser(commands: Any) -> None:
    """Add the command."""
    _options.command(commands, "list", run, "list the detectors", _TEXT, _EPILOG)


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
            lines = textwrap.wrap(text, 92 - 2 - _LABEL_WIDTH, break_on_hyphens=False)
            indent = " " * (2 + _LABEL_WIDTH)
            print(f"  {label:<{_LABEL_WIDTH}}" + f"\n{indent}".join(lines))
        print()
