"""Tables of the documentation, written by the commands that they show.

Each table of `TABLES` is a file of docs/tables that a page includes. Its command is run,
or its results are taken from --results if the same command has written them there with
detectors that have not changed since. The build of the pages fails if a table is stale.

    python -m benchmarks tables
    python -m benchmarks tables diseases_brats diseases_lgg
    python -m benchmarks tables beyond_brats --keep "only the speed has changed"
    python -m benchmarks tables --list

Without names, the tables that are missing or stale and are not kept. --keep writes into the
header of tables why they stay although detectors have changed; the page then says that they
have. --from takes the results of a command run by hand from its folder; with
--keep, the tables that it writes are kept.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.lib.options import read_options, say

if TYPE_CHECKING:
    from benchmarks.lib.tables import Table

DOCS = Path(__file__).parents[2] / "docs"
DATA = "../shared/data"  # in commands: the folder with copies of the public collections


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="by default the stale ones"
    )
    parser.add_argument("--keep", metavar="WHY", help="keep the tables, for this reason")
    parser.add_argument(
        "--list", action="store_true", help="only list all, with their state"
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("out", "tables"),
        help="folder of the results of commands",
    )
    parser.add_argument(
        "--from", dest="taken_from", type=Path, help="results of the command, run by hand"
    )
    parser.set_defaults(out=DOCS / "tables")


def tables() -> dict[str, Table]:
    """All tables by name."""
    from benchmarks.lib.table_list import TABLES

    return {table.name: table for table in TABLES}


def record_of(folder: Path) -> dict[str, Any]:
    """run.json of a command; a folder without one is a ValueError."""
    path = folder / "run.json"
    if not path.exists():
        raise ValueError(f"{path} is not there: the command has not written its record")
    return json.loads(path.read_text(encoding="utf-8"))


def command_in(record: Mapping[str, Any]) -> str:
    """The command of a record, without the folders of results and cache."""
    parts = shlex.split(record["command"])
    for option in ("--out", "--cache"):
        if option in parts:
            place = parts.index(option)
            del parts[place : place + 2]
    return shlex.join(parts).removeprefix("python -m benchmarks ")


def results_of(table: Table, options: argparse.Namespace) -> Path:
    """Folder of the results of a table's command, which is run if need be."""
    from benchmarks.lib.tables import code_of

    if options.taken_from is not None:
        return options.taken_from
    folder = options.results / table.command.replace("/", "_").replace(" ", "_")
    if (folder / "run.json").exists():
        record = record_of(folder)
        code = code_of(table.behind, record.get("code", {}))
        if command_in(record) == table.command and code == code_of(table.behind):
            say(f"{table.name}: results of {folder}")
            return folder
    parts = [*shlex.split(table.command), "--out", str(folder)]
    say(f"{table.name}: python -m benchmarks {shlex.join(parts)}")
    done = subprocess.run([sys.executable, "-m", "benchmarks", *parts], check=False)
    if done.returncode:
        raise RuntimeError(f"the command of {table.name} failed ({done.returncode})")
    return folder


def chosen_rows(table: Table, folder: Path, record: Mapping[str, Any]) -> list[dict]:
    """Rows and columns of a table, as its command showed them."""
    shown = [each["shown"] for each in record["tables"] if each["file"] == table.file]
    if not shown:
        raise ValueError(f"{table.name}: {folder} shows no {table.file}")
    rows = shown[0]
    for column, values in (table.rows or {}).items():
        rows = [row for row in rows if row.get(column) in values]
    columns = table.columns or list(dict.fromkeys(key for row in rows for key in row))
    rows = [{key: row.get(key) for key in columns} for row in rows]
    if not rows:
        raise ValueError(f"{table.name}: no rows of {folder / table.file} are left")
    return rows


def fingerprints(data: Any) -> list[str]:
    """All fingerprints in the description of the data of a run."""
    if not isinstance(data, dict):
        return []
    own = [data["fingerprint"][:12]] if "fingerprint" in data else []
    return own + [each for value in data.values() for each in fingerprints(value)]


def write(table: Table, folder: Path, out: Path) -> Path:
    """Write the file of a table from the results of its command."""
    from benchmarks.lib.tables import UNKNOWN, code_of, compose
    from skadm.evaluation import format_table

    record = record_of(folder)
    rows = chosen_rows(table, folder, record)
    header = {
        "command": f"python -m benchmarks {command_in(record)}",
        "data": ", ".join(fingerprints(record["data"])) or "made by the command",
        "seeds": str(record["configuration"].get("seeds", 1)),
        "version": record["versions"]["skadm"],
        "date": record.get("date", UNKNOWN),
        "code": code_of(table.behind, record.get("code", {})),
    }
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{table.name}.md"
    path.write_text(compose(header, format_table(rows, markdown=True)), encoding="utf-8")
    return path


def main(argv: Sequence[str] | None = None) -> int:
    """Write the tables."""
    options = read_options(__name__, argv)

    from benchmarks.lib.methods import choose
    from benchmarks.lib.tables import keep, parse, problem

    known = tables()
    files = {name: options.out / f"{name}.md" for name in known}
    names = choose(options.names or None, known)
    if options.list:
        for name in names:
            print(f"{name}: {problem(files[name], known) or 'holds'}")
            print(f"    python -m benchmarks {known[name].command}")
        return 0
    kept = options.keep
    if kept is not None and (not options.names or not kept.strip()):
        raise ValueError('--keep needs the names of tables, and a reason: NAME --keep "…"')
    if kept is None or options.taken_from is not None:
        if not options.names:
            names = [name for name in names if problem(files[name], known)]
        for name in names:
            say(str(write(known[name], results_of(known[name], options), options.out)))
    if kept is not None:
        for name in names:
            text = files[name].read_text(encoding="utf-8")
            if not parse(text)[0]:
                raise ValueError(f"{files[name]} has no header; write it first")
            files[name].write_text(keep(text, kept), encoding="utf-8")
    return 0
