"""Catalogue, presets and ``skadm list``: every detector is there; what is said holds."""

import importlib
import inspect
import os
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import skadm.detectors
from benchmarks.lib.tables import with_tables
from skadm._catalogue import METHODS
from skadm.base import BaseDetector
from skadm.cli import main
from skadm.detectors import all_detectors
from skadm.presets import PRESETS, make_detector

NAMES = [name for name, _ in all_detectors()]


@pytest.mark.parametrize("name", NAMES)
def test_what_the_catalogue_says(name):
    method = METHODS[name]
    assert set(method.tune) <= set(make_detector(name).get_params())
    assert len(method.tune) == len(set(method.tune)) >= 2
    for text in (method.idea, method.good_at):
        assert text.endswith(".")
        assert len(text) < 100
    cited = method.paper.split(",")[0].split(" et al")[0]
    # Papers by their first author, who stands in the docstring too.
    assert cited == "none" or cited in (dict(all_detectors())[name].__doc__ or "")


@pytest.mark.parametrize("name", NAMES)
def test_presets(name):
    presets = PRESETS[name]
    assert {"quick", "cpu"} < set(presets)
    assert any(preset.startswith("paper") for preset in presets)
    for preset, parameters in presets.items():
        detector = make_detector(name, preset, contamination=0.2)
        detector._validate_params()
        assert detector.get_params().items() >= parameters.items()
        assert detector.contamination == 0.2


def test_every_file_of_a_detector_is_in_the_registry():
    """One without its line in `skadm/detectors/__init__.py` would never be tested."""
    found = set()
    for module in pkgutil.iter_modules(skadm.detectors.__path__, "skadm.detectors."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and issubclass(value, BaseDetector):
                found |= set() if inspect.isabstract(value) else {value.__name__}
    assert found == set(NAMES)


@pytest.mark.slow
def test_a_new_detector_is_one_file_and_one_line(tmp_path):
    """In a copy of the package: list, presets, the command line find it by themselves."""
    shutil.copytree(Path(skadm.__file__).parent, tmp_path / "skadm")
    folder = tmp_path / "skadm" / "detectors"
    (folder / "_flat.py").write_text(
        "from skadm.base import BaseDetector\n"
        "class FlatDetector(BaseDetector):\n"
        '    """Everything is as normal as everything else."""\n'
        '    _presets = {"quick": {"contamination": 0.1}}\n'
        "    def __init__(self, *, contamination=0.01):\n"
        "        super().__init__(contamination=contamination)\n"
        "    def _fit(self, X):\n"
        "        pass\n"
        "    def _score(self, X, brain):\n"
        "        return 0 * X[:, 0]\n"
    )
    lines = (folder / "__init__.py").read_text("utf-8").splitlines()
    first = lines.index("_HOMES = {")
    lines.insert(first + 1, '    "FlatDetector": "skadm.detectors._flat",')
    (folder / "__init__.py").write_text("\n".join(lines) + "\n", "utf-8")
    code = (
        "import skadm\n"
        "from skadm.cli import main\n"
        "from skadm.presets import make_detector\n"
        "assert make_detector('FlatDetector', 'quick').contamination == 0.1\n"
        "assert skadm.FlatDetector is skadm.detectors.FlatDetector\n"
        "assert 'FlatDetector' in skadm.detectors.__all__\n"
        "main(['list'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    words = " ".join(done.stdout.split())
    assert "FlatDetector idea Everything is as normal" in words


def test_unknown_names():
    with pytest.raises(ValueError, match="no detector 'AMDDetector'; expected one of"):
        make_detector("AMDDetector")
    with pytest.raises(ValueError, match="DAEDetector has no preset 'huge'"):
        make_detector("DAEDetector", "huge")


def test_list(capsys):
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    blocks = printed.strip().split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == NAMES
    for name, block in zip(NAMES, blocks):
        words = " ".join(block.split())
        assert METHODS[name].idea in words
        assert all(parameter in words for parameter in METHODS[name].tune)
        assert all(preset in words for preset in PRESETS[name])
    assert max(map(len, printed.splitlines())) <= 92


def test_every_detector_is_in_the_docs():
    page = with_tables(Path(__file__).parent.parent / "docs" / "detectors.md")
    for name in NAMES:
        assert f"`{name}`" in page
