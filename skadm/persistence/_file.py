"""Saving and loading of models, and their cards."""

import warnings
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any

from sklearn.base import BaseEstimator

from skadm._files import replace_atomically
from skadm._version import __version__
from skadm.persistence._archive import MAX_BYTES, Archive, opened, write_archive
from skadm.persistence._card import FORMAT, make_card
from skadm.persistence._classes import Classes
from skadm.persistence._objects import Decoder, Encoder


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
        The file, as a rule ``*.skadm``.
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
        If the model is too large: arrays of 2 GiB, or 4 MiB beside them.

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
    known = Classes(classes)
    if not isinstance(model, BaseEstimator) or known.name_of(type(model)) is None:
        raise TypeError(
            f"model is a {type(model).__module__}.{type(model).__qualname__}; expected a "
            "detector, filter or transformer of skadm, or a Pipeline of them."
        )
    encoder = Encoder(known)
    tree = encoder.encode(model, type(model).__name__)
    texts = {"card.json": make_card(model, metrics), "model.json": tree}
    replace_atomically(place, lambda at: write_archive(at, texts, encoder.arrays))


def load(
    path: str | PathLike, *, max_bytes: int = MAX_BYTES, classes: Iterable[type] = ()
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
        If it is no such file, damaged, too large, of a newer format, or names a class that
        is not known; pickles are refused.

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
    with opened(Path(path).expanduser(), max_bytes) as archive:
        written_by = str(_read_card(archive).get("skadm"))[:40]
        if written_by != __version__:
            warnings.warn(
                f"{path} was saved by skadm {written_by}, and this is skadm {__version__}: "
                "its scores may differ.",
                UserWarning,
                stacklevel=2,
            )
        model = Decoder(archive, Classes(classes)).decode(archive.text("model.json"))
        if not isinstance(model, BaseEstimator):
            raise ValueError(f"it holds {type(model).__name__}; expected an estimator.")
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
    with opened(Path(path).expanduser()) as archive:
        return _read_card(archive)


def _read_card(archive: Archive) -> dict[str, Any]:
    found = archive.text("card.json")
    number = found.get("format") if isinstance(found, dict) else None
    if type(number) is not int or number < 1:
        raise ValueError("its card does not say which format it has.")
    if number > FORMAT:
        raise ValueError(
            f"it has format {number}, written by skadm {str(found.get('skadm'))[:40]}; "
            f"this is skadm {__version__}, which reads formats up to {FORMAT}: install a "
            "newer one."
        )
    return found
