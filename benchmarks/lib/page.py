"""What a benchmark shows: tables and figures as files, and a record of them."""

import argparse
import datetime
import json
import platform
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

import pandas as pd

from benchmarks.lib.fingerprints import behaviour_fingerprints, loaded_modules
from benchmarks.lib.options import say
from skadm.evaluation import format_table

Row = Mapping[str, Any]

_STARTED = time.perf_counter()  # of the script


class Page:
    """Folder of a benchmark's results, made if it is not there.

    Every number goes into a CSV file; what is shown of it (means, rounded) is printed in
    Markdown, and kept in run.json for the report, beside the configuration. Title and text
    say what was done to someone who does not know the script.
    """

    def __init__(self, options: argparse.Namespace, title: str, text: str) -> None:
        options.out.mkdir(parents=True, exist_ok=True)
        self.options, self.folder = options, options.out
        self.title, self.text = title, text
        self.tables: list[dict[str, Any]] = []
        self.figures: list[dict[str, Any]] = []

    def table(
        self,
        name: str,
        rows: Iterable[Row],
        caption: str,
        shown: Iterable[Row] | None = None,
    ) -> None:
        """Write every row to a CSV file, and show them, or others instead."""
        rows = list(rows)
        self.rows(name, rows)
        shown = rows if shown is None else list(shown)
        print(f"\n{caption}:\n\n{format_table(shown, markdown=True)}", flush=True)
        self.tables.append({"file": f"{name}.csv", "caption": caption, "shown": shown})

    def rows(self, name: str, rows: Iterable[Row]) -> None:
        """Write rows to a CSV file; what a row does not have stays empty."""
        # Without a common type, a seed beside an empty cell stays an integer.
        table = pd.DataFrame(list(rows), dtype=object)
        table.to_csv(self.folder / f"{name}.csv", index=False)

    def figure(self, name: str, figure: Any, caption: str) -> None:
        """Save a figure of matplotlib."""
        figure.savefig(self.folder / f"{name}.png", dpi=130)
        self.figures.append({"file": f"{name}.png", "caption": caption})

    def close(self, data: Row | None = None, **more: Any) -> None:
        """Write run.json: command, configuration, versions, code, data, tables, figures.

        `data` are as `Split.describe` tells them, by default their name. More keywords go
        to the configuration.
        """
        configuration = vars(self.options) | more
        record = {
            "command": configuration.pop("command"),
            "title": self.title,
            "text": self.text,
            "data": data or {"name": configuration.get("data")},
            "seconds": time.perf_counter() - _STARTED,
            "tables": self.tables,
            "figures": self.figures,
            "configuration": configuration,
            "versions": {
                name: version(name) for name in ("skadm", "torch", "scikit-learn", "numpy")
            },
            "machine": platform.machine(),
            "date": datetime.date.today().isoformat(),
            "code": behaviour_fingerprints(loaded_modules()),
        }
        text = json.dumps(record, indent=2, default=str)
        (self.folder / "run.json").write_text(text + "\n", encoding="utf-8")
        say(f"written to {self.folder}")
