"""What one experiment shows: tables and figures as files, and an index of them."""

import argparse
import csv
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.lib.options import say, write_run

from skadm.evaluation import format_table

Row = Mapping[str, Any]

_STARTED = time.perf_counter()  # of the script


class Page:
    """Folder of an experiment's results.

    Every number goes into a CSV file; what is shown of it (means, rounded) is printed, and
    kept in run.json for the report, beside the configuration.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    title, text : str
        What was done, for someone who does not know the script.
    """

    def __init__(self, folder: Path, title: str, text: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
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
        print(f"\n{caption}:\n{format_table(shown)}", flush=True)
        self.tables.append(
            {
                "file": f"{name}.csv",
                "caption": caption,
                "shown": [dict(row) for row in shown],
            }
        )

    def rows(self, name: str, rows: Sequence[Row]) -> None:
        """Write rows to a CSV file, and show nothing."""
        write_csv(self.folder / f"{name}.csv", columns_of(rows), rows)

    def figure(self, name: str, figure: Any, caption: str) -> None:
        """Save a figure of matplotlib."""
        figure.savefig(self.folder / f"{name}.png", dpi=130)
        self.figures.append({"file": f"{name}.png", "caption": caption})

    def close(
        self, data: Mapping[str, Any], options: argparse.Namespace, **more: Any
    ) -> None:
        """Write run.json: configuration, seeds, versions, data, tables and figures."""
        write_run(
            self.folder,
            vars(options) | more,
            title=self.title,
            text=self.text,
            data=dict(data),
            seconds=time.perf_counter() - _STARTED,
            tables=self.tables,
            figures=self.figures,
        )
        say(f"written to {self.folder}")


def columns_of(rows: Sequence[Row]) -> list[str]:
    """All keys, in the order of their first appearance."""
    return list(dict.fromkeys(key for row in rows for key in row))


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Write rows; what a row does not have stays empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
