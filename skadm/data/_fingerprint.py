"""Readable, JSON-serialisable descriptions of sources and steps."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np

# Larger arrays are described by a digest.
_MOST_NUMBERS = 64


def describe(value: Any) -> Any:
    """Describe a volume, a step or a part of one by its type and content.

    Equal values have equal descriptions, also after a JSON round trip. Files are
    described by path, size and modification time, without opening them.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        status = value.stat()
        file = {"file": str(value.absolute()), "bytes": status.st_size}
        return file | {"changed": status.st_mtime_ns}
    if isinstance(value, np.ndarray) and value.dtype != object:
        if value.size <= _MOST_NUMBERS:
            return value.tolist()
        shape, dtype = list(value.shape), str(value.dtype)
        return {"shape": shape, "dtype": dtype, "digest": joblib.hash(value)}
    if isinstance(value, Mapping):
        return {str(key): describe(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [describe(entry) for entry in value]
    kind = {"type": f"{type(value).__module__}.{type(value).__qualname__}"}
    if is_dataclass(value):
        names = [field.name for field in fields(value)]
    elif hasattr(value, "__dict__"):
        # The pickled state, without cached values.
        return kind | describe(value.__getstate__() or {})
    else:
        return kind | {"digest": joblib.hash(value)}
    return kind | {name: describe(getattr(value, name)) for name in names}


def digest(description: Any) -> str:
    """Return a 16-digit hash of a description."""
    return joblib.hash(json.dumps(description, sort_keys=True))[:16]


def first_difference(old: Any, new: Any, place: str = "") -> str | None:
    """Return the first difference between two descriptions and both values there.

    `place` is their location in a larger description. None if they are equal.
    """
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        entries = [(f".{key}", old[key], new[key]) for key in old]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        entries = [(f"[{i}]", *pair) for i, pair in enumerate(zip(old, new))]
    else:
        if old == new:
            return None
        return f"{place} was {_short(old)} and is {_short(new)}"
    differences = (first_difference(a, b, place + key) for key, a, b in entries)
    return next((difference for difference in differences if difference), None)


def _short(value: Any) -> str:
    # The type is enough for a nested description.
    if isinstance(value, dict):
        return str(value.get("type", value.get("file", value)))
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value))}]"
    return repr(value)
