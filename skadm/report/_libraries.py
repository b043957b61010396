"""The libraries that only reports need, loaded when they are needed."""

from importlib import import_module
from typing import Any


def require_libraries() -> None:
    """Make sure that a report can be written, before the work for it is done."""
    pillow()
    jinja()


def pillow() -> Any:
    """Return Pillow's module of images."""
    return _loaded("PIL.Image", "Pillow")


def jinja() -> Any:
    """Return Jinja2."""
    return _loaded("jinja2", "Jinja2")


def _loaded(module: str, name: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"reports need {name}, which is not installed: pip install skadm[report]"
        ) from error
