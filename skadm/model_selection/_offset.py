"""Selection of the threshold of a fitted detector."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skadm._arrays import as_numbers
from skadm._brain import ignore_background
from skadm._pipelines import looks_through_slices, unwrap_with_input
from skadm._validation import check_labels, check_shape
from skadm.data._slices import as_slices
from skadm.metrics import best_f1_threshold
from skadm.wrappers._reading import score_by_volume, score_maps

# Share of normal pixels, our choice. Lesions rarely exceed 16 % of the brain.
_MOST_FLAGGED = 0.5


def set_offset_by_f1(
    detector: Any, X: Any, y: ArrayLike, *, abnormal_only: bool = False
) -> Any:
    """Set the threshold of a fitted detector to the one with the best F1.

    As in the paper (2.6). Use abnormal slices that are neither trained nor tested on.
    Only `offset_` changes. Each volume is read once.

    Parameters
    ----------
    detector : detector or Pipeline
        Fitted detector, or a Pipeline that ends in one.
    X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
        Validation slices, as ``detector.score_samples`` takes them.
    y : array-like of shape (n_slices, H, W)
        Masks: 0 normal, 1 anomaly, -1 outside the brain; of the size of the score maps,
        even if the Pipeline resizes.
    abnormal_only : bool, default=False
        Whether to use only slices with an anomaly. X should still hold all slices of the
        patients: detectors that use neighbouring slices need them, as for new patients.

    Returns
    -------
    detector : detector or Pipeline
        The same object, with the new `offset_`.

    Raises
    ------
    ValueError
        If y does not match X, or holds no anomalous or no normal pixel.

    Warns
    -----
    UserWarning
        If the threshold flags more than half of the normal pixels.

    Examples
    --------
    >>> from skadm import IntensityDetector
    >>> from skadm.data import make_phantom
    >>> from skadm.model_selection import set_offset_by_f1
    >>> stack = make_phantom(n_patients=2, n_slices=8, size=32, random_state=0)
    >>> detector = IntensityDetector().fit(stack, stack.y)
    >>> detector = set_offset_by_f1(detector, stack, stack.y, abnormal_only=True)
    """
    X = as_slices(X)
    masks = as_numbers(y, "y")
    if abnormal_only:
        masks = check_labels(masks, (check_shape(X)[0], 1, *masks.shape[1:]))
        abnormal = (masks == 1).any(axis=(1, 2))
        if not abnormal.any():
            raise ValueError(
                f"none of the {len(masks)} slices has an anomaly; expected pixels with y "
                "== 1."
            )
        if looks_through_slices(detector):
            masks[~abnormal] = -1  # scored, but not evaluated
        else:
            X, masks = X[abnormal], masks[abnormal]
    last, X = unwrap_with_input(detector, X)
    labels = check_labels(masks, check_shape(X))
    parts = [
        (ignore_background(labels[places], brain), maps)
        for places, maps, brain in score_by_volume(
            lambda part, _: score_maps(last, part), X
        )
    ]
    labels, maps = map(np.concatenate, zip(*parts))
    last.offset_ = best_f1_threshold(labels, maps)
    flagged = np.mean(maps[labels == 0] < last.offset_)
    if flagged > _MOST_FLAGGED:
        warnings.warn(
            f"the threshold with the best F1 flags {flagged:.0%} of the normal pixels: the "
            "scores hardly separate them from lesions. Train longer, or choose another "
            "detector or prior.",
            UserWarning,
            stacklevel=2,
        )
    return detector
