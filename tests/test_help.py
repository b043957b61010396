"""`--help` of every command and of every benchmark."""

import runpy
import sys
from pathlib import Path

import pytest

from skadm.cli import _parser, main

ROOT = Path(__file__).parents[1]


def commands():
    groups = (action.choices for action in _parser()._actions)
    return sorted(next(group for group in groups if isinstance(group, dict)))


def benchmarks():
    """Files that are run: by themselves, or as ``python -m benchmarks NAME``."""
    return [
        path
        for path in sorted((ROOT / "benchmarks").rglob("*.py"))
        if "__main__" not in path.name and "\ndef main(" in path.read_text("utf-8")
    ]


def test_there_are_commands_and_benchmarks():
    assert {"fit", "score", "evaluate", "report", "demo"} <= set(commands())
    assert len(benchmarks()) >= 20


@pytest.mark.parametrize("command", [None, *commands()])
def test_help_of_commands(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"] if command else ["--help"])
    assert ended.value.code == 0
    assert "usage: skadm" in capsys.readouterr().out


@pytest.mark.parametrize(
    "path", benchmarks(), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_help_of_benchmarks(path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    by_itself = '__name__ == "__main__"' in path.read_text("utf-8")
    arguments = [str(path)] if by_itself else ["benchmarks", path.stem]
    monkeypatch.setattr(sys, "argv", [*arguments, "--help"])
    monkeypatch.syspath_prepend(path.parent if by_itself else ROOT)
    run, target = (
        (runpy.run_path, str(path)) if by_itself else (runpy.run_module, "benchmarks")
    )
    with pytest.raises(SystemExit) as ended:
        run(target, run_name="__main__")
    assert ended.value.code in (None, 0)
    assert "usage:" in capsys.readouterr().out
