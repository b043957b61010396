"""Choosing the threshold of a fitted detector."""

from typing import Any

from numpy.typing import ArrayLike, NDArray

from skadm._arrays import as_numbers
from skadm._brain import ignore_background
from skadm._pipelines import as_seen, looks_through_slices
from skadm._validation import check_labels, check_shape
from skadm.data import as_slices
from skadm.data._slices import in_chunks
from skadm.metrics import best_f1_threshold


def set_offset_by_f1(detector: Any, X: Any, y: ArrayLike) -> Any:
    """Set the threshold of a fitted detector to the one with the best F1.

    The way of the paper (2.6): the slices should be abnormal ones that are neither trained
    on nor tested on. Nothing but `offset_` changes.

    Parameters
    ----------
    detector : detector or Pipeline
        Fitted; of a Pipeline, the last step is the detector.
    X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
        Validation slices, as ``detector.score_samples`` takes them.
    y : array-like of shape (n_slices, H, W)
        Masks: 0 normal, 1 anomaly, -1 outside the brain; of the size of the score maps,
        which matters where a Pipeline resizes.

    Returns
    -------
    detector : detector or Pipeline
        The same object, with the new `offset_`.

    Raises
    ------
    ValueError
        If y does not fit X, or holds no anomalous or no normal pixel.

    Examples
    --------
    >>> from skadm import IntensityDetector
    >>> from skadm.data import make_phantom
    >>> from skadm.model_selection import set_offset_by_f1
    >>> stack = make_phantom(n_patients=2, n_slices=8, size=32, random_state=0)
    >>> detector = IntensityDetector().fit(stack, stack.y)
    >>> abnormal = (stack.y == 1).any(axis=(1, 2))
    >>> detector = set_offset_by_f1(detector, stack[abnormal], stack.y[abnormal])
    """
    last, X = as_seen(detector, X)
    last.offset_ = best_f1_threshold(labels_in_brain(X, y), last.score_samples(X))
    return detector


def set_offset_on_abnormal_slices(detector: Any, X: Any, y: ArrayLike) -> Any:
    """Set the threshold to that with the best F1 on the abnormal slices of whole volumes.

    As `set_offset_by_f1` with the slices that hold an anomaly, but a detector that looks
    through slices sees the others beside them, as it will when it scores new patients.

    Parameters
    ----------
    detector : detector or Pipeline
        Fitted; of a Pipeline, the last step is the detector.
    X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
        All slices of the patients, as ``detector.score_samples`` takes them.
    y : array-like of shape (n_slices, H, W)
        Masks, as in `set_offset_by_f1`.

    Returns
    -------
    detector : detector or Pipeline
        The same object, with the new `offset_`.

    Raises
    ------
    ValueError
        If y does not fit X, or holds no anomaly.

    Examples
    --------
    >>> from skadm import IntensityDetector
    >>> from skadm.data import make_phantom
    >>> from skadm.model_selection import set_offset_on_abnormal_slices
    >>> stack = make_phantom(n_patients=2, n_slices=8, size=32, random_state=0)
    >>> detector = IntensityDetector().fit(stack, stack.y)
    >>> detector = set_offset_on_abnormal_slices(detector, stack, stack.y)
    """
    X = as_slices(X)
    masks = as_numbers(y, "y")
    labels = check_labels(masks, (check_shape(X)[0], 1, *masks.shape[1:]))
    abnormal = (labels == 1).any(axis=(1, 2))
    if not abnormal.any():
        raise ValueError(
            f"no slice with an anomaly among {len(labels)}: expected pixels with y == 1."
        )
    if not looks_through_slices(detector):
        return set_offset_by_f1(detector, X[abnormal], labels[abnormal])
    labels[~abnormal] = -1  # seen, but not counted
    return set_offset_by_f1(detector, X, labels)


def labels_in_brain(X: Any, y: ArrayLike) -> NDArray:
    """Make masks -1 outside the brain of the slices, but for anomalies.

    Parameters
    ----------
    X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
        Slices.
    y : array-like of shape (n_slices, H, W)
        Masks: 0 normal, 1 anomaly, -1 outside the brain.

    Returns
    -------
    y : ndarray of shape (n_slices, H, W)
        A copy.

    Raises
    ------
    ValueError
        If X or y has a wrong shape, or y wrong values.
    """
    X = as_slices(X)
    labels = check_labels(y, check_shape(X))
    for part in in_chunks(X):
        labels[part.places] = ignore_background(labels[part.places], part.brain)
    return labels
