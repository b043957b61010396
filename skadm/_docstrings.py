"""Shared parameter descriptions in docstrings.

A line such as ``%(max_epochs)s`` in a docstring is replaced by the description of that
parameter or attribute. Indented lines after it are appended to the description.
"""

import re
import textwrap
from collections.abc import Callable
from typing import TypeVar

Function = TypeVar("Function", bound=Callable)


def with_descriptions(cls: type) -> str | None:
    """Fill the docstring of a class from the nearest base that describes each name.

    None without a docstring, as under ``python -OO``. Names that no base describes are
    kept.
    """

    def of_base(name: str) -> str | None:
        for base in cls.__mro__[1:]:
            text = re.search(
                rf"^( *){name} : .*(?:\n\1 +\S.*)*", base.__doc__ or "", re.MULTILINE
            )
            if text is not None:
                return textwrap.dedent(text[0])
        return None

    return _fill(cls.__doc__, of_base)


def described_by(**descriptions: str) -> Callable[[Function], Function]:
    """Decorator that fills the docstring of a function."""

    def decorate(function: Function) -> Function:
        function.__doc__ = _fill(function.__doc__, descriptions.get)
        return function

    return decorate


def _fill(docstring: str | None, describe: Callable[[str], str | None]) -> str | None:
    if docstring is None:
        return None

    def description(line: re.Match[str]) -> str:
        text = describe(line[2])
        return line[0] if text is None else textwrap.indent(text, line[1])

    return re.sub(r"^( *)%\((\w+)\)s$", description, docstring, flags=re.MULTILINE)
