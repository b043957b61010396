"""Conversion of any X to slices, for fitting and scoring."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skadm._arrays import as_numbers
from skadm._brain import brain_mask
from skadm._disk import is_on_disk, release, row_chunks
from skadm.data._interfaces import Slices
from skadm.data._stack import SliceStack


def as_slices(X: Any) -> SliceStack | NDArray:
    """Convert X to slices; all of skadm reads X with this function.

    A `SliceStack` is returned unchanged. Any other input that `as_numbers` accepts
    becomes an array of the same type, without a copy for arrays and tensors in main
    memory. The shape is not checked. Raises a ValueError for booleans and for float16
    with overflow.
    """
    if isinstance(X, SliceStack):
        return X
    array = as_numbers(X, "X")
    if array.dtype == bool:
        raise ValueError(
            "X holds booleans, as a mask does; expected intensities. Pass a mask as y, "
            "or apply it: numpy.where(mask, X, 0)."
        )
    if array.dtype == np.float16 and np.isinf(array).any():
        raise ValueError(
            "X has type float16 and holds infinity, since float16 ends at 65504. "
            "Convert the original images to float32."
        )
    return array


def is_lazy(X: SliceStack | NDArray) -> bool:
    """Whether slices are read from files on access."""
    return isinstance(X, SliceStack) or is_on_disk(X)


def in_chunks(
    X: SliceStack | NDArray,
    *,
    chosen: NDArray[np.intp] | None = None,
    check: Callable[[NDArray], NDArray] | None = None,
) -> Iterator[Slices]:
    """Yield slices without labels, one volume or one chunk of an array at a time.

    `chosen` are the slices to read, by default all; `places` are among them. `check` is
    applied to the images first and may convert them.
    """
    if isinstance(X, SliceStack):
        for part in (X if chosen is None else X[chosen]).chunks(labels=False):
            yield part if check is None else part._replace(images=check(part.images))
        return
    for rows in row_chunks(len(X) if chosen is None else len(chosen), X[:1].nbytes):
        images = X[rows if chosen is None else chosen[rows]]
        images = images if check is None else check(images)
        yield Slices(images, brain_mask(images), places=rows)
        release(X)


def brain_of(X: SliceStack | NDArray) -> NDArray[np.bool_]:
    """Return the brain of slices, (n_slices, H, W).

    For a stack it comes with reading; for an array it is computed.
    """
    return X.brain if isinstance(X, SliceStack) else brain_mask(X)


def training_slices(X: Any, y: Any) -> SliceStack | NDArray:
    """Return the slices for `fit`, which never trains on a known anomaly.

    A labelled stack is returned without labels, since y replaces them. Without y, reading
    raises a ValueError as soon as a slice contains an anomaly, so labels need no separate
    pass.
    """
    X = as_slices(X)
    if not isinstance(X, SliceStack) or not X.has_labels:
        return X
    if y is not None:
        return X.without_labels()
    return X._with(
        [
            volume.changed(labelled=False, normal=X.z[places])
            for volume, places in X.volume_places()
        ]
    )
