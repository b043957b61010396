"""Conversion of objects to JSON and tensors and back, without running code."""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from skadm._sklearn import validate_parameter_constraints
from skadm._version import __version__

# JSON has no tuples, arrays, ...: they are encoded as an object with a single tag key.
_TUPLE, _DICT, _FLOAT, _OBJECT = "$tuple", "$dict", "$float", "$object"
# Tensors by name: C order, Fortran order, NumPy scalar, text.
_ARRAY, _FORTRAN, _SCALAR, _TEXT = "$array", "$fortran", "$scalar", "$text"
_NUMBERS = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64"
_LAST_CODE_POINT = 0x10FFFF

# Folders and caches belong to the machine, not the model. A folder named in an untrusted
# file would be read as a pickle by the next fit.
_OF_THE_MACHINE = ("memory", "checkpoints")


class KnownClasses(dict[str, type]):
    """The classes that a file may contain, by their names without module.

    A public class that is not imported yet is imported when a file names it: most
    detectors import torch, which takes longer than loading a model that needs none.
    """

    def __missing__(self, name: str) -> type:
        import skadm

        kind = getattr(skadm, name) if name in skadm.__all__ else None
        if not (isinstance(kind, type) and _is_known(kind)):
            raise KeyError(name)
        self[name] = kind
        return kind


def known_classes(more: Iterable[type] = ()) -> KnownClasses:
    """Return the classes that a file may contain: estimators of skadm and their parts.

    Keys are names without module, so that classes can move.
    """
    from sklearn.decomposition import PCA
    from sklearn.frozen import FrozenEstimator
    from sklearn.mixture import GaussianMixture
    from sklearn.pipeline import Pipeline

    import skadm
    import skadm.pooling
    import skadm.postprocessing
    import skadm.wrappers
    from skadm._reference import ScoreReference, TrainingReference
    from skadm.conformal import Calibration
    from skadm.preprocessing._crop import Box

    custom = list(more)
    for kind in custom:
        getattr(skadm, kind.__name__, None)  # imports a class of the same name
    classes = [
        *(FrozenEstimator, GaussianMixture, PCA, Pipeline),
        *(Box, Calibration, ScoreReference, TrainingReference),
        *(kind for kind in _subclasses(BaseEstimator) if _is_known(kind)),
        *custom,
    ]
    known = KnownClasses()
    for kind in classes:
        if known.setdefault(kind.__name__, kind) is not kind:
            raise ValueError(f"two classes are named {kind.__name__}; rename one.")
    return known


def _subclasses(kind: type) -> Iterator[type]:
    subclasses: list[type] = type.__subclasses__(kind)
    for subclass in subclasses:
        yield subclass
        yield from _subclasses(subclass)


def _is_known(kind: type) -> bool:
    """Whether it is an estimator of skadm that is public and has objects."""
    public = kind.__module__.startswith("skadm.") and not kind.__name__.startswith("_")
    return public and issubclass(kind, BaseEstimator) and not inspect.isabstract(kind)


