"""Tables of the documentation: files that a command wrote, and whether they still hold.

A table is a Markdown file that begins with a comment: the command, the fingerprint of the
data, the number of seeds, the version, the date, and the code, which is a digest of the
modules that the table depends on. A table is stale if that code has changed; wording does
not count. One that is kept all the same says why ("kept"), and shows a line about it.
"""

import importlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib

from benchmarks.lib.fingerprints import behaviour_fingerprints, modules_behind

KEYS = ("command", "data", "seeds", "version", "date", "code")
UNKNOWN = "unknown"  # of tables that were measured before there was a record
ALL_DETECTORS = (
    "skadm.detectors",
    "skadm.presets.make_detector",
    "skadm.evaluation.evaluate_split",
)
_HEADER = re.compile(r"<!--\n(.*?)\n-->\n+", re.DOTALL)
_INCLUDED = re.compile(r"^```\{include\} tables/(\S+)\.md$", re.MULTILINE)


@dataclass(frozen=True)
class Table:
    """A table of the documentation, and where it comes from."""

    name: str
    command: str  # after "python -m benchmarks"
    file: str  # CSV of the command's results
    columns: tuple[str, ...] = ()  # that are shown; by default all
    # Rows that are shown: for a column, the values; by default all.
    rows: Mapping[str, Sequence[str]] | None = None
    behind: tuple[str, ...] = ALL_DETECTORS  # packages, classes and functions


def parse(text: str) -> tuple[dict[str, str], str]:
    """Header of a table file, empty if there is none, and the table."""
    found = _HEADER.match(text)
    if found is None:
        return {}, text
    lines = (line.partition(": ") for line in found[1].splitlines())
    return {key: value for key, _, value in lines}, text[found.end() :]


def compose(header: Mapping[str, str], table: str) -> str:
    """Text of a table file, with a line on the page for a table that is kept."""
    comment = "\n".join(f"{key}: {value}" for key, value in header.items())
    text = f"<!--\n{comment}\n-->\n\n{table.strip()}\n"
    return f"{text}\n{kept_line(header)}\n" if "kept" in header else text


def kept_line(header: Mapping[str, str]) -> str:
    """What a page says below a table that was measured with other detectors."""
    return (
        f"*Measured with version {header['version']}. The detectors have changed since: "
        f"{header.get('kept')}.*"
    )


def keep(text: str, reason: str) -> str:
    """The text of a table file that is kept for a reason, of one line."""
    header, table = parse(text)
    if "kept" in header:
        table = table.removesuffix(f"{kept_line(header)}\n")
    return compose(header | {"kept": " ".join(reason.split())}, table)


def code_of(behind: Iterable[str], recorded: Mapping[str, str] | None = None) -> str:
    """Digest of the code that a table depends on; of the present code without a record.

    `behind` are names of packages (all that they export), classes and functions.
    `recorded` are the digests of modules of the time when a command ran.
    """
    objects: list[Any] = []
    for name in behind:
        try:
            module = importlib.import_module(name)
            objects += [getattr(module, each) for each in module.__all__]
        except ModuleNotFoundError:
            package, _, attribute = name.rpartition(".")
            objects.append(getattr(importlib.import_module(package), attribute))
    modules = modules_behind(*(each for each in objects if hasattr(each, "__module__")))
    present = behaviour_fingerprints(modules)
    if recorded is not None:
        present = {name: recorded.get(name, UNKNOWN) for name in present}
    return str(joblib.hash(present))[:12]


def problem(path: Path, tables: Mapping[str, Table]) -> str | None:
    """What is wrong with a table file, with the command that mends it; None if it holds."""
    name = path.stem
    again = f"run: python -m benchmarks tables {name}"
    if not path.exists():
        return f"docs/tables/{name}.md is not there; {again}"
    if name not in tables:
        return f"docs/tables/{name}.md is not among the tables of benchmarks tables"
    text = path.read_text(encoding="utf-8")
    header, table = parse(text)
    if missing := [key for key in KEYS if not header.get(key)]:
        return f"docs/tables/{name}.md does not say {', '.join(missing)}; {again}"
    if "kept" in header:
        if not header["kept"]:
            return f"docs/tables/{name}.md does not say why it is kept; {again} --keep WHY"
        if not table.endswith(f"{kept_line(header)}\n"):
            return (
                f"docs/tables/{name}.md does not show that it is kept; {again} --keep WHY"
            )
        return None
    if header["code"] != code_of(tables[name].behind):
        return (
            f"docs/tables/{name}.md is stale: the detectors have changed since; {again}, "
            'or keep it with --keep "why"'
        )
    return None


def included(page: str) -> list[str]:
    """Names of the tables that a page includes."""
    return _INCLUDED.findall(page)


def stale(docs: Path, tables: Mapping[str, Table]) -> list[str]:
    """Problems of all tables that the pages of a folder include."""
    names = {
        name: page.name
        for page in sorted(docs.glob("*.md"))
        for name in included(page.read_text(encoding="utf-8"))
    }
    found = {name: problem(docs / "tables" / f"{name}.md", tables) for name in names}
    return [f"{names[name]}: {text}" for name, text in found.items() if text]


def with_tables(page: Path) -> str:
    """Text of a page with the tables that it includes."""

    def table(found: re.Match) -> str:
        path = page.parent / "tables" / f"{found[1]}.md"
        return parse(path.read_text(encoding="utf-8"))[1].strip()

    text = page.read_text(encoding="utf-8")
    return re.sub(_INCLUDED.pattern + r"\n```$", table, text, flags=re.MULTILINE)
