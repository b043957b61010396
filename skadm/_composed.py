"""Detectors that are made of detectors: one training, one threshold, volume by volume."""

import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import MetaEstimatorMixin, _fit_context
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.utils import _safe_indexing
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import check_is_fitted

from skadm._brain import brain_mask
from skadm._disk import release, row_chunks
from skadm._unchanged import unchanged_on_failure
from skadm._validation import check_labels, check_shape, normal_slices
from skadm.base import (
    Chunk,
    MapDetector,
    looks_at_abnormal,
    looks_through_slices,
)
from skadm.data import SliceStack, as_slices
from skadm.data._slices import training_slices
from skadm.reference import FlaggedShareWarning, ScoreReference

Train = Callable[[Any], Any]


class ComposedDetector(CallbackSupportMixin, MetaEstimatorMixin, MapDetector):
    """Base of detectors that train others and make something of their maps.

    It keeps the contract of the detectors: maps of normality, higher = more normal; `fit`
    trains on normal slices only; `contamination` sets `offset_`, of its own maps. What
    looks through slices is given whole volumes.
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "detector": [HasMethods(["fit", "score_samples"])],
        "contamination": [Interval(Real, 0, 0.5, closed="right")],
    }

    detector: Any
    contamination: float

    @abstractmethod
    def _fit_parts(self, train: Train, normal: Any) -> NDArray:
        """Fit what it is made of, with `train` for each detector; its maps of `normal`."""

    @abstractmethod
    def _maps(self, X: Any) -> NDArray:
        """Maps of slices that belong together: of a volume from below, or of an array."""

    @property
    @abstractmethod
    def _trained(self) -> Any:
        """A fitted detector, to ask what the data was like."""

    def _check(self) -> None:
        """Refuse parameters that cannot be, before anything is trained."""

    @unchanged_on_failure
    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Train on the normal slices, and find the threshold.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices.
        y : array-like of shape (n_slices, H, W), default=None
            Masks: 0 normal, 1 anomaly, -1 outside the brain. Slices with any pixel 1 are
            left out; y is used for nothing else, but where the detector says so. None: all
            slices are normal; a labelled `SliceStack` must agree.

        Returns
        -------
        self : object
            The fitted detector.

        Raises
        ------
        ValueError
            If X or y has a wrong shape or values, no slice is normal, no pixel shows
            brain, or y is None and X is a labelled stack that holds an anomaly.
        """
        self._check()
        X = training_slices(X, y)
        if self._looks_through and not isinstance(X, SliceStack):
            raise ValueError(
                f"{self} looks through slices, and does not know which are of one volume: "
                "give a SliceStack."
            )
        context = self._init_callback_context(max_subtasks=self._n_trainings())
        context.call_on_fit_task_begin(estimator=self)
        shape = check_shape(X)
        chosen = np.arange(shape[0])
        if y is not None:
            chosen = normal_slices(check_labels(y, shape))
        normal = X if len(chosen) == shape[0] else _safe_indexing(X, chosen)
        whole = (X, y) if self._looks_at_abnormal else (normal, None)

        def train(detector: Any) -> Any:
            task = context.subcontext(task_name="fit-detector")
            with task.propagate_callback_context(detector):
                task.call_on_fit_task_begin(estimator=self)
                detector.fit(*whole)  # a frozen one insists on a y
                task.call_on_fit_task_end(estimator=self)
            return detector

        maps = self._fit_parts(train, normal)
        if self._looks_through and normal is not X:
            # Between the slices that are left out, as when others are scored.
            maps = by_volume(self._maps, X)[chosen]
        brain = brain_of(normal)
        scores = maps[brain]
        self.offset_ = float(np.quantile(scores, self.contamination))
        # Background is as normal as anything: the highest score of the training.
        self.background_score_ = float(scores.max())
        self.training_scores_ = ScoreReference.of(
            scores, brain.sum(axis=(1, 2)), getattr(normal, "groups", None)
        )
        context.call_on_fit_task_end(estimator=self)
        return self

    def _n_trainings(self) -> int:
        return 1

    @property
    def _looks_at_abnormal(self) -> bool:
        return looks_at_abnormal(self.detector)

    @property
    def _looks_through(self) -> bool:
        return looks_through_slices(self.detector)

    @property
    def n_features_in_(self):
        """Number of contrasts seen in `fit`."""
        check_is_fitted(self)
        return self._trained.n_features_in_

    @property
    def contrasts_(self) -> tuple[str, ...] | None:
        """Their names, if X carried them."""
        check_is_fitted(self)
        return getattr(self._trained, "contrasts_", None)

    def _chunks(self, X) -> Iterator[Chunk]:
        check_is_fitted(self)
        for places, part in _volumes(X):
            with warnings.catch_warnings():
                # Thresholds of the parts are not in use.
                warnings.simplefilter("ignore", FlaggedShareWarning)
                maps = self._maps(part)
            brain = brain_mask(np.asarray(part))
            background = maps.dtype.type(self.background_score_)
            yield Chunk(places, np.where(brain, maps, background), brain)


def by_volume(function: Callable[[Any], NDArray], X: Any) -> NDArray:
    """What a function makes of each volume, in the order of the slices.

    Parameters
    ----------
    function : callable
        Takes slices in memory, and returns maps (n, H, W).
    X : array or SliceStack of shape (n_slices, n_contrasts, H, W)
        A stack is read volume by volume, an array chunk by chunk.

    Returns
    -------
    maps : ndarray of shape (n_slices, H, W)

    Raises
    ------
    ValueError
        If there is no slice.
    """
    maps = None
    for places, part in _volumes(X):
        own = function(part)
        if maps is None:
            maps = np.empty_like(own, shape=(len(X), *own.shape[1:]))
        maps[places] = own
    if maps is None:
        raise ValueError("X holds no slice; expected at least 1.")
    return maps


def brain_of(X: Any) -> NDArray[np.bool_]:
    """Brain of all slices, of which no more than a volume is in memory at a time.

    Parameters
    ----------
    X : array or SliceStack of shape (n_slices, n_contrasts, H, W)
        Slices.

    Returns
    -------
    brain : ndarray of bool, shape (n_slices, H, W)
    """
    return by_volume(lambda part: brain_mask(np.asarray(part)), X)


def _volumes(X) -> Iterator[tuple[slice | NDArray[np.intp], Any]]:
    """Yield what has to be seen together: a volume from below; of an array, some slices."""
    X = as_slices(X)
    if not isinstance(X, SliceStack):
        for rows in row_chunks(len(X), X[:1].nbytes):
            yield rows, X[rows]
            release(X)
        return
    names = X.volume_ids
    for name in dict.fromkeys(names.tolist()):
        places = np.flatnonzero(names == name)
        places = places[np.argsort(X.z[places], kind="stable")]
        yield places, X[places].in_memory()
