"""Tables of the documentation: written by commands, and refused when stale."""

import importlib.util
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from sphinx.errors import ExtensionError

from benchmarks.experiments import tables as script
from benchmarks.lib import tables as lib
from benchmarks.lib.fingerprints import behaviour, behaviour_fingerprints
from benchmarks.lib.table_list import TABLES
from benchmarks.lib.tables import Table, code_of, compose, keep, kept_line, parse, problem

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PCA = ("skadm.detectors.PCADetector",)
ONE = Table("one", "compare --seeds 1", "test.csv", behind=PCA)
HEADER = {
    "command": "python -m benchmarks compare --seeds 1",
    "data": "0123456789ab",
    "seeds": "1",
    "version": "0.2.0",
    "date": "2026-11-28",
}
ROWS = "| method | AP |\n|---|---|\n| PCA | 0.5 |"


@pytest.fixture
def docs(tmp_path, monkeypatch):
    """A page that includes a table."""
    (tmp_path / "tables").mkdir()
    (tmp_path / "page.md").write_text("# Page\n\n```{include} tables/one.md\n```\n")
    monkeypatch.setattr(script, "tables", lambda: {"one": ONE})
    return tmp_path


@pytest.fixture
def extension(monkeypatch):
    """The extension of Sphinx, and a call of it for a folder of pages."""
    spec = importlib.util.spec_from_file_location("measured", DOCS / "_ext" / "measured.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "tables", lambda: {"one": ONE})
    return lambda folder: module.check(SimpleNamespace(srcdir=folder))


def write(docs, **changed):
    header = HEADER | {"code": code_of(PCA)} | changed
    path = docs / "tables" / "one.md"
    path.write_text(compose(header, ROWS))
    return path


# -- pages --------------------------------------------------------------------------------


def test_a_table_that_holds_is_built(docs, extension):
    path = write(docs)
    assert problem(path, {"one": ONE}) is None
    extension(docs)


def test_a_stale_table_fails_the_build_with_its_command(docs, extension):
    write(docs, code="of another day")
    with pytest.raises(ExtensionError) as refused:
        extension(docs)
    told = str(refused.value)
    assert "page.md: docs/tables/one.md is stale" in told
    assert "run: python -m benchmarks tables one" in told
    assert "--keep" in told


def test_a_table_that_is_kept_is_built_and_says_so(docs, extension):
    path = write(docs, code="of another day")
    path.write_text(keep(path.read_text(), "only the speed\nhas changed"))
    header, table = parse(path.read_text())
    assert header["kept"] == "only the speed has changed"
    line = (
        "*Measured with version 0.2.0. The detectors have changed since: only the speed "
        "has changed.*"
    )
    assert table.endswith(f"{ROWS}\n\n{line}\n")
    extension(docs)
    # Again, for another reason: the line is there once.
    path.write_text(keep(path.read_text(), "another"))
    assert path.read_text().count("Measured with") == 1
    extension(docs)


@pytest.mark.parametrize("key", lib.KEYS)
def test_a_header_must_be_complete(docs, extension, key):
    write(docs, **{key: ""})
    with pytest.raises(ExtensionError, match=f"does not say {key}"):
        extension(docs)


def test_a_reason_and_its_line_must_be_there(docs, extension):
    path = write(docs, kept="")
    with pytest.raises(ExtensionError, match="does not say why it is kept"):
        extension(docs)
    path.write_text(
        keep(path.read_text(), "x").replace(kept_line({**HEADER, "kept": "x"}), "")
    )
    with pytest.raises(ExtensionError, match="does not show that it is kept"):
        extension(docs)


def test_a_table_that_is_not_there_fails_the_build(docs, extension):
    with pytest.raises(ExtensionError, match=r"one.md is not there; run: python -m bench"):
        extension(docs)


def test_a_table_that_no_command_writes_fails_the_build(docs, extension, monkeypatch):
    path = write(docs)
    assert "is not among" in problem(path, {})


# -- code ---------------------------------------------------------------------------------

CODE = '''
"""Module."""
import warnings
class Detector:
    """Detector."""
    _good_at = "much"
    limit: float = 0.5
    """Docstring of an attribute."""
    def fit(self, X: int) -> "Detector":
        """Fit."""
        if X < 0:
            raise ValueError(f"X is {X}")
        self.limit_ = X
        warnings.warn("beware", stacklevel=2)
        return self
'''


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"""Module."""', '"""Another."""  # comment'),
        ('        """Fit."""\n', ""),
        ('"much"', '"little"'),
        ('f"X is {X}"', 'f"X is {X}; expected 0 or more"'),
        ('"beware"', '"look out"'),
        (": int", ""),
        ('-> "Detector"', ""),
        ("attribute.", "attribute, more."),
    ],
)
def test_wording_leaves_the_code_as_it_is(before, after):
    assert before in CODE
    assert behaviour(CODE) == behaviour(CODE.replace(before, after))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("0.5", "0.6"),
        ("X < 0", "X <= 0"),
        ("ValueError", "TypeError"),
        ("            raise", "            self.X = X\n            raise"),
        ("        self.limit_", "            self.limit_"),  # within the condition
        ("return self", "return None"),
    ],
)
def test_what_code_does_counts(before, after):
    assert before in CODE
    assert behaviour(CODE) != behaviour(CODE.replace(before, after))


