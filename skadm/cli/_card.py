"""``skadm card``: print the card of a model without loading it."""

import argparse
from collections.abc import Iterator
from typing import Any

from skadm.cli import _options
from skadm.cli._model import check_model

_TEXT = """\
Print the model card: intended use, contrasts in order, fingerprint and intensities of the
training slices, parameters, thresholds, metrics if known, and versions. The model itself
is not loaded.
"""

_EPILOG = """\
examples:
  skadm card --model model.skadm
  skadm card --model model.skadm --json
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = _options.command(
        commands,
        "card",
        run,
        "print description and training data of a model",
        _TEXT,
        _EPILOG,
    )
    _options.add_model(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    import json

    from skadm.io import card

    entries = card(check_model(args.model))
    if args.json:
        print(json.dumps(entries, indent=2))  # escapes all but ASCII
    else:
        print("\n".join(_lines(entries)))


def _lines(value: Any, indent: str = "") -> Iterator[str]:
    """Yield one line per entry, with nested entries below."""
    pairs = value.items() if isinstance(value, dict) else ((None, item) for item in value)
    for key, item in pairs:
        label = "-" if key is None else f"{_printable(key)}:"
        if isinstance(item, list) and not any(isinstance(i, dict | list) for i in item):
            item = ", ".join(map(str, item))
        if isinstance(item, dict | list):
            yield indent + label
            yield from _lines(item, indent + "  ")
        else:
            shown = "none" if item is None else str(item)
            yield f"{indent}{label} {_printable(shown)}"


def _printable(text: str) -> str:
    """Return text from an untrusted file without terminal control characters."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
