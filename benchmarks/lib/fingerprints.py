"""Fingerprints of data and of code: what a finished run is recognised by."""

import functools
import inspect
import itertools
import sys
from pathlib import Path
from typing import Any

import joblib

from skadm.data import SliceStack
from skadm.training._checkpoints import fingerprint


def data_fingerprint(stack: SliceStack) -> str:
    """Digest of images, labels, contrasts and patients."""
    known = {"contrasts": stack.contrasts, "patients": stack.groups.tolist()}
    return fingerprint(known, itertools.chain(stack, [stack.y]))


def code_fingerprint(*objects: Any) -> str:
    """Digest of the code of skadm behind classes and functions.

    The version of the package stays the same while its code is worked on; results of the
    code before must not pass for results of the code after.
    """
    names = sorted(modules_behind(*objects))
    return joblib.hash([_source(str(sys.modules[name].__file__)) for name in names])


@functools.cache
def _source(path: str) -> bytes:
    """A source file as it was when it was asked for first: it may change during a run."""
    return Path(path).read_bytes()


def remember_sources() -> None:
    """Read the source of all modules of skadm, as soon as they are imported."""
    for name, module in list(sys.modules.items()):
        if name.startswith("skadm.") and module.__file__ is not None:
            _source(str(module.__file__))


def modules_behind(*objects: Any) -> set[str]:
    """Names of the modules of skadm that define objects, or that those modules import."""
    waiting = set()
    for item in objects:
        bases = inspect.getmro(item) if inspect.isclass(item) else (item,)
        waiting |= {base.__module__ for base in bases}
    modules: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in modules or not name.startswith("skadm."):
            continue
        modules.add(name)
        for value in vars(sys.modules[name]).values():
            home = value.__name__ if inspect.ismodule(value) else _home(value)
            waiting.add(home)
    return modules


def _home(value: Any) -> str:
    """Name of the module that defines a value, if the value tells."""
    home = getattr(value, "__module__", None)
    return home if isinstance(home, str) else ""
