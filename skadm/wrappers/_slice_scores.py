"""One score for each slice."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skadm._arrays import as_numbers
from skadm._validation import check_labels, check_shape
from skadm.image_level import slice_labels
from skadm.wrappers._image_scores import ImageDetector
from skadm.wrappers._reading import Places, by_volume


class SliceDetector(ImageDetector):
    """One score for each slice, from the maps of a pixel detector.

    It is a scikit-learn outlier detector with labels +1 for normal and -1 for an anomaly,
    so ``scoring="roc_auc"``, `StratifiedGroupKFold` and other tools for labels can be
    used. X are slices of shape (n_slices, n_contrasts, H, W), as an array, a list or a
    `SliceStack`; y are labels of shape (n_slices,), or masks of shape (n_slices, H, W) as
    for pixel detectors.

    Parameters
    ----------
    detector : detector or Pipeline
        A detector of this package, or a Pipeline that ends in one. It is cloned, and
        trained on the normal slices.
    pooling : Pooling, default=None
        How a map becomes one number, see `skadm.pooling`. None: ``Quantile(0.01)``. Set
        it explicitly to search its parameters (``pooling__q``).
    contamination : float, default=0.01
        Fraction of the training slices that `predict` calls anomalous, in (0, 0.5]; sets
        `offset_`. The contamination of pixels is a parameter of the detector.

    Attributes
    ----------
    %(detector_)s
    %(pooling_)s
    %(offset_)s
    background_score_ : float
        Score of slices without brain, the highest of the training.
    %(n_features_in_)s

    See Also
    --------
    slice_labels : Makes labels of masks.
    VolumeDetector : One score for each volume.

    Notes
    -----
    Slices of one patient are correlated: split by patient, with ``groups=stack.groups``.

    scikit-learn's metrics take +1, the normal slices, as the positive class. ROC AUC is
    the same for both; for the average precision of anomalies, pass
    `anomaly_average_precision` as `scoring`.

    Examples
    --------
    >>> from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
    >>> from skadm import IntensityDetector, SliceDetector
    >>> from skadm.data import make_phantom
    >>> from skadm.image_level import slice_labels
    >>> stack = make_phantom(n_patients=4, n_slices=12, size=32, random_state=0)
    >>> detector = SliceDetector(IntensityDetector(prior={"FLAIR": 1}, sigma=1))
    >>> labels = slice_labels(stack.y)
    >>> folds = StratifiedGroupKFold(2)
    >>> cross_val_score(
    ...     detector, stack, labels, groups=stack.groups, scoring="roc_auc", cv=folds
    ... ).shape
    (2,)
    """

    _scored_unit = "slice"

    def _masks_to_labels(self, X: Any, y: Any) -> NDArray[np.int64] | None:
        y = as_numbers(y, "y")
        return slice_labels(check_labels(y, check_shape(X))) if y.ndim == 3 else None

    def _scored(self, X: Any) -> Iterator[tuple[Places, NDArray, NDArray[np.bool_]]]:
        for places, part in by_volume(X):
            decision, brain = self._decisions(part)
            scores = np.array([self._pool(*pair) for pair in zip(decision, brain)])
            yield places, scores, np.asarray(brain.any(axis=(1, 2)))
