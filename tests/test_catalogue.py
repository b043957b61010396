"""Catalogue, presets and ``skadm list``: every detector is there; what is said holds."""

from pathlib import Path

import pytest

from skadm.catalogue import METHODS
from skadm.cli import main
from skadm.detectors import all_detectors
from skadm.presets import PRESETS, make_detector

NAMES = [name for name, _ in all_detectors()]


def test_every_detector_is_in_the_catalogue():
    assert list(METHODS) == NAMES


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


def test_no_presets_of_what_is_not():
    assert set(PRESETS) == set(NAMES)


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
    page = (Path(__file__).parent.parent / "docs" / "detectors.md").read_text("utf-8")
    for name in NAMES:
        assert f"`{name}`" in page
