"""Conversion of array-likes to NumPy arrays, with checks."""

import sys
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

_REAL = "fiub"
# Floating-point types of tensors that NumPy also has.
_KNOWN_TENSORS = ("torch.float16", "torch.float32", "torch.float64")
_KINDS = {
    "c": "complex numbers",
    "U": "text",
    "S": "text",
    "T": "text",
    "M": "dates",
    "m": "time spans",
    "V": "records",
}


def as_numbers(values: Any, name: str) -> NDArray:
    """Convert input to an array of real numbers or booleans.

    NumPy arrays of any real type, byte order and strides are not copied, and stay
    memory-mapped. PyTorch tensors are copied to main memory if needed. Lists may be
    nested, or contain arrays or tensors of one shape; other objects that NumPy converts,
    such as those of pandas and xarray, are accepted too. The type is kept, except that
    objects that are real numbers become float64, and tensors of types that NumPy does not
    have, such as bfloat16, become float32.

    Raises a ValueError, with `name` in the message, for other types, masked values, lists
    with entries of different shapes, and tensors that are sparse, quantized or without
    data.
    """
    array = _as_array(values, name)
    if array.dtype.kind == "O":
        return _of_objects(array, name)
    if array.dtype.kind not in _REAL:
        kind = _KINDS.get(array.dtype.kind, "something else")
        raise ValueError(
            f"{name} holds {kind} ({array.dtype}); expected real numbers"
            + (f", such as numpy.abs({name})." if array.dtype.kind == "c" else ".")
        )
    return array


def _as_array(values: Any, name: str) -> NDArray:
    if isinstance(values, np.ma.MaskedArray):
        n_masked = int(np.ma.count_masked(values))
        if n_masked:
            raise ValueError(
                f"{name} is a masked array in which {n_masked} of {values.size} values are "
                "masked; expected a value everywhere. Fill them with "
                f"{name}.filled(value): in X, 0 in every contrast is background; in y, -1 "
                "is ignored."
            )
        return np.asarray(values)
    torch = sys.modules.get("torch")  # None if not imported: then there are no tensors
    if torch is not None and isinstance(values, torch.Tensor):
        return _of_tensor(values, name)
    if isinstance(values, list | tuple):
        return _of_sequence(values, name)
    try:
        return np.asarray(values)
    except TypeError as error:
        raise ValueError(
            f"{name} is a {type(values).__name__}, which does not convert to a NumPy array "
            f"({error})."
        ) from error


def _of_tensor(tensor: Any, name: str) -> NDArray:
    refusal = (
        f"{name} is a tensor of layout {tensor.layout}, type {tensor.dtype}, on the "
        f"device {str(tensor.device)!r}; expected a dense tensor of numbers"
    )
    if tensor.is_quantized:
        raise ValueError(f"{refusal}: {name}.dequantize().")
    try:
        if tensor.is_floating_point() and str(tensor.dtype) not in _KNOWN_TENSORS:
            tensor = tensor.float()
        return tensor.numpy(force=True)
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"{refusal} ({str(error).splitlines()[0]}).") from error


def _of_sequence(values: Sequence[Any], name: str) -> NDArray:
    if not len(values) or np.isscalar(values[0]):
        try:
            return np.asarray(values)
        except ValueError as error:
            raise ValueError(
                f"{name} holds a list of numbers and longer entries; expected entries "
                "of one shape."
            ) from error
    entries = [_as_array(entry, name) for entry in values]
    for place, entry in enumerate(entries):
        if entry.shape != entries[0].shape:
            raise ValueError(
                f"{name} holds a list whose entries differ in shape: entry 0 has shape "
                f"{entries[0].shape}, entry {place} {entry.shape}; expected one shape."
            )
    return np.stack(entries)


def _of_objects(array: NDArray, name: str) -> NDArray:
    if array.ndim == 1 and len(array) and np.ndim(array[0]):
        return as_numbers(array.tolist(), name)  # an array of arrays
    what = "is an array of objects and holds" if array.ndim else "is"
    for value in array.flat:
        if not isinstance(value, Real | np.bool_):
            raise ValueError(
                f"{name} {what} a {type(value).__name__}, {str(value)[:40]!r}; expected "
                "real numbers."
            )
    try:
        return array.astype(np.float64)
    except OverflowError as error:
        raise ValueError(
            f"{name} holds a number too large for float64; expected smaller numbers."
        ) from error
