"""Base class of the meta-detectors."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import MetaEstimatorMixin
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skadm._failure import restore_state_on_failure
from skadm._pipelines import (
    is_search,
    last_step,
    looks_at_abnormal,
    looks_through_slices,
    scored_unit,
)
from skadm._reference import ScoreReference
from skadm._sklearn import HasMethods, Interval, fit_context
from skadm._validation import check_labels, check_shape, normal_slices
from skadm.base import Detector
from skadm.base._contract import Chunk
from skadm.data import SliceStack
from skadm.data._slices import training_slices
from skadm.wrappers._reading import Places, read_if_it_fits, score_by_volume, take

Train = Callable[[Any], Any]
"""Fits a detector on the normal images and returns it."""


class MetaDetector(CallbackSupportMixin, MetaEstimatorMixin, Detector):
    """Base class of the detectors that train other detectors and change their scores.

    It keeps the contract of the detectors: higher is more normal; `fit` trains on normal
    slices only; `contamination` sets `offset_`, on the scale of the changed scores.
    Detectors can be nested.

    A wrapper implements `_fit_parts` and either `_maps` or, if its scores are not maps of
    X, `_scored`.

    Parameters
    ----------
    contamination : float, default=0.01
        Fraction of the training pixels that `predict` calls anomalous, in (0, 0.5].

    Notes
    -----
    `fit` reads each volume of a `SliceStack` once and passes the slices in memory, if the
    volumes fit into scikit-learn's `working_memory`. Otherwise they are read for every
    training inside, and once more for the threshold. Scoring methods read each volume
    once.
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "detector": [HasMethods(["fit", "score_samples"])],
        "contamination": [Interval(Real, 0, 0.5, closed="right")],
    }

    detector: Any
    contamination: float
    # Allowed units of the detector inside (see `scored_unit`), and whether it may be a
    # search.
    _takes_units: tuple[str, ...] = ("pixel",)
    _takes_searches = False

    # To be implemented by a wrapper.

    @abstractmethod
    def __init__(self, detector: Any, *, contamination: float = 0.01) -> None:
        self.detector = detector
        self.contamination = contamination

    def _fit_parts(self, train: Train, X: Any, normal: NDArray[np.intp]) -> NDArray:
        """Fit the detectors inside with `train`.

        Returns the scores of the brain pixels of ``X[normal]``.
        """
        raise NotImplementedError

    def _maps(self, X: Any, brain: NDArray[np.bool_]) -> NDArray:
        """Return maps of slices in memory: one volume in ascending z, or an array."""
        raise NotImplementedError

    def _scored(self, X: Any) -> Iterator[tuple[Places, NDArray, NDArray[np.bool_]]]:
        """Yield places in X, their scores and their brain."""
        return score_by_volume(self._maps, X)

    def _check(self) -> None:
        """Check the parameters before reading."""
        unit = scored_unit(self.detector)
        if unit not in self._takes_units:
            raise ValueError(
                f"{type(last_step(self.detector)).__name__} scores {unit}s; "
                f"{type(self).__name__} expects a detector that scores "
                f"{' or '.join(f'{name}s' for name in self._takes_units)}."
            )
        if is_search(self.detector) and not self._takes_searches:
            raise ValueError(
                f"{type(self).__name__} cannot train a {type(self.detector).__name__}, "
                "which needs masks. Search over the wrapper instead, with parameters "
                "such as detector__n_components."
            )

    def _n_trainings(self) -> int:
        return 1

    # Input. An image is the unit of a label in `fit`: a slice or a volume.

    def _for_training(self, X: Any, y: Any) -> Any:
        """Return the input of `fit`; without y, labels must not mark anomalies."""
        return training_slices(X, y)

    def _images(self, X: Any) -> Any:
        """Return indexable images, decoded if they fit into memory."""
        if self._needs_neighbours and not isinstance(X, SliceStack):
            raise ValueError(
                f"{self} uses neighbouring slices, but the volumes are unknown. Pass a "
                "SliceStack."
            )
        check_shape(X)
        return read_if_it_fits([X])[0]

    def _normal(self, X: Any, y: Any) -> NDArray[np.intp]:
        """Return the indices of the normal images, at least one."""
        return normal_slices(check_labels(y, check_shape(X)))

    def _slices(self, X: Any, images: NDArray[np.intp]) -> tuple[Any, NDArray[np.intp]]:
        """Return the training slices of some images, and the image of each slice."""
        return (X if len(images) == len(X) else X[images]), images

    # Common methods.

    @restore_state_on_failure
    @with_callbacks
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None) -> Any:
        """Train on the normal slices and set the threshold.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices. `VolumeDetector` takes a list of volumes.
        y : array-like of shape (n_slices, H, W), default=None
            Masks: 0 normal, 1 anomaly, -1 outside the brain. Slices with any pixel 1 are
            excluded from training; y has no other use unless the detector documents it.
            Detectors of slices or volumes also accept one label for each, +1 (normal) or
            -1 (anomaly). None: all are normal; a labelled `SliceStack` must not contain
            anomalies.

        Returns
        -------
        self : object
            The fitted detector.

        Raises
        ------
        ValueError
            If X or y has a wrong shape or invalid values, there is no normal slice or
            brain pixel, or y is None and X is a labelled stack with an anomaly.
        """
        self._check()
        X = self._images(self._for_training(X, y))
        normal = np.arange(len(X)) if y is None else self._normal(X, y)
        with self._training() as fit_detector:
            scores = self._fit_parts(
                lambda detector: fit_detector(detector, X, normal), X, normal
            )
        self.offset_ = float(np.quantile(scores, self.contamination))
        # Background gets the highest score of the training.
        self.background_score_ = float(scores.max())
        self._remember(scores)
        return self

    def _remember(self, scores: NDArray) -> None:
        """Store reference scores of normal pixels, pooled over patients."""
        if self._scored_unit == "pixel":
            self.training_scores_ = ScoreReference.of(scores, np.array([len(scores)]))

    @contextmanager
    def _training(self) -> Iterator[Callable[..., Any]]:
        """Report to callbacks; yield a function that fits a detector on normal images."""
        context = self._init_callback_context(max_subtasks=self._n_trainings())
        context.call_on_fit_task_begin(estimator=self)

        def fit_detector(
            detector: Any, X: Any, normal: NDArray[np.intp], **known: Any
        ) -> Any:
            task = context.subcontext(task_name="fit-detector")
            with task.propagate_callback_context(detector):
                task.call_on_fit_task_begin(estimator=self)
                if known:
                    detector.fit(X, **known)
                elif len(normal) < len(X) and _needs_abnormal(detector):
                    slices, image = self._slices(X, np.arange(len(X)))
                    _fit_with_abnormal(detector, slices, ~np.isin(image, normal))
                else:
                    # A frozen detector requires y.
                    detector.fit(self._slices(X, normal)[0], None)
                task.call_on_fit_task_end(estimator=self)
            return detector

        yield fit_detector
        context.call_on_fit_task_end(estimator=self)

    def _images_for_threshold(
        self, X: Any, normal: NDArray[np.intp]
    ) -> tuple[Any, NDArray[np.bool_]]:
        """Return the images to score for the threshold, and which of them are used.

        Detectors that use neighbouring slices also get slices with an anomaly: without
        them, slices would have different neighbours than in scoring.
        """
        counted = np.isin(np.arange(len(X)), normal)
        if self._needs_neighbours or counted.all():
            return X, counted
        return take(X, normal), counted[normal]

    def _normal_scores(self, X: Any, normal: NDArray[np.intp]) -> NDArray:
        """Return the scores of the normal images in the brain."""
        X, counted = self._images_for_threshold(X, normal)
        scores = []
        for places, some, shown in self._scored(X):
            rows = counted[places]
            scores.append(some[rows][shown[rows]])
        return np.concatenate(scores)

    def _chunks(self, X) -> Iterator[Chunk]:
        check_is_fitted(self)
        for places, scores, shown in self._scored(X):
            background = scores.dtype.type(self.background_score_)
            yield Chunk(places, np.where(shown, scores, background), shown)

    @property
    def _uses_abnormal_slices(self) -> bool:
        return looks_at_abnormal(self.detector)

    @property
    def _needs_neighbours(self) -> bool:
        return looks_through_slices(self.detector)

    @property
    def n_features_in_(self) -> int:
        """Number of contrasts seen in `fit`."""
        check_is_fitted(self)
        return self._trained.n_features_in_

    @property
    def contrasts_(self) -> tuple[str, ...] | None:
        """Names of the contrasts, if known."""
        check_is_fitted(self)
        return getattr(last_step(self._trained), "contrasts_", None)

    @property
    def _trained(self) -> Any:
        """A fitted detector with the attributes of the training data."""
        return self.detector_


def _needs_abnormal(detector: Any) -> bool:
    """Whether `fit` also needs slices with an anomaly, without training on them."""
    return looks_at_abnormal(detector) or looks_through_slices(detector)


def _fit_with_abnormal(detector: Any, slices: Any, abnormal: NDArray[np.bool_]) -> None:
    """Fit a detector or a Pipeline with slice-level labels."""
    while isinstance(detector, Pipeline):
        # As in a Pipeline, but steps are fitted to normal slices, and masks have the size
        # after the steps.
        if len(detector.steps) > 1:
            steps = detector[:-1].fit(slices[~abnormal])
            slices = steps.transform(slices)
        detector = detector[-1]
    marks = np.zeros((len(slices), *slices.shape[2:]), np.int8)
    marks[abnormal] = 1
    detector.fit(slices, marks)
