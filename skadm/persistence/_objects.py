"""Objects as JSON and arrays, and back, without anything that could run."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from skadm._version import __version__
from skadm.persistence._archive import Archive
from skadm.persistence._classes import Classes

# JSON knows no tuple, no array, ...: an object with the one key of a tag stands for them.
_TUPLE, _DICT, _FLOAT, _ARRAY, _SCALAR, _OBJECT = (
    *("$tuple", "$dict", "$float", "$array", "$scalar", "$object"),
)
_SCALAR_KINDS = "biufU"

# Folders and caches are of the machine that trains, not of the model. One from a file of
# somebody else would be read, as a pickle, by the next fit.
_OF_THE_MACHINE = ("memory", "checkpoints")


class Encoder:
    """Takes objects apart.

    Parameters
    ----------
    classes : Classes
        Those that may occur.

    Attributes
    ----------
    arrays : dict of str to ndarray
        The arrays found so far, by the name of their member; each once.
    """

    def __init__(self, classes: Classes) -> None:
        self.arrays: dict[str, NDArray] = {}
        self._classes = classes
        self._names: dict[int, str] = {}

    def encode(self, value: Any, place: str) -> Any:
        """Turn a value into what JSON knows.

        Parameters
        ----------
        value : object
            Plain data, or an object of one of the classes.
        place : str
            Where it is in the model, for messages.

        Returns
        -------
        tree : dict, list, str, int, float, bool or None
            It refers to arrays by name.

        Raises
        ------
        TypeError
            If there is anything else in it.
        """
        kind = type(value)
        if value is None or kind in (bool, int, str):
            return value
        if kind is float:
            return value if math.isfinite(value) else {_FLOAT: repr(value)}
        if isinstance(value, np.generic) and value.dtype.kind in _SCALAR_KINDS:
            return {_SCALAR: [value.dtype.str, self.encode(value.item(), place)]}
        if kind in (np.ndarray, np.memmap):
            return {_ARRAY: self._keep(value, place)}
        if kind in (list, tuple):
            items = [self.encode(v, f"{place}[{i}]") for i, v in enumerate(value)]
            return items if kind is list else {_TUPLE: items}
        if kind is dict:
            return self._encode_dict(value, place)
        if kind.__module__ == "torch" and kind.__name__ == "device":
            return str(value)  # which means the same wherever a device is named
        name = self._classes.name_of(kind)
        if name is None:
            raise TypeError(
                f"{place} is a {kind.__module__}.{kind.__qualname__}, which is not among "
                "the classes that are saved; expected plain data, or detectors, filters "
                "and transformers of skadm. Classes of your own: save(..., classes=[...])."
            )
        if isinstance(value, tuple):  # a named one
            return {_OBJECT: [name, self.encode(list(value), place)]}
        state = _state_of(value)
        try:
            _check_state(kind, state)
        except ValueError as error:  # what could not be loaded is not saved
            raise TypeError(f"{place}: {error}") from error
        return {_OBJECT: [name, self._encode_dict(state, place)]}

    def _encode_dict(self, value: dict, place: str) -> dict[str, Any]:
        pairs = [(k, self.encode(v, f"{place}.{k}")) for k, v in value.items()]
        if all(type(key) is str and not key.startswith("$") for key, _ in pairs):
            return dict(pairs)
        return {_DICT: [[self.encode(key, f"{place} (key)"), v] for key, v in pairs]}

    def _keep(self, array: NDArray, place: str) -> str:
        if array.dtype.kind not in _SCALAR_KINDS or not array.dtype.itemsize:
            raise TypeError(
                f"{place} is an array of {array.dtype}; expected numbers or text."
            )
        if id(array) not in self._names:
            name = f"arrays/{len(self.arrays):04}.npy"
            # That it is kept alive here makes its id its own.
            self._names[id(array)], self.arrays[name] = name, array
        return self._names[id(array)]


class Decoder:
    """Puts objects together.

    Parameters
    ----------
    archive : Archive
        Where the arrays are.
    classes : Classes
        Those that may occur.
    """

    def __init__(self, archive: Archive, classes: Classes) -> None:
        self._archive = archive
        self._classes = classes
        self._arrays: dict[str, NDArray] = {}

    def decode(self, tree: Any) -> Any:
        """Turn what JSON knows into a value.

        Parameters
        ----------
        tree : dict, list, str, int, float, bool or None
            What `Encoder.encode` returned.

        Returns
        -------
        value : object
            Plain data, or an object of one of the classes. No ``__init__``, and no other
            method of it, was called.

        Raises
        ------
        ValueError
            If it names another class, or an object is not as its class makes them.
        """
        if isinstance(tree, list):
            return [self.decode(item) for item in tree]
        if not isinstance(tree, dict):
            return tree
        tag = next((key for key in tree if key.startswith("$")), None)
        if tag is None:
            return {key: self.decode(item) for key, item in tree.items()}
        if len(tree) != 1:
            raise ValueError(f"it holds {tag[:20]!r} beside other keys.")
        return self._tagged(tag, tree[tag])

    def _tagged(self, tag: str, content: Any) -> Any:
        if tag == _FLOAT:
            return float(content)
        if tag == _ARRAY:
            if content not in self._arrays:
                self._arrays[content] = self._archive.array(content)
            return self._arrays[content]
        if tag == _TUPLE:
            return tuple(self.decode(item) for item in content)
        if tag == _DICT:
            return {self.decode(key): self.decode(item) for key, item in content}
        if tag == _SCALAR:
            dtype, value = np.dtype(str(content[0])), self.decode(content[1])
            if dtype.kind not in _SCALAR_KINDS or dtype.itemsize > 2**16:
                raise ValueError(f"it holds a number of type {dtype}.")
            return dtype.type(value)
        if tag == _OBJECT:
            name, state = content
            return self._object(self._classes.named(name), self.decode(state))
        raise ValueError(f"it holds the unknown mark {tag[:20]!r}.")

    def _object(self, kind: type, state: Any) -> Any:
        if issubclass(kind, tuple):
            return kind(*state)
        _check_state(kind, state)
        new = kind.__new__(kind)
        if isinstance(new, BaseEstimator):
            new.__setstate__(state)  # compares versions of scikit-learn
        else:
            new.__dict__.update(state)
        return new


def _state_of(value: Any) -> dict[str, Any]:
    """Attributes, without what is not of the model."""
    state = {
        name: item
        for name, item in value.__getstate__().items()
        if not name.startswith("_skl_")  # callbacks
    }
    if isinstance(value, BaseEstimator):
        state |= {name: None for name in _OF_THE_MACHINE if name in state}
    return state


def _check_state(kind: type, state: Any) -> None:
    """Refuse attributes that the class, as it is now, does not have."""
    if not isinstance(state, dict):
        raise ValueError(f"a {kind.__name__} has no attributes.")
    if not issubclass(kind, BaseEstimator):
        return
    expected = set(kind._get_param_names())  # type: ignore[attr-defined]
    # What was fitted ends in an underscore. Others than skadm keep private attributes too.
    private = not kind.__module__.startswith("skadm.")
    found = {
        name
        for name in state
        if not name.endswith("_") and not (private and name.startswith("_"))
    }
    if found != expected:
        other = ", ".join(sorted(str(name)[:40] for name in found ^ expected))
        raise ValueError(
            f"the attributes of a {kind.__name__} are not those of skadm {__version__}, "
            f"which differ in {other}. The card of a file tells the version it is of."
        )
    for name in _OF_THE_MACHINE:
        if state.get(name) is not None:
            raise ValueError(f"a {kind.__name__} names {name}, a folder of some machine.")
