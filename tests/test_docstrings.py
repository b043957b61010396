"""Public docstrings are complete numpydoc, and their examples run."""

import dataclasses
import doctest
import importlib
import inspect

import pytest
from numpydoc.validate import validate

from skadm.detectors import all_detectors

MODULES = [
    "skadm.augmentation",
    "skadm.base",
    "skadm.callbacks",
    "skadm.catalogue",
    "skadm.cohort",
    "skadm.data",
    "skadm.detectors",
    "skadm.evaluation",
    "skadm.image_level",
    "skadm.metrics",
    "skadm.model_selection",
    "skadm.io",
    "skadm.plotting",
    "skadm.pooling",
    "skadm.preprocessing",
    "skadm.presets",
    "skadm.raw",
    "skadm.reference",
    "skadm.report",
]

# Left out: sections that not every object needs (extended summary, See Also, Examples);
# named results, which numpydoc itself recommends (RT02).
IGNORED = {"ES01", "SA01", "EX01", "GL01", "GL08", "RT02", "RT03", "SA04"}


def public_objects():
    for name in MODULES:
        module = importlib.import_module(name)
        for attribute in getattr(module, "__all__", None) or vars(module):
            found = getattr(module, attribute)
            home = getattr(found, "__module__", "")
            own = home.startswith("skadm.") if hasattr(module, "__all__") else home == name
            if attribute.startswith("_") or not own or not callable(found):
                continue
            path = f"{name}.{attribute}"
            yield path
            if inspect.isclass(found):
                for method, function in vars(found).items():
                    public = not method.startswith(("_", "set_"))
                    if public and inspect.isfunction(function):
                        yield f"{path}.{method}"


@pytest.mark.parametrize("path", sorted(set(public_objects())))
def test_docstring(path):
    module, _, name = path.rpartition(".")
    found = getattr(importlib.import_module(module), name, None) if module in MODULES else 0
    # The fields of a dataclass or protocol are documented as attributes.
    as_attributes = dataclasses.is_dataclass(found) or getattr(found, "_is_protocol", False)
    ignored = IGNORED | ({"PR01"} if as_attributes else set())
    errors = [error for error in validate(path)["errors"] if error[0] not in ignored]
    assert not errors, "\n".join(f"{code}: {text}" for code, text in errors)


def modules_with_examples():
    homes = {detector.__module__ for _, detector in all_detectors()}
    return sorted(homes | {"skadm.augmentation", "skadm.io._file"})


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples(name):
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted > 0
    assert results.failed == 0
