"""The libraries that only reports need, loaded when they are needed."""

from typing import Any

from skadm._extras import import_extra


def require_libraries() -> None:
    """Make sure that a report can be written, before the work for it is done."""
    pillow()
    jinja()


def pillow() -> Any:
    """Return Pillow's module of images."""
    return import_extra("PIL.Image", "Pillow", "report", "reports need")


def jinja() -> Any:
    """Return Jinja2."""
    return import_extra("jinja2", "Jinja2", "report", "reports need")
