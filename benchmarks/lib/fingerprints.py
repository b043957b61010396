"""Fingerprints of data and of code: what a finished run is recognised by."""

import ast
import functools
import hashlib
import inspect
import itertools
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import joblib

from skadm.data import SliceStack
from skadm.training._checkpoints import fingerprint


def data_fingerprint(stack: SliceStack) -> str:
    """Digest of images, labels, contrasts and patients."""
    known = {"contrasts": stack.contrasts, "patients": stack.groups.tolist()}
    labels = [] if stack.y is None else [stack.y]
    return fingerprint(known, itertools.chain(stack, labels))


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
    for name in loaded_modules():
        _source(str(sys.modules[name].__file__))


def loaded_modules() -> list[str]:
    """Names of the modules of skadm that are imported."""
    return [
        name
        for name, module in list(sys.modules.items())
        if name.startswith("skadm.") and getattr(module, "__file__", None) is not None
    ]


# Modules that a detector imports, and that only read, check files or word messages. What
# slices they make is part of the fingerprint of the data.
READ_OR_WORD = ("data", "_docstrings", "_extras", "_failure", "_files", "_validation")
# Attributes of detectors that describe them.
_DESCRIPTIONS = {"_good_at", "_paper", "_tune"}
_WARNING = ("warn", "warnings.warn")
_WITHOUT_EFFECT = ("annotation", "returns", "kind", "type_comment")  # fields of syntax


def behaviour_fingerprints(names: Iterable[str]) -> dict[str, str]:
    """Digest of what each of these modules does, by its name; wording does not count."""
    return {
        name: _behaviour_digest(_source(str(sys.modules[name].__file__)))
        for name in sorted(names)
        if name.split(".")[1] not in READ_OR_WORD
    }


@functools.cache
def _behaviour_digest(source: bytes) -> str:
    return hashlib.sha256(repr(behaviour(source)).encode()).hexdigest()[:32]


def behaviour(source: bytes | str) -> list[Any]:
    """Syntax of a source without comments, docstrings, types, messages and descriptions.

    Empty parts are left out: Python versions differ in them.
    """
    return _syntax(ast.parse(source))


def _syntax(node: Any) -> Any:
    """Nested lists of the parts of a node."""
    if isinstance(node, list):
        return [_syntax(item) for item in node if not _is_wording(item)]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = dict(ast.iter_fields(node))
    if isinstance(node, ast.Raise):  # the class of the error alone
        fields["exc"] = getattr(node.exc, "func", node.exc)
    return [type(node).__name__] + [
        [name, _syntax(value)]
        for name, value in fields.items()
        if value not in (None, []) and name not in _WITHOUT_EFFECT
    ]


def _is_wording(node: Any) -> bool:
    """Whether a node is a docstring, a warning or a description."""
    if isinstance(node, ast.Expr):
        value = node.value
        warns = isinstance(value, ast.Call) and ast.unparse(value.func) in _WARNING
        return warns or (isinstance(value, ast.Constant) and isinstance(value.value, str))
    if isinstance(node, ast.Assign):
        names = {target.id for target in node.targets if isinstance(target, ast.Name)}
        return bool(names & _DESCRIPTIONS)
    return False


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
