"""Any input as slices, for fit and score alike."""

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
    """Make slices of whatever a user gives; all of skadm reads its X by this function.

    A `SliceStack` stays as it is. All else that `as_numbers` takes becomes an array of the
    type that it has, not copied where it is an array or a tensor in main memory. Its shape
    is not checked. Booleans, and float16 that overflowed, are a ValueError too.
    """
    if isinstance(X, SliceStack):
        return X
    array = as_numbers(X, "X")
    if array.dtype == bool:
        raise ValueError(
            "X holds booleans, as a mask does; expected intensities. A mask goes to y, or "
            "is applied: numpy.where(mask, X, 0)."
        )
    if array.dtype == np.float16 and np.isinf(array).any():
        raise ValueError(
            "X is of type float16 and holds infinity: numbers beyond 65504 do not fit. "
            "Convert the original images to float32."
        )
    return array


def is_lazy(X: SliceStack | NDArray) -> bool:
    """Whether slices are read from files when they are looked at."""
    return isinstance(X, SliceStack) or is_on_disk(X)


def in_chunks(
    X: SliceStack | NDArray,
    *,
    chosen: NDArray[np.intp] | None = None,
    check: Callable[[NDArray], NDArray] | None = None,
) -> Iterator[Slices]:
    """Read slices without labels, some at a time: a volume, or a chunk of an array.

    `chosen` are those to read, by default all; the places that are yielded are among them.
    `check` is what the images go through first; it may convert them.
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
    """The brain of slices, (n_slices, H, W).

    A stack knows the brain when it is read; in an array it is found now.
    """
    return X.brain if isinstance(X, SliceStack) else brain_mask(X)


def training_slices(X: Any, y: Any) -> SliceStack | NDArray:
    """Slices for `fit`, which never trains on an anomaly that is known.

    A labelled stack comes back without its labels: y speaks in their place. If there is no
    y, reading it raises a ValueError as soon as a slice holds an anomaly. So labels are not
    read apart from the images.
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
