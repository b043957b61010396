"""What detectors there are: idea, strengths, presets and parameters to tune.

Trains nothing; the tables of the documentation are made of it.

    python -m benchmarks catalogue

Writes detectors.csv, presets.csv, tuning.csv and run.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from benchmarks.lib.options import read_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are no further options."""


def code(text: str) -> str:
    """Text as Markdown shows code."""
    return f"`{text}`"


def main(argv: Sequence[str] | None = None) -> None:
    """Write the tables."""
    options = read_options(__name__, argv)

    from benchmarks.lib.page import Page
    from skadm._catalogue import METHODS
    from skadm.presets import PRESETS

    page = Page(options, "Detectors", "Idea, strengths, presets and parameters to tune.")
    detectors = [
        {
            "detector": code(name),
            "idea": method.idea.rstrip(".")
            + ("" if method.paper == "none" else f" ({method.paper})"),
            "good at": method.good_at.rstrip("."),
        }
        for name, method in METHODS.items()
    ]
    page.table("detectors", detectors, "Detectors")
    tuning = [
        {
            "detector": code(name),
            "parameters to tune first": ", ".join(map(code, each.tune)),
        }
        for name, each in METHODS.items()
    ]
    page.table("tuning", tuning, "Parameters to tune first")
    presets = [
        {"detector": code(name), "presets": ", ".join(map(code, sorted(known)))}
        for name, known in PRESETS.items()
    ]
    page.table("presets", presets, "Presets")
    page.close({"name": "none"})
