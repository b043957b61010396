"""Saving and loading of models and their cards."""

import json
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from sklearn.base import BaseEstimator

from skadm._files import replace_atomically, require_file
from skadm._version import __version__
from skadm.io._model_card import FORMAT, make_card
from skadm.io._objects import Decoder, Encoder, known_classes

_MAX_BYTES = 2**31 - 1
_MAX_HEADER_BYTES = 2**22
# Header bytes of a tensor besides its name: type, shape, offsets.
_ENTRY_BYTES = 160
_KEY = "skadm"


def save(
    model: Any,
    path: str | PathLike,
    *,
    metrics: Any = None,
    force: bool = False,
    classes: Iterable[type] = (),
) -> None:
    """Save a model and its card to one file, without pickle.

    Parameters
    ----------
    model : estimator
        A detector, wrapped or not, a filter, a transformer, or a Pipeline of them.
    path : str or path-like
        The file. Any suffix is allowed; ``.safetensors`` is recognised by other programs.
    metrics : dict or list, default=None
        Evaluation results for the card.
    force : bool, default=False
        Whether to overwrite an existing file.
    classes : iterable of type, default=()
        Custom classes that may occur in the model, besides those of skadm. All their
        attributes are saved; pass the same classes to `load`.

    Raises
    ------
    FileExistsError
        If the file exists and `force` is False.
    OSError
        If it cannot be written. An existing file is kept.
    TypeError
        If the model contains an object that is neither plain data nor of a known class.
    ValueError
        If a parameter is out of range, an array holds NaN or infinity, the model is
        nested too deeply or refers to itself, or it is too large (2 GiB of arrays, or 4
        MiB besides).

    See Also
    --------
    load : Reads the model.
    card : Reads the card only.

    Notes
    -----
    Callbacks are not saved; ``memory`` and ``checkpoints`` (local folders) become None.

    Examples
    --------
    >>> import os, tempfile
    >>> import skadm
    >>> from skadm.data import make_phantom
    >>> stack = make_phantom(n_patients=2, n_slices=8, size=32, random_state=0)
    >>> detector = skadm.PCADetector().fit(stack, stack.y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = os.path.join(folder, "model.skadm")
    ...     skadm.save(detector, file)
    ...     skadm.card(file)["training_data"]["patients"]
    ...     skadm.load(file)
    2
    PCADetector()
    """
    place = Path(path).expanduser()
    if place.is_dir():
        raise IsADirectoryError(f"{place} is a folder; expected a file name.")
    if place.exists() and not force:
        raise FileExistsError(f"{place} exists; pass force=True to replace it.")
    encoder = Encoder(known_classes(classes))
    if not isinstance(model, BaseEstimator) or not encoder.knows(type(model)):
        raise TypeError(
            f"model is a {type(model).__module__}.{type(model).__qualname__}; expected a "
            "detector, filter or transformer of skadm, or a Pipeline of them."
        )
    try:
        tree = encoder.encode(model, type(model).__name__)
    except RecursionError:
        raise ValueError(
            "the model is nested too deeply or refers to itself, so it cannot be saved."
        ) from None
    text = json.dumps({"card": make_card(model, metrics), "model": tree}, allow_nan=False)
    _check_size(text, encoder.tensors)
    replace_atomically(place, lambda path: _write(path, encoder.tensors, text))


def load(
    path: str | PathLike, *, max_bytes: int = _MAX_BYTES, classes: Iterable[type] = ()
) -> Any:
    """Load a model; loading an untrusted file runs no code.

    Parameters
    ----------
    path : str or path-like
        File written by `save`.
    max_bytes : int, default=2147483647
        Maximum file size. Loading takes at most this much memory, plus 0.5 GiB for the
        structure of the model.
    classes : iterable of type, default=()
        Custom classes that the file may contain. They must be safe with arbitrary
        attributes.

    Returns
    -------
    model : estimator
        Its scores are identical to those of the saved model on the same machine with the
        same versions.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file is not a model, damaged, too large or of another format; or if it
        contains an unknown class, parameters out of range, or arrays that do not match
        the parameters or hold NaN or infinity. Pickles are refused.

    Warns
    -----
    UserWarning
        If another version of skadm wrote it. scikit-learn warns about its versions.

    See Also
    --------
    save : Writes a model.
    card : Reads the card only.

    Notes
    -----
    A safe file is not necessarily a good model: its author chose the weights and the
    content of the card.
    """
    with _opened(path, max_bytes) as (content, tensors):
        written_by = str(content["card"].get("skadm"))[:40]
        if written_by != __version__:
            warnings.warn(
                f"{path} was saved by skadm {written_by}, but this is skadm "
                f"{__version__}: scores may differ.",
                UserWarning,
                stacklevel=2,
            )
        decoder = Decoder(tensors.get_tensor, known_classes(classes))
        model = decoder.decode(content["model"])
        if not isinstance(model, BaseEstimator):
            raise ValueError(f"it holds {type(model).__name__}; expected an estimator.")
        if unused := set(tensors.keys()) - decoder.used.keys():
            raise ValueError(f"it contains the unexpected entry {min(unused)[:80]!r}.")
        return model