class Encoder:
    """Encodes objects; `tensors` holds each of their arrays once, by its place."""

    def __init__(self, classes: Mapping[str, type]) -> None:
        self.tensors: dict[str, NDArray] = {}
        self._classes = classes
        # Keeps a reference to the array, so that its id is not reused.
        self._references: dict[int, tuple[Any, dict[str, str]]] = {}

    def knows(self, kind: type) -> bool:
        """Whether a class is allowed, checked by identity and not only by name."""
        return self._classes.get(kind.__name__) is kind

    def encode(self, value: Any, place: str) -> Any:
        """Encode a value in JSON types that refer to tensors by name."""
        kind = type(value)
        if value is None or kind in (bool, int, str):
            return value
        if kind is float:
            return value if math.isfinite(value) else {_FLOAT: repr(value)}
        if kind is np.str_:
            return str(value)
        if kind in (np.ndarray, np.memmap) or isinstance(value, np.generic):
            if id(value) not in self._references:
                self._references[id(value)] = value, self._encode_array(value, place)
            return self._references[id(value)][1]
        if kind in (list, tuple):
            items = [self.encode(v, f"{place}[{i}]") for i, v in enumerate(value)]
            return items if kind is list else {_TUPLE: items}
        if kind is dict:
            return self._encode_dict(value, place)
        if kind.__module__ == "torch" and kind.__name__ == "device":
            return str(value)  # equivalent to the device object
        if not self.knows(kind):
            raise TypeError(
                f"{place} is a {kind.__module__}.{kind.__qualname__}; expected plain "
                "data, or detectors, filters and transformers of skadm. Pass custom "
                "classes with save(..., classes=[...])."
            )
        named = getattr(value, "_asdict", None)  # a named tuple
        state = _state_of(value) if named is None else named()
        _check_state(kind, state)
        return {_OBJECT: [kind.__name__, self._encode_dict(state, place)]}

    def _encode_dict(self, value: dict, place: str) -> dict[str, Any]:
        pairs = [(key, self.encode(v, f"{place}.{key}")) for key, v in value.items()]
        if all(type(key) is str and not key.startswith("$") for key, _ in pairs):
            return dict(pairs)
        return {_DICT: [[self.encode(key, f"{place} (key)"), v] for key, v in pairs]}

    def _encode_array(self, array: NDArray | np.generic, place: str) -> dict[str, str]:
        if isinstance(array, np.generic):
            return {_SCALAR: self._keep(np.asarray(array), place)}
        if array.dtype.kind == "U":
            return {_TEXT: self._keep(_code_points(array), place)}
        _check_values(array, place)
        # The last bit of sums depends on the memory order.
        fortran = array.flags.f_contiguous and not array.flags.c_contiguous
        return {_FORTRAN if fortran else _ARRAY: self._keep(array, place)}

    def _keep(self, array: NDArray, place: str) -> str:
        if array.dtype.name not in _NUMBERS.split():
            raise TypeError(
                f"{place} is an array of {array.dtype}; expected numbers or text."
            )
        while place in self.tensors:  # keys with dots can make places ambiguous
            place += "'"
        self.tensors[place] = np.asarray(array, order="C")
        return place


class Decoder:
    """Decodes objects, with tensors read by name."""

    def __init__(self, read: Callable[[str], NDArray], classes: Mapping[str, type]) -> None:
        self.used: dict[str, tuple[str, Any]] = {}  # tag and array by name
        self._read = read
        self._classes = classes

    def decode(self, tree: Any) -> Any:
        """Decode the output of `Encoder.encode`; raise a ValueError for other input."""
        if isinstance(tree, list):
            return [self.decode(item) for item in tree]
        if not isinstance(tree, dict):
            return tree
        tag = next((key for key in tree if key.startswith("$")), None)
        if tag is None:
            return {key: self.decode(item) for key, item in tree.items()}
        if len(tree) != 1:
            raise ValueError(
                f"it has {tag[:20]!r} beside other keys; expected a single key."
            )
        content = tree[tag]
        if tag == _FLOAT:
            return float(content)
        if tag == _TUPLE:
            return tuple([self.decode(item) for item in content])
        if tag == _DICT:
            return {self.decode(key): self.decode(item) for key, item in content}
        if tag in (_ARRAY, _FORTRAN, _SCALAR, _TEXT):
            # Each tensor is decoded once, so memory is limited by the file size.
            if content not in self.used:
                self.used[content] = tag, self._decode_array(tag, content)
            if self.used[content][0] != tag:
                raise ValueError(f"it uses {content[:80]!r} with two types; expected one.")
            return self.used[content][1]
        if tag == _OBJECT:
            name, state = content
            try:
                kind = self._classes[name]
            except KeyError:
                raise ValueError(
                    f"it contains the unknown class {name[:100]!r}; pass custom classes "
                    "with load(..., classes=[...])."
                ) from None
            return _make(kind, self.decode(state))
        raise ValueError(f"it contains the unknown tag {tag[:20]!r}.")

    def _decode_array(self, tag: str, name: str) -> Any:
        array = self._read(name)
        if array.dtype.name not in _NUMBERS.split():
            raise ValueError(f"its {name[:80]} has type {array.dtype}; expected numbers.")
        if array.dtype == bool and array.size and array.view(np.uint8).max() > 1:
            raise ValueError(f"its {name[:80]} has invalid booleans; expected 0 and 1.")
        if tag == _SCALAR and not array.ndim:
            return array[()]
        if tag == _TEXT:
            return _text_of(array)
        _check_values(array, name)
        return np.asfortranarray(array) if tag == _FORTRAN else array


