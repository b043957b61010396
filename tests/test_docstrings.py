"""Public docstrings are complete numpydoc, and their examples run."""

import dataclasses
import doctest
import importlib
import inspect

import pytest
from numpydoc.validate import validate

import skadm.detectors
import skadm.metrics
import skadm.wrappers
from skadm._docstrings import described_by, with_descriptions
from skadm.detectors import all_detectors
from skadm.neural import TorchDetector

MODULES = [
    "skadm.augmentation",
    "skadm.base",
    "skadm.callbacks",
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


class Described:
    """A class.

    Parameters
    ----------
    size : int
        How large
        it is.
    name : str
        Its name.
    """


def test_descriptions_come_from_the_nearest_base():
    class Between(Described):
        """Another.

        name : str
            Another name.
        """

    class Child(Between):
        """A third.

          %(size)s
            In pixels.
          %(name)s
        %(colour)s, not in a line of its own, and unknown: %(size)s
        %(colour)s
        """

    lines = [line for line in with_descriptions(Child).splitlines() if line.strip()]
    indent = len(lines[-1]) - len("%(colour)s")
    assert [line[indent:] for line in lines[1:]] == [
        "  size : int",
        "      How large",
        "      it is.",
        "    In pixels.",
        "  name : str",
        "      Another name.",
        "%(colour)s, not in a line of its own, and unknown: %(size)s",
        "%(colour)s",
    ]
    Child.__doc__ = None
    assert with_descriptions(Child) is None


@pytest.mark.parametrize("module", [skadm.detectors, skadm.metrics, skadm.wrappers])
def test_every_parameter_that_a_docstring_names_is_described(module):
    for name in module.__all__:
        assert "%(" not in getattr(module, name).__doc__, name


def test_functions_share_descriptions_of_parameters():
    @described_by(size="size : int\n    How large.")
    def function(size):
        """Do.

        %(size)s
        %(colour)s
        """

    lines = inspect.getdoc(function).splitlines()
    assert lines == ["Do.", "", "size : int", "    How large.", "%(colour)s"]


@pytest.mark.parametrize(
    "detector", [cls for _, cls in all_detectors() if issubclass(cls, TorchDetector)]
)
def test_parameters_of_training_are_the_same_everywhere(detector):
    """Their defaults and what they are checked by."""
    shared = inspect.signature(TorchDetector.__init__).parameters
    of_detector = inspect.signature(detector.__init__).parameters
    for name in set(shared) - {"self"}:
        assert of_detector[name].default == shared[name].default, name
        constraint = TorchDetector._parameter_constraints[name]
        assert detector._parameter_constraints[name] is constraint, name