def card(path: str | PathLike) -> dict[str, Any]:
    """Read the card of a model without loading the model.

    Parameters
    ----------
    path : str or path-like
        File written by `save`.

    Returns
    -------
    card : dict
        Description, intended use, supervision (knowledge of lesions used) and date of
        saving ("model", "intended_use", "supervision", "saved"); "skadm" and other
        "versions"; "contrasts" in their order; "training_data" (numbers of slices,
        patients and brain pixels, SHA-256 of the slices); "intensities" (quantiles of
        each contrast over brain pixels); the "parts" it is made of, each with its
        "class", "parameters" and "threshold"; and "metrics". Unknown values are None.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file is not a model, damaged, or of a newer format.
    """
    with _opened(path) as (content, _):
        return content["card"]


def _check_size(text: str, tensors: Mapping[str, NDArray]) -> None:
    """Check the limits that also apply when reading."""
    header = len(json.dumps({_KEY: text}))
    header += sum(len(json.dumps(name)) + _ENTRY_BYTES for name in tensors)
    n_bytes = sum(tensor.nbytes for tensor in tensors.values())
    if header > _MAX_HEADER_BYTES or header + n_bytes > _MAX_BYTES:
        raise ValueError(
            f"the model has {n_bytes / 2**30:.2f} GiB of arrays and {header / 2**20:.1f} "
            f"MiB of other data; expected less than {_MAX_BYTES / 2**30:.2f} GiB in "
            f"total and {_MAX_HEADER_BYTES / 2**20:.1f} MiB of other data."
        )


def _write(path: Path, tensors: Mapping[str, NDArray], text: str) -> None:
    path.touch()
    mode = path.stat().st_mode  # default mode; safetensors makes the file private
    try:
        save_file(dict(tensors), path, {_KEY: text})
    except SafetensorError as error:
        raise OSError(str(error)) from error
    path.chmod(mode)


@contextmanager
def _opened(
    path: str | PathLike, max_bytes: int = _MAX_BYTES
) -> Iterator[tuple[dict[str, Any], Any]]:
    """Yield card and model as JSON, and the tensors; raise a ValueError if invalid."""
    place = Path(path).expanduser()
    require_file(place)
    try:
        header = _read_header(place, max_bytes)
        # Checks types, shapes and offsets; tensors are read lazily.
        with safe_open(place, framework="numpy") as tensors:
            metadata = _parsed(header).get("__metadata__", {})
            if _KEY not in metadata:
                raise ValueError(
                    f"its metadata has no {_KEY!r}; expected a file saved by skadm."
                )
            content = _parsed(metadata[_KEY])
            _check_format(content.get("card") if isinstance(content, dict) else None)
            yield content, tensors
    except (
        *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
        *(RuntimeError, SafetensorError),
    ) as error:
        reason = str(error) or type(error).__name__
        if isinstance(error, RecursionError):
            reason = "it is nested too deeply."
        raise ValueError(f"{path} cannot be read as a model: {reason}") from error


def _read_header(path: Path, max_bytes: int) -> bytes:
    """Read the JSON header before the tensors and check its size."""
    size = path.stat().st_size
    if size > max_bytes:
        raise ValueError(f"it has {size} bytes; expected at most {max_bytes}.")
    with path.open("rb") as file:
        start = file.read(9)
        if start.startswith(b"PK\x03\x04"):  # zip archive
            raise ValueError(
                "it was written by an older version of skadm, which used zip archives. "
                "Refit the model and save it with skadm.save or 'skadm fit'."
            )
        if start[8:] != b"{":
            raise ValueError(
                "it was not written by skadm.save. Pickles (.joblib, .pkl) are not "
                "loaded, since they can run arbitrary code. Refit the model and save it "
                "with skadm.save or 'skadm fit'."
            )
        n_bytes = int.from_bytes(start[:8], "little")
        if n_bytes > min(size - 8, _MAX_HEADER_BYTES):
            raise ValueError(
                f"its header has {n_bytes} bytes; expected at most {_MAX_HEADER_BYTES} "
                f"and at most the remaining {size - 8}."
            )
        return start[8:] + file.read(n_bytes - 1)


def _parsed(text: str | bytes) -> Any:
    """Parse JSON strictly: no duplicate keys, non-finite or very long numbers."""
    return json.loads(
        text,
        object_pairs_hook=_without_duplicates,
        parse_int=_integer,
        parse_float=_finite,
        parse_constant=_finite,
    )


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise ValueError("its header has duplicate entries.")
    return entries


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:  # Python limits the digits, since conversion takes quadratic time
        raise ValueError(
            f"its header holds a number of {len(text.removeprefix('-'))} digits; expected "
            f"at most {sys.get_int_max_str_digits()}."
        ) from None


def _finite(text: str) -> float:
    value = float(text)
    if value - value != 0:
        raise ValueError(f"its header holds {text[:40]}; expected a JSON number.")
    return value


def _check_format(card: Any) -> None:
    number = card.get("format") if isinstance(card, dict) else None
    if type(number) is not int or number < 1:
        raise ValueError("its card has no format version.")
    if number != FORMAT:
        raise ValueError(
            f"it has format {number}, written by skadm {str(card.get('skadm'))[:40]}; this "
            f"is skadm {__version__}, which reads format {FORMAT}: "
            + ("install a newer version." if number > FORMAT else "refit the model.")
        )
