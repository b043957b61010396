"""What all wrappers of a detector share: one training, one threshold, one reading."""

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

from skadm._failure import unchanged_on_failure
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
from skadm.base import Chunk, Detector
from skadm.data import SliceStack
from skadm.data._slices import training_slices
from skadm.wrappers._reading import Places, read_if_it_fits, score_by_volume, take

Train = Callable[[Any], Any]
"""Fits a detector on the normal images, and returns it."""


class MetaDetector(CallbackSupportMixin, MetaEstimatorMixin, Detector):
    """Base of the detectors that train other detectors and change their scores.

    It keeps the contract of the detectors: higher is more normal; `fit` trains on normal
    slices only; `contamination` sets `offset_`, on the scale of its own scores. Detectors
    may be nested in any order that makes sense.

    A wrapper implements `_fit_parts` and either `_maps` or, if its scores are not maps of
    X, `_scored`.

    Parameters
    ----------
    contamination : float, default=0.01
        Fraction of the training pixels that `predict` calls anomalous, in (0, 0.5].

    Notes
    -----
    `fit` reads each volume of a `SliceStack` once and hands the slices on in memory, if
    the volumes take no more than scikit-learn's `working_memory`. Otherwise they are read
    for every training within, and once more for the threshold. Methods that score read
    each volume once.
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "detector": [HasMethods(["fit", "score_samples"])],
        "contamination": [Interval(Real, 0, 0.5, closed="right")],
    }

    detector: Any
    contamination: float
    # What the detector inside may score (see `scored_unit`), and whether it may
    # be a search.
    _takes_units: tuple[str, ...] = ("pixel",)
    _takes_searches = False

    # What a wrapper says.

    @abstractmethod
    def __init__(self, detector, *, contamination: float = 0.01) -> None:
        self.detector = detector
        self.contamination = contamination

    def _fit_parts(self, train: Train, X: Any, normal: NDArray[np.intp]) -> NDArray:
        """Fit the detectors inside, each by `train`.

        Returns the scores of what is normal: of the brain pixels of ``X[normal]``.
        """
        raise NotImplementedError

    def _maps(self, X: Any, brain: NDArray[np.bool_]) -> NDArray:
        """Maps of slices in memory: of one volume from below, or of an array."""
        raise NotImplementedError

    def _scored(self, X: Any) -> Iterator[tuple[Places, NDArray, NDArray[np.bool_]]]:
        """Yield places in X, their scores, and where there is brain."""
        return score_by_volume(self._maps, X)

    def _check(self) -> None:
        """Refuse parameters that cannot be right, before anything is read."""
        unit = scored_unit(self.detector)
        if unit not in self._takes_units:
            raise ValueError(
                f"{type(self).__name__} takes a detector of "
                f"{' or '.join(f'{name}s' for name in self._takes_units)}; "
                f"{type(last_step(self.detector)).__name__} scores {unit}s."
            )
        if is_search(self.detector) and not self._takes_searches:
            raise ValueError(
                f"{type(self).__name__} does not train a {type(self.detector).__name__}, "
                "which needs masks: search over the wrapper, with parameters such as "
                "detector__n_components."
            )

    def _n_trainings(self) -> int:
        return 1

    # How images are given. An image is what gets one label in `fit`: a slice or a volume.

    def _for_training(self, X: Any, y: Any) -> Any:
        """What users give to `fit`; without y, nothing in it must be known as abnormal."""
        return training_slices(X, y)

    def _images(self, X: Any) -> Any:
        """Images that can be indexed, decoded if they fit into memory."""
        if self._looks_through and not isinstance(X, SliceStack):
            raise ValueError(
                f"{self} looks through slices, and does not know which are of one volume: "
                "give a SliceStack."
            )
        check_shape(X)
        return read_if_it_fits([X])[0]

    def _normal(self, X: Any, y: Any) -> NDArray[np.intp]:
        """Indices of the normal images, of which there is at least one."""
        return normal_slices(check_labels(y, check_shape(X)))

    def _slices(self, X: Any, images: NDArray[np.intp]) -> tuple[Any, NDArray[np.intp]]:
        """Slices of some images, to train on, and the image that each belongs to."""
        return (X if len(images) == len(X) else X[images]), images

    # What all have in common.

    @unchanged_on_failure
    @with_callbacks
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Train on the normal slices, and find the threshold.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices. `VolumeDetector` takes a list of volumes.
        y : array-like of shape (n_slices, H, W), default=None
            Masks: 0 normal, 1 anomaly, -1 outside the brain. Slices with any pixel 1 are
            left out; y is used for nothing else, but where the detector says so. Detectors
            of slices or volumes also take a label for each, +1 (normal) or -1 (anomaly).
            None: all are normal; a labelled `SliceStack` must agree.

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
        X = self._images(self._for_training(X, y))
        normal = np.arange(len(X)) if y is None else self._normal(X, y)
        with self._training() as fit_detector:
            scores = self._fit_parts(
                lambda detector: fit_detector(detector, X, normal), X, normal
            )
        self.offset_ = float(np.quantile(scores, self.contamination))
        # Background is as normal as anything: the highest score of the training.
        self.background_score_ = float(scores.max())
        self._remember(scores)
        return self

    def _remember(self, scores: NDArray) -> None:
        """Keep what scores of normal pixels are like, those of all patients together."""
        if self._scored_unit == "pixel":
            self.training_scores_ = ScoreReference.of(scores, np.array([len(scores)]))

    @contextmanager
    def _training(self) -> Iterator[Callable[..., Any]]:
        """Report to callbacks; give a function that fits a detector on normal images."""
        context = self._init_callback_context(max_subtasks=self._n_trainings())
        context.call_on_fit_task_begin(estimator=self)

        def fit_detector(detector: Any, X: Any, normal: NDArray[np.intp], **known) -> Any:
            task = context.subcontext(task_name="fit-detector")
            with task.propagate_callback_context(detector):
                task.call_on_fit_task_begin(estimator=self)
                if known:
                    detector.fit(X, **known)
                elif len(normal) < len(X) and _needs_abnormal(detector):
                    slices, image = self._slices(X, np.arange(len(X)))
                    _fit_with_abnormal(detector, slices, ~np.isin(image, normal))
                else:
                    # A frozen detector insists on a y.
                    detector.fit(self._slices(X, normal)[0], None)
                task.call_on_fit_task_end(estimator=self)
            return detector

        yield fit_detector
        context.call_on_fit_task_end(estimator=self)

    def _around(self, X: Any, normal: NDArray[np.intp]) -> tuple[Any, NDArray[np.bool_]]:
        """The images to score for the threshold, and which of them count.

        What looks through slices is given those with an anomaly too: without them, slices
        would have other neighbours than in the volumes that are scored later.
        """
        counted = np.isin(np.arange(len(X)), normal)
        if self._looks_through or counted.all():
            return X, counted
        return take(X, normal), counted[normal]

    def _normal_scores(self, X: Any, normal: NDArray[np.intp]) -> NDArray:
        """Scores of the normal images where there is brain."""
        X, counted = self._around(X, normal)
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
        return getattr(last_step(self._trained), "contrasts_", None)

    @property
    def _trained(self) -> Any:
        """A fitted detector, to ask what the data was like."""
        return self.detector_


def _needs_abnormal(detector: Any) -> bool:
    """Whether `fit` wants the slices with an anomaly too; it trains on none of them."""
    return looks_at_abnormal(detector) or looks_through_slices(detector)


def _fit_with_abnormal(detector: Any, slices: Any, abnormal: NDArray[np.bool_]) -> None:
    """Fit a detector or a Pipeline, telling which slices are abnormal, but not where."""
    while isinstance(detector, Pipeline):
        # As a Pipeline does, but steps learn from normal slices, and masks are of the size
        # that the steps give.
        if len(detector.steps) > 1:
            steps = detector[:-1].fit(slices[~abnormal])
            slices = steps.transform(slices)
        detector = detector[-1]
    marks = np.zeros((len(slices), *slices.shape[2:]), np.int8)
    marks[abnormal] = 1
    detector.fit(slices, marks)
