"""The contract of all detectors: what a fitted one can do."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray
from sklearn.base import BaseEstimator, OutlierMixin

from skadm._brain import ignore_background
from skadm._disk import release
from skadm._docstrings import with_descriptions
from skadm._reference import ScoreReference, ScoreWatch
from skadm._validation import check_labels, check_shape
from skadm.data._slices import as_slices
from skadm.metrics import pixel_roc_auc_score


class Chunk(NamedTuple):
    """Scores of some slices or volumes."""

    places: slice | NDArray[np.intp]  # their indices in X
    maps: NDArray  # (n, H, W), or (n,): normality; `background_score_` in the background
    # brain, of the shape of the maps; for slices and volumes, whether there is brain
    brain: NDArray[np.bool_]


class Detector(OutlierMixin, BaseEstimator, ABC):
    """Public methods of a fitted detector: scores, threshold, labels, AUC.

    It requires `_chunks`, and `offset_` and `background_score_` from the fit. In the
    docstring of a subclass, a line ``%(contamination)s`` is replaced by the description
    in a base class.

    Attributes
    ----------
    offset_ : float
        Threshold of `predict` on the scale of `score_samples`.
    background_score_ : float
        Score of every background pixel: the highest score of the training.
    n_features_in_ : int
        K, the number of contrasts.
    contrasts_ : tuple of str or None
        Names of the contrasts, if X has them.
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls.__doc__ = with_descriptions(cls)

    _scored_unit = "pixel"

    offset_: float
    background_score_: float
    training_scores_: ScoreReference

    @abstractmethod
    def _chunks(self, X: Any) -> Iterator[Chunk]:
        """Yield the scores of all slices of X, chunk by chunk."""

    def _watched_chunks(self, X: Any) -> Iterator[Chunk]:
        """Yield chunks, then warn about brains unlike those of the training."""
        if not hasattr(self, "training_scores_"):  # not a pixel detector, or an old model
            yield from self._chunks(X)
            return
        volumes = getattr(X, "volume_ids", [None] * len(X))
        watch = ScoreWatch(self.training_scores_, self.offset_, volumes)
        places = np.arange(len(X))
        for chunk in self._chunks(X):
            watch.add(places[chunk.places], chunk.maps, chunk.brain)
            yield chunk
        watch.warn()

    def _input(self, X: Any) -> Any:
        """Convert the input to slices, or to volumes for volume detectors."""
        return as_slices(X)

    def _shape_and_type(self, X: Any) -> tuple[tuple[int, ...], DTypeLike]:
        """Return the shape and type of the scores of X."""
        return map_shape(X), map_dtype(X)

    def score_samples(
        self, X: Any, out: NDArray[np.floating] | None = None
    ) -> NDArray[np.floating]:
        """Compute the normality of every pixel, or of every slice or volume.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices with the contrasts of the training, in the same order. A `SliceStack`
            is read volume by volume, a memory-mapped array chunk by chunk. For volume
            detectors, a list of volumes.
        out : ndarray of the shape of the scores, default=None
            Output array, such as a `numpy.memmap`: then only some of the slices and maps
            are in memory at a time. None: a new array.

        Returns
        -------
        scores : ndarray of shape (n_slices, H, W), (n_slices,) or (n_volumes,)
            Higher is more normal; finite everywhere. Background holds
            `background_score_`, the highest score of the training. As in scikit-learn,
            float64 for X in float64 and float32 for X in float32. `out`, if given.

        Raises
        ------
        ValueError
            If X has a wrong shape, other contrasts than the training, NaN or infinity, or
            `out` has a wrong shape or type. If an error occurs while X is read, `out` may
            hold some of the maps.
        """
        X = self._input(X)
        shape, dtype = self._shape_and_type(X)
        out = np.empty(shape, dtype) if out is None else out
        if out.shape != shape or out.dtype.kind != "f":
            raise ValueError(
                f"out has shape {out.shape} and type {out.dtype}; expected floating-point "
                f"numbers of shape {shape}."
            )
        for chunk in self._watched_chunks(X):
            out[chunk.places] = chunk.maps
            release(out)
        return out

    def decision_function(self, X: Any) -> NDArray[np.floating]:
        """Compute the normality relative to the threshold.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices, or a list of volumes, as in `score_samples`.

        Returns
        -------
        scores : ndarray of shape (n_slices, H, W), (n_slices,) or (n_volumes,)
            ``score_samples(X) - offset_``: negative for anomalies, never in the background.
        """
        X = self._input(X)
        out = np.empty(*self._shape_and_type(X))
        for chunk in self._watched_chunks(X):
            out[chunk.places] = self._decision(chunk)
        return out

    def predict(self, X: Any) -> NDArray[np.int8]:
        """Label every pixel, or every slice or volume.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices, or a list of volumes, as in `score_samples`.

        Returns
        -------
        labels : ndarray of int8, shape (n_slices, H, W), (n_slices,) or (n_volumes,)
            -1 for an anomaly, +1 for normal and for background.
        """
        X = self._input(X)
        labels = np.empty(self._shape_and_type(X)[0], np.int8)
        for chunk in self._watched_chunks(X):
            labels[chunk.places] = np.where(self._decision(chunk) < 0, -1, 1)
        return labels

    def _decision(self, chunk: Chunk) -> NDArray:
        decision = chunk.maps - chunk.maps.dtype.type(self.offset_)
        return np.maximum(decision, 0, out=decision, where=~chunk.brain)

    def fit_predict(self, X: Any, y: Any = None) -> NDArray[np.int8]:
        """Fit the detector and label the same data.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices, or a list of volumes, as in `fit`.
        y : array-like of shape (n_slices, H, W), default=None
            Masks or labels, as in `fit`.

        Returns
        -------
        labels : ndarray of int8, shape (n_slices, H, W), (n_slices,) or (n_volumes,)
            -1 for an anomaly, +1 for normal and for background.
        """
        # scikit-learn's fit_predict ignores y, and would train on slices with an anomaly.
        return self.fit(X, y).predict(X)

    def score(self, X: Any, y: Any) -> float:
        """Compute the ROC AUC over brain pixels, with the anomaly as positive class.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices.
        y : array-like of shape (n_slices, H, W)
            Masks: 0 normal, 1 anomaly, -1 outside the brain.

        Returns
        -------
        auc : float
            ROC AUC over all brain pixels of all slices. Anomalies outside the brain, e.g.
            removed by skull stripping, count as missed.
        """
        X = self._input(X)
        y = check_labels(y, check_shape(X))
        maps = np.empty(y.shape, map_dtype(X))
        for chunk in self._watched_chunks(X):
            maps[chunk.places] = chunk.maps
            y[chunk.places] = ignore_background(y[chunk.places], chunk.brain)
        return pixel_roc_auc_score(y, maps)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags


def map_shape(X) -> tuple[int, ...]:
    shape = check_shape(X)
    return (shape[0], *shape[2:])


def map_dtype(X) -> DTypeLike:
    """Return the type of the maps: as in scikit-learn, that of X, float32 or float64."""
    return np.float64 if X.dtype.itemsize > 8 else np.result_type(X.dtype, np.float32)