def test_a_table_depends_on_the_modules_behind_its_detectors():
    pca = lib.modules_behind(importlib.import_module("skadm.detectors").PCADetector)
    assert {"skadm.detectors._pca", "skadm.base._learning"} <= pca
    assert "skadm.detectors._eraser" not in pca
    record = behaviour_fingerprints(pca)
    assert not any(name.startswith("skadm.data") for name in record)
    assert code_of(PCA, record) == code_of(PCA)
    changed = record | {"skadm.detectors._pca": "other"}
    assert code_of(PCA, changed) != code_of(PCA)
    # Modules that the detector does not need do not count.
    assert code_of(PCA, record | {"skadm.detectors._eraser": "other"}) == code_of(PCA)
    assert code_of(PCA, {}) != code_of(PCA)
    assert code_of(("skadm.detectors",)) != code_of(PCA)


# -- the command --------------------------------------------------------------------------


def write_results(folder, code, command="python -m benchmarks compare --seeds 1"):
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "command": f"{command} --out somewhere --cache elsewhere",
        "data": {"brats": {"fingerprint": "f" * 40}, "lgg": {"fingerprint": "e" * 40}},
        "configuration": {"seeds": 1},
        "versions": {"skadm": "0.2.0"},
        "date": "2026-11-28",
        "code": code,
        "tables": [
            {
                "file": "test.csv",
                "shown": [
                    {"method": "PCA", "ap": 0.12345, "auc": 0.9},
                    {"method": "ADM", "ap": 0.5, "auc": 0.8},
                ],
            }
        ],
    }
    (folder / "run.json").write_text(json.dumps(record))


@pytest.fixture
def present():
    pca = importlib.import_module("skadm.detectors").PCADetector
    return behaviour_fingerprints(lib.modules_behind(pca))


@pytest.fixture
def commands(monkeypatch, present):
    """Commands that were run, in place of running them."""
    done = []

    def run(parts, check):
        done.append(parts[3:])
        write_results(Path(parts[-1]), present)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(script.subprocess, "run", run)
    return done


def call(docs, *arguments):
    folders = ["--out", str(docs / "tables"), "--results", str(docs / "results")]
    return script.main([*arguments, *folders])


def test_stale_tables_are_written_by_their_commands(docs, commands):
    assert call(docs) == 0
    (parts,) = commands
    assert parts[:3] == ["compare", "--seeds", "1"]
    header, table = parse((docs / "tables" / "one.md").read_text())
    assert header == HEADER | {"data": f"{'f' * 12}, {'e' * 12}", "code": code_of(PCA)}
    assert [cell.strip() for cell in table.splitlines()[2].split("|")[1:-1]] == [
        "PCA",
        "0.123",
        "0.900",
    ]
    assert problem(docs / "tables" / "one.md", {"one": ONE}) is None
    # What holds is left, and results of the present code are taken again.
    call(docs)
    call(docs, "one")
    assert len(commands) == 1


