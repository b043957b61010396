"""The command line of the benchmarks: a list of them, and quick help of each."""

import json
import subprocess
import sys
from importlib import import_module

import pandas as pd
import pytest

from benchmarks.__main__ import find_scripts, main

HEAVY = ("torch", "sklearn", "pandas", "scipy", "matplotlib", "skadm")
SCRIPTS = find_scripts()

# In one process of its own, where nothing else has imported anything.
HELP_OF_ALL = """
import contextlib, importlib, io, json, sys
helps = {}
for module in json.loads(sys.argv[1]):
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        importlib.import_module(module).main(["--help"])
    helps[module] = text.getvalue()
print(json.dumps({"helps": helps, "modules": list(sys.modules)}))
"""


def module_of(path):
    return f"benchmarks.{path.parent.name}.{path.stem}"


def test_the_list_has_a_line_on_each(capsys):
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(SCRIPTS) > 20
    for name, path in SCRIPTS.items():
        summary = import_module(module_of(path)).__doc__.partition("\n")[0]
        (line,) = [line for line in lines if line.split()[:1] == [name]]
        assert line.endswith(summary)


@pytest.mark.slow
def test_help_of_each_imports_nothing_heavy():
    modules = [module_of(path) for path in SCRIPTS.values()]
    done = subprocess.run(
        [sys.executable, "-c", HELP_OF_ALL, json.dumps(modules)],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    for module, text in found["helps"].items():
        assert text.startswith(f"usage: python -m benchmarks {module.split('.')[-1]}")
        assert "--out" in text
    assert not set(HEAVY) & set(found["modules"])


def test_an_unknown_name_is_refused_with_the_list(capsys):
    assert main(["nothing"]) == 2
    told = capsys.readouterr().err
    assert "no benchmark 'nothing'" in told
    assert "  compare " in told


def test_errors_name_the_benchmark(capsys):
    assert main(["compare", "--methods", "Nobody"]) == 1
    assert "compare: error: no methods ['Nobody']" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--size", "0"], ["--nonsense"]])
def test_wrong_options_are_refused(option):
    with pytest.raises(SystemExit) as refused:
        main(["ablation", *option])
    assert refused.value.code == 2


def test_quick_changes_defaults_only():
    from benchmarks.lib.options import read_options
    from benchmarks.speed import speed

    quick = read_options(speed.__name__, ["--quick", "--slices", "5"])
    assert (quick.size, quick.slices) == (speed.QUICK["size"], 5)
    assert quick.command == "python -m benchmarks speed --quick --slices 5"
    assert read_options(speed.__name__, []).size == 128


@pytest.mark.slow
def test_cache_of_some_volumes(tmp_path):
    assert main(["cache_growth", "--volumes", "3", "--out", str(tmp_path)]) == 0
    rows = pd.read_csv(tmp_path / "cache_growth.csv")
    assert rows["slices"].tolist() == [75]
    assert (rows["peak memory, MiB"] > 20).all()
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["command"].startswith("python -m benchmarks cache_growth --volumes 3")
