"""A slice and its mirror image, scored alike."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from skadm._composed import ComposedDetector, Train, by_volume
from skadm.data import ArrayVolume, SliceStack


class FlipAveragedDetector(ComposedDetector):
    """Score every slice and its mirror image, and take the mean (test-time augmentation).

    The training flips slices at random, but a network does not become symmetric by it. The
    mean over both is: the map of a mirrored slice is the mirrored map, for twice the time
    of scoring.

    Parameters
    ----------
    detector : detector
        A detector of pixels. It is cloned and trained; one that is trained already can be
        given as ``sklearn.frozen.FrozenEstimator(detector)``.
    contamination : float, default=0.01
        Fraction of the training pixels that `predict` calls anomalous, in (0, 0.5].

    Attributes
    ----------
    detector_ : detector
        The fitted detector.
    offset_ : float
        Threshold of `predict` on the scale of `score_samples`.
    background_score_ : float
        Score of every background pixel, the highest of the training.
    n_features_in_ : int
        Number of contrasts.
    contrasts_ : tuple of str or None
        Their names, if X carried them.

    See Also
    --------
    EnsembleDetector : The mean over several trainings.

    Notes
    -----
    The mirror is the middle of the image, left to right (last axis).

    Examples
    --------
    >>> from skadm import DAEDetector, FlipAveragedDetector
    >>> from skadm.data import make_phantom
    >>> stack = make_phantom(n_patients=2, n_slices=8, size=32, random_state=0)
    >>> detector = FlipAveragedDetector(DAEDetector(width=4, max_epochs=2, random_state=0))
    >>> detector.fit(stack, stack.y).score_samples(stack).shape
    (16, 32, 32)
    """

    def __init__(self, detector, *, contamination: float = 0.01) -> None:
        self.detector = detector
        self.contamination = contamination

    def _fit_parts(self, train: Train, normal: Any) -> NDArray:
        self.detector_ = train(clone(self.detector))
        return by_volume(self._maps, normal)

    def _maps(self, X: Any) -> NDArray:
        own = self.detector_.score_samples(X)
        mirrored = self.detector_.score_samples(_flipped(X))
        return own / 2 + mirrored[..., ::-1] / 2  # the sum can be too large

    @property
    def _trained(self) -> Any:
        return self.detector_


def _flipped(X: Any) -> Any:
    """Mirror images of slices, which are of one volume if they are a stack."""
    flipped = np.ascontiguousarray(np.asarray(X)[..., ::-1])
    if not isinstance(X, SliceStack):
        return flipped
    volume = ArrayVolume(flipped, patient=str(X.groups[0]), contrasts=X.contrasts)
    return SliceStack.from_volumes([volume])