def test_results_of_other_code_are_not_taken(docs, commands, present):
    call(docs)
    write_results(docs / "results" / "compare_--seeds_1", present | {PCA_MODULE: "other"})
    call(docs, "one")
    assert len(commands) == 2


PCA_MODULE = "skadm.detectors._pca"


def test_results_run_by_hand_say_their_code(docs, commands, present, monkeypatch):
    chosen = Table(
        "one", "compare", "test.csv", ("method", "ap"), {"method": ["ADM"]}, behind=PCA
    )
    monkeypatch.setattr(script, "tables", lambda: {"one": chosen})
    write_results(docs / "mine", present | {PCA_MODULE: "other"})
    call(docs, "one", "--from", str(docs / "mine"))
    assert not commands
    header, table = parse((docs / "tables" / "one.md").read_text())
    assert header["command"] == "python -m benchmarks compare --seeds 1"
    assert "PCA" not in table
    assert "AUC" not in table
    assert "is stale" in problem(docs / "tables" / "one.md", {"one": chosen})
    write(docs, code="of another day")
    call(docs, "one", "--from", str(docs / "mine"), "--keep", "only the speed")
    header, table = parse((docs / "tables" / "one.md").read_text())
    assert "ADM" in table
    assert header["kept"] == "only the speed"


def test_keep_writes_the_reason(docs):
    write(docs, code="of another day")
    assert call(docs, "one", "--keep", "only the speed") == 0
    assert problem(docs / "tables" / "one.md", {"one": ONE}) is None
    with pytest.raises(ValueError, match="--keep needs"):
        call(docs, "--keep", "why")


def test_list_says_how_tables_stand(docs, capsys):
    call(docs, "--list")
    assert "one: docs/tables/one.md is not there" in capsys.readouterr().out


def test_results_without_the_table_are_refused(docs, present):
    (docs / "mine").mkdir()
    with pytest.raises(ValueError, match=r"run.json is not there"):
        call(docs, "one", "--from", str(docs / "mine"))
    write_results(docs / "mine", present)
    other = Table("one", "compare", "none.csv", behind=PCA)
    with pytest.raises(ValueError, match=r"shows no none.csv"):
        script.write(other, docs / "mine", docs)


# -- the tables of this package -----------------------------------------------------------


def test_tables_are_named_once_and_their_commands_exist():
    from benchmarks.__main__ import find_scripts

    names = [table.name for table in TABLES]
    assert len(set(names)) == len(names)
    assert {table.command.split()[0] for table in TABLES} <= set(find_scripts())
    for behind in {table.behind for table in TABLES}:
        assert re.fullmatch("[0-9a-f]{12}", code_of(behind))


def test_no_table_of_the_pages_is_stale():
    assert lib.stale(DOCS, script.tables()) == []


def test_each_table_file_is_shown_by_a_page():
    pages = [page.read_text(encoding="utf-8") for page in DOCS.glob("*.md")]
    shown = {name for page in pages for name in lib.included(page)}
    assert {path.stem for path in (DOCS / "tables").glob("*.md")} == shown


@pytest.mark.parametrize("name", ["detectors", "tuning", "presets"])
def test_the_catalogue_in_the_docs_is_that_of_the_package(tmp_path, name):
    importlib.import_module("benchmarks.experiments.catalogue").main(
        ["--out", str(tmp_path / "results")]
    )
    path = script.write(script.tables()[name], tmp_path / "results", tmp_path)
    now = parse(path.read_text(encoding="utf-8"))[1]
    assert parse((DOCS / "tables" / path.name).read_text(encoding="utf-8"))[1] == now


def test_pages_are_read_with_their_tables(docs):
    write(docs)
    assert lib.with_tables(docs / "page.md") == f"# Page\n\n{ROWS}\n"
