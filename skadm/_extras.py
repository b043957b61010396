"""Libraries that only some need, loaded when they are needed."""

from importlib import import_module
from typing import Any


def import_extra(
    module: str, name: str, extra: str, needed_by: str, or_else: str = ""
) -> Any:
    """A module, or an ImportError that names the extra which brings its library."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{needed_by} {name}, which is not installed: "
            f"pip install skadm[{extra}]{or_else}"
        ) from error
