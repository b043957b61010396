"""Averaging over a slice and its mirror image."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from skadm.data import SliceStack
from skadm.data._interfaces import Grid, VolumeStep
from skadm.wrappers._meta_detector import MetaDetector, Train
from skadm.wrappers._reading import score_maps


class FlipAveragedDetector(MetaDetector):
    """Average the scores of a slice and its mirror image (test-time augmentation).

    Random flips in training do not make a network symmetric. The mean is: the map of a
    mirrored slice is the mirrored map. Scoring takes twice as long.

    Parameters
    ----------
    detector : detector
        A detector of pixels. It is cloned and trained; a fitted one can be passed as
        ``sklearn.frozen.FrozenEstimator(detector)``.
    %(contamination)s

    Attributes
    ----------
    detector_ : detector
        The fitted detector.
    %(offset_)s
    %(background_score_)s
    %(n_features_in_)s
    %(contrasts_)s

    See Also
    --------
    EnsembleDetector : Mean over several trainings.

    Notes
    -----
    Images are mirrored left to right (last axis) about their middle.

    Examples
    --------
    >>> from skadm import DAEDetector, FlipAveragedDetector
    >>> from skadm.data import make_phantom
    >>> stack = make_phantom(n_patients=2, n_slices=8, size=32, random_state=0)
    >>> detector = FlipAveragedDetector(DAEDetector(width=4, max_epochs=2, random_state=0))
    >>> detector.fit(stack, stack.y).score_samples(stack).shape
    (16, 32, 32)
    """

    def __init__(self, detector: Any, *, contamination: float = 0.01) -> None:
        self.detector = detector
        self.contamination = contamination

    def _fit_parts(self, train: Train, X: Any, normal: NDArray[np.intp]) -> NDArray:
        self.detector_ = train(clone(self.detector))
        return self._normal_scores(X, normal)

    def _maps(self, X: Any, brain: NDArray[np.bool_]) -> NDArray:
        maps = score_maps(self.detector_, X)
        mirrored = score_maps(self.detector_, _mirrored(X))
        return maps / 2 + mirrored[..., ::-1] / 2  # the sum could overflow


def _mirrored(X: Any) -> Any:
    """Return mirrored slices; a stack keeps its metadata."""
    if isinstance(X, SliceStack):
        return X.map(_LeftRight())
    return np.ascontiguousarray(X[..., ::-1])


@dataclass(frozen=True)
class _LeftRight(VolumeStep):
    """Mirrors a volume."""

    def images(
        self, images: NDArray[np.float32], brain: NDArray[np.bool_], grid: Grid
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        return np.ascontiguousarray(images[..., ::-1]), brain[..., ::-1]

    def labels(
        self, labels: NDArray[np.int8], brain: NDArray[np.bool_], grid: Grid
    ) -> NDArray[np.int8]:
        return labels[..., ::-1]

    def invert(self, maps: NDArray, grid: Grid) -> NDArray:
        return maps[..., ::-1]
