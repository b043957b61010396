"""Lazy imports of optional dependencies."""

from importlib import import_module
from typing import Any


def import_extra(
    module: str, name: str, extra: str, needed_by: str, or_else: str = ""
) -> Any:
    """Import a module, or raise an ImportError that names the extra to install."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{needed_by} {name}, which is not installed: "
            f"pip install skadm[{extra}]{or_else}"
        ) from error