def _make(kind: type, state: dict[str, Any]) -> Any:
    """Make an object with attributes from a file, without calling ``__init__``."""
    _check_state(kind, state)
    if is_dataclass(kind) or issubclass(kind, tuple):
        return kind(**state)
    new = kind.__new__(kind)
    if isinstance(new, BaseEstimator):
        new.__setstate__(state)  # compares versions of scikit-learn
    else:
        new.__dict__.update(state)
    if (check := getattr(new, "_check_loaded", None)) is not None:
        check()
    return new


def _state_of(value: Any) -> dict[str, Any]:
    """Return the attributes that belong to the model."""
    state = {
        name: item
        for name, item in value.__getstate__().items()
        if not name.startswith("_skl_")  # callbacks
    }
    if isinstance(value, BaseEstimator):
        state |= {name: None for name in _OF_THE_MACHINE if name in state}
    return state


def _check_state(kind: type, state: dict[str, Any]) -> None:
    """Raise a ValueError for attributes that the class of an estimator does not have."""
    if not issubclass(kind, BaseEstimator):
        return
    parameters = set(kind._get_param_names())  # type: ignore[attr-defined]
    # Fitted attributes end in an underscore; scikit-learn has private ones too.
    private = not kind.__module__.startswith("skadm.")
    fitted = {
        name
        for name in state.keys() - parameters
        if name.endswith("_") or (private and name.startswith("_"))
    }
    if other := (state.keys() - fitted) ^ parameters:
        raise ValueError(
            f"a {kind.__name__} has unexpected or missing attributes for skadm "
            f"{__version__}: {', '.join(sorted(str(name)[:40] for name in other))}. The "
            "card names the version that saved the file."
        )
    for name in _OF_THE_MACHINE:
        if state.get(name) is not None:
            raise ValueError(
                f"a {kind.__name__} has the local folder {name}; expected None."
            )
    for name in fitted:
        value = state[name]
        if isinstance(value, float | np.floating) and not math.isfinite(value):
            raise ValueError(f"{name} of a {kind.__name__} is {value}.")
    validate_parameter_constraints(
        getattr(kind, "_parameter_constraints", {}),
        {name: state[name] for name in parameters},
        caller_name=kind.__name__,
    )


def _check_values(array: NDArray, name: str) -> None:
    """Raise a ValueError for NaN and infinity, without a temporary array."""
    if array.dtype.kind != "f" or not array.size:
        return
    if not np.isfinite([array.min(), array.max()]).all():
        raise ValueError(f"{name[:80]} holds NaN or infinity; expected finite numbers.")


def _code_points(text: NDArray) -> NDArray[np.uint32]:
    """Text as numbers, (..., characters)."""
    text = text.astype(text.dtype.newbyteorder("="), order="C")
    return np.ndarray((*text.shape, text.dtype.itemsize // 4), np.uint32, text)


def _text_of(code_points: NDArray) -> NDArray[np.str_]:
    *shape, n_characters = code_points.shape
    known = code_points.dtype == np.uint32 and (code_points <= _LAST_CODE_POINT).all()
    if not n_characters or not known:
        raise ValueError("it holds invalid characters; expected Unicode text.")
    return np.ndarray(shape, f"<U{n_characters}", code_points)
