"""Saving and loading of models, and their cards."""

import json
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
from skadm.io._card import FORMAT, make_card
from skadm.io._objects import Decoder, Encoder, known_classes

_MAX_BYTES = 2**31 - 1
_MAX_HEADER_BYTES = 2**22
# What a tensor takes in the header beside its name: type, shape, offsets.
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
    """Write a model and its card into one file, without pickle.

    Parameters
    ----------
    model : estimator
        A detector, wrapped or not, a filter, a transformer, or a Pipeline of them.
    path : str or path-like
        The file. Any ending will do; programs that read safetensors look for
        ``.safetensors``.
    metrics : dict or list, default=None
        What was measured of the model, for its card.
    force : bool, default=False
        Whether a file that exists is replaced.
    classes : iterable of type, default=()
        Classes of your own that may occur in the model, beside those of skadm. Their
        attributes are saved as they are; `load` needs the same classes.

    Raises
    ------
    FileExistsError
        If there is a file and not `force`.
    OSError
        If it cannot be written. What was there before is kept.
    TypeError
        If something in the model is neither plain data nor of a known class; it is named.
    ValueError
        If a parameter is out of its range, an array holds NaN or infinity, the model is
        nested too deeply or refers to itself, or it is too large: arrays of 2 GiB, or
        4 MiB beside them.

    See Also
    --------
    load : Reads the model.
    card : Reads the card only.

    Notes
    -----
    Callbacks are not saved, and ``memory`` and ``checkpoints`` (folders of this machine)
    become None.

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
        raise IsADirectoryError(f"{place} is a folder; expected the name of a file.")
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
            "the model is nested too deeply to be saved, or refers to itself."
        ) from None
    text = json.dumps({"card": make_card(model, metrics), "model": tree}, allow_nan=False)
    _check_size(text, encoder.tensors)
    replace_atomically(place, lambda path: _write(path, encoder.tensors, text))


def load(
    path: str | PathLike, *, max_bytes: int = _MAX_BYTES, classes: Iterable[type] = ()
) -> Any:
    """Read a model; nothing in the file is executed, whoever made it.

    Parameters
    ----------
    path : str or path-like
        What `save` wrote.
    max_bytes : int, default=2147483647
        Largest file that is read. Loading takes no more memory than that, and 0.5 GiB for
        the structure of the model.
    classes : iterable of type, default=()
        Classes of your own that the file may name; they must be trusted to bear any
        attributes.

    Returns
    -------
    model : estimator
        It gives the scores of the one that was saved, to the bit, on the same machine and
        versions.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no such file, damaged, too large, or of another format; if it names a
        class that is not known, parameters are out of their range, arrays do not fit
        the parameters, or hold NaN or infinity. Pickles are refused.

    Warns
    -----
    UserWarning
        If another version of skadm wrote it. scikit-learn warns of its own versions.

    See Also
    --------
    save : Writes a model.
    card : Reads the card only.

    Notes
    -----
    That a file does no harm does not mean that its scores are good: whoever made it chose
    the weights, and what its card says.
    """
    with _opened(path, max_bytes) as (content, tensors):
        written_by = str(content["card"].get("skadm"))[:40]
        if written_by != __version__:
            warnings.warn(
                f"{path} was saved by skadm {written_by}, and this is skadm {__version__}: "
                "its scores may differ.",
                UserWarning,
                stacklevel=2,
            )
        decoder = Decoder(tensors.get_tensor, known_classes(classes))
        model = decoder.decode(content["model"])
        if not isinstance(model, BaseEstimator):
            raise ValueError(f"it holds {type(model).__name__}; expected an estimator.")
        if unused := set(tensors.keys()) - decoder.used.keys():
            raise ValueError(
                f"it holds {min(unused)[:80]!r}, which is no part of its model."
            )
        return model


def card(path: str | PathLike) -> dict[str, Any]:
    """Read the card of a model, and not the model.

    Parameters
    ----------
    path : str or path-like
        What `save` wrote.

    Returns
    -------
    card : dict
        What the model is, for what, its supervision (what its maps owe to knowledge of
        lesions) and when it was saved ("model", "intended_use", "supervision", "saved");
        "skadm" and other "versions"; "contrasts" in their order; "training_data" (numbers
        of slices, patients and brain pixels, SHA-256 of the slices); "intensities"
        (quantiles of each contrast over brain pixels); the "parts" it is made of, each with
        its "class", "parameters" and "threshold"; and "metrics". None where it is not
        known.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no such file, damaged, or of a newer format.
    """
    with _opened(path) as (content, _):
        return content["card"]


def _check_size(text: str, tensors: Mapping[str, NDArray]) -> None:
    """Refuse to write what would be refused when it is read."""
    header = len(json.dumps({_KEY: text}))
    header += sum(len(json.dumps(name)) + _ENTRY_BYTES for name in tensors)
    n_bytes = sum(tensor.nbytes for tensor in tensors.values())
    if header > _MAX_HEADER_BYTES or header + n_bytes > _MAX_BYTES:
        raise ValueError(
            f"the model has arrays of {n_bytes / 2**30:.2f} GiB, and {header / 2**20:.1f} "
            f"MiB beside them; expected less than {_MAX_BYTES / 2**30:.2f} GiB in all, and "
            f"{_MAX_HEADER_BYTES / 2**20:.1f} MiB beside the arrays."
        )


def _write(path: Path, tensors: Mapping[str, NDArray], text: str) -> None:
    path.touch()
    mode = path.stat().st_mode  # of any new file; safetensors makes it private
    try:
        save_file(dict(tensors), path, {_KEY: text})
    except SafetensorError as error:
        raise OSError(str(error)) from error
    path.chmod(mode)


@contextmanager
def _opened(
    path: str | PathLike, max_bytes: int = _MAX_BYTES
) -> Iterator[tuple[dict[str, Any], Any]]:
    """Yield card and model as JSON, and the tensors; what is wrong is a ValueError."""
    place = Path(path).expanduser()
    require_file(place)
    try:
        header = _read_header(place, max_bytes)
        # Checks types, shapes and offsets; no tensor is read before it is asked for.
        with safe_open(place, framework="numpy") as tensors:
            metadata = _parsed(header).get("__metadata__", {})
            if _KEY not in metadata:
                raise ValueError(f"its metadata has no {_KEY!r}: skadm did not save it.")
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
    """The JSON in front of the tensors, if there is as much of it as the file says."""
    size = path.stat().st_size
    if size > max_bytes:
        raise ValueError(f"it has {size} bytes; expected at most {max_bytes}.")
    with path.open("rb") as file:
        start = file.read(9)
        if start.startswith(b"PK\x03\x04"):  # longer than any header
            raise ValueError(
                "it was made by an older version of skadm, which wrote zip archives: fit "
                "the model again, and save it with skadm.save or 'skadm fit'."
            )
        if start[8:] != b"{":
            raise ValueError(
                "it is no file that skadm.save wrote. Pickles (.joblib, .pkl) are not "
                "loaded, since they can run any program: fit the model again and save it "
                "with skadm.save or 'skadm fit'."
            )
        n_bytes = int.from_bytes(start[:8], "little")
        if n_bytes > min(size - 8, _MAX_HEADER_BYTES):
            raise ValueError(
                f"its header claims to have {n_bytes} bytes; expected at most "
                f"{_MAX_HEADER_BYTES}, and no more than the {size - 8} that follow."
            )
        return start[8:] + file.read(n_bytes - 1)


def _parsed(text: str | bytes) -> Any:
    """JSON without what other readers may read differently."""
    return json.loads(
        text,
        object_pairs_hook=_without_duplicates,
        parse_float=_finite,
        parse_constant=_finite,
    )


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise ValueError("its header has two entries of one name.")
    return entries


def _finite(text: str) -> float:
    value = float(text)
    if value - value != 0:
        raise ValueError(f"its header holds {text[:40]}, which is no number of JSON.")
    return value


def _check_format(card: Any) -> None:
    number = card.get("format") if isinstance(card, dict) else None
    if type(number) is not int or number < 1:
        raise ValueError("its card does not say which format it has.")
    if number != FORMAT:
        raise ValueError(
            f"it has format {number}, written by skadm {str(card.get('skadm'))[:40]}; this "
            f"is skadm {__version__}, which reads format {FORMAT}: "
            + ("install a newer one." if number > FORMAT else "fit the model again.")
        )
