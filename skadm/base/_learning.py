"""Base class of the detectors that learn from normal slices."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.utils.validation import check_is_fitted, validate_data

from skadm._brain import brain_mask, brain_values
from skadm._disk import release, scratch_array
from skadm._failure import restore_state_on_failure
from skadm._missing import check_missing, describe_missing
from skadm._quantile import quantile
from skadm._reference import ScoreReference, TrainingReference
from skadm._sklearn import Interval, fit_context
from skadm._validation import check_labels, check_shape, normal_slices
from skadm._version import __version__
from skadm.base._contract import Chunk, Detector, map_dtype
from skadm.data import Slices
from skadm.data._slices import as_slices, in_chunks, is_lazy, training_slices


class BaseDetector(CallbackSupportMixin, Detector):
    """Base class of the detectors that learn from normal slices.

    A detector implements `_fit(X)` and `_score(X, brain)`.

    Parameters
    ----------
    contamination : float, default=0.01
        Fraction of the training pixels that `predict` calls anomalous, in (0, 0.5]; sets
        `offset_` without labels.

    Attributes
    ----------
    %(offset_)s
    %(background_score_)s
    %(n_features_in_)s
    %(contrasts_)s
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "contamination": [Interval(Real, 0, 0.5, closed="right")],
    }

    contrasts_: tuple[str, ...] | None

    # For the catalogue: source, most important parameters, strengths.
    _paper, _good_at = "none", ""
    _tune: tuple[str, ...] = ()
    # "quick" (a test run in a minute), "cpu" (two cores), "paper" (as published).
    _presets: dict[str, dict[str, Any]] = {}

    @abstractmethod
    def __init__(self, *, contamination: float = 0.01) -> None:
        self.contamination = contamination

    @abstractmethod
    def _fit(self, X: np.ndarray) -> None:
        """Fit to normal float32 slices with brain, possibly memory-mapped."""

    @abstractmethod
    def _score(self, X: np.ndarray, brain: NDArray[np.bool_]) -> np.ndarray:
        """Return normality maps (n, H, W); background values are ignored."""

    def _check_learned(self) -> None:
        """Check that arrays read from a file match the parameters."""

    def _check_loaded(self) -> None:
        """Check that attributes read from a file are consistent."""
        if not any(name.endswith("_") for name in vars(self)):
            return  # not fitted
        n_contrasts, names = self.n_features_in_, self.contrasts_
        n_described = len(self.training_reference_.quantiles)
        n_names = n_contrasts if names is None else len(names)
        if not isinstance(n_contrasts, int) or {n_described, n_names} != {n_contrasts}:
            raise ValueError(
                f"a {type(self).__name__} has {n_names} contrast names and intensities "
                f"of {n_described} contrasts; expected {n_contrasts} of each."
            )
        for name in ("offset_", "background_score_"):
            if not isinstance(getattr(self, name), Real):
                raise ValueError(
                    f"{name} of a {type(self).__name__} is not a number; expected one."
                )
        self._check_learned()

    @property
    def _uses_abnormal_slices(self) -> bool:
        """Whether `fit` also uses slices with an anomaly."""
        return False

    @property
    def _supervision(self) -> str:
        """Supervision tier; see `skadm.detectors.supervision`."""
        return "slice labels" if self._uses_abnormal_slices else "none"

    def _fit_with_abnormal(
        self, X: np.ndarray, abnormal: Callable[[], np.ndarray] | None
    ) -> None:
        """Fit as `_fit`, for detectors that also use slices with an anomaly.

        `abnormal` reads these slices, without pixel labels. None: there are none.
        """
        self._fit(X)

    @property
    def _scores_without_contrast(self) -> bool:
        """Whether `_score`, unlike `fit`, supports missing contrasts (NaN)."""
        return False

    @restore_state_on_failure
    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Any:
        """Fit the detector to normal slices.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices. A pixel whose contrasts are all exactly 0 is background.
        y : array-like of shape (n_slices, H, W), default=None
            Masks: 0 normal, 1 anomaly, -1 outside the brain. Slices with any pixel 1 are
            excluded from training; y has no other use unless the detector documents it.
            None: all slices are normal; a labelled `SliceStack` must not contain
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

        Notes
        -----
        If a fit fails or is interrupted, the detector keeps its previous state.

        A `SliceStack` or memory-mapped array larger than scikit-learn's `working_memory`
        (1 GiB by default) is read once, chunk by chunk, and its training slices are
        stored in an unnamed temporary file (TMPDIR). The result is identical.
        """
        X = training_slices(X, y)
        shape = check_shape(X)
        contrasts = getattr(X, "contrasts", None)
        # Before reading: a lazy stack then reads normal slices only.
        normal = None if y is None else normal_slices(check_labels(y, shape))
        abnormal = None
        if normal is not None and len(normal) < shape[0]:
            others = np.setdiff1d(np.arange(shape[0]), normal)
            abnormal = partial(self._slices_with_anomaly, X, others)
        patients = getattr(X, "groups", None)
        if patients is not None and normal is not None:
            patients = patients[normal]
        X, brain, kept = self._training_slices(X, normal)
        if patients is not None:
            patients = patients[kept]
        self.contrasts_ = None if contrasts is None else tuple(contrasts)
        self.skadm_version_ = __version__
        self.training_reference_ = TrainingReference.of(X, patients, brain)
        self._fit_with_abnormal(X, abnormal)
        self._set_offset(X, brain, patients)
        return self

    def _training_slices(
        self, X, chosen: NDArray[np.intp] | None, which: str = "to train on"
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.intp]]:
        """Return the chosen slices with brain, their brain and their indices in `chosen`.

        The slices are in memory, or on disk if they are large.
        """
        if is_lazy(X):
            images, brain, kept = self._read_slices(X, chosen)
        else:
            images = self._validated(
                X if chosen is None else X[chosen], reset=True, fitting=True
            )
            brain = brain_mask(images)
            kept = np.flatnonzero(brain.any(axis=(1, 2)))
            if len(kept) < len(images):
                images, brain = images[kept], brain[kept]
        if not len(kept):
            n_slices = len(X) if chosen is None else len(chosen)
            raise ValueError(
                f"no brain pixel in the {n_slices} slices {which}: all pixels are "
                "exactly 0, which means background."
            )
        return images, brain, kept

    def _slices_with_anomaly(self, X: Any, chosen: NDArray[np.intp]) -> NDArray[np.float32]:
        return self._training_slices(X, chosen, "with an anomaly")[0]

    def _read_slices(
        self, X, chosen: NDArray[np.intp] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.intp]]:
        """Return the same for slices in files, which are read once."""
        n_slices = len(X) if chosen is None else len(chosen)
        images = scratch_array((n_slices, *X.shape[1:]))
        brain = scratch_array((n_slices, *X.shape[2:]), bool)
        kept: list[int] = []
        check = partial(self._validated, reset=True, fitting=True)
        for part in in_chunks(X, chosen=chosen, check=check):
            shown = part.brain.any(axis=(1, 2))
            rows = slice(len(kept), len(kept) + np.count_nonzero(shown))
            images[rows], brain[rows] = part.images[shown], part.brain[shown]
            kept += np.arange(n_slices)[part.places][shown].tolist()
            release(images)
            release(brain)
        return images[: len(kept)], brain[: len(kept)], np.array(kept, dtype=np.intp)

    def _set_offset(
        self, X: NDArray[np.float32], brain: NDArray[np.bool_], patients: NDArray | None
    ) -> None:
        """Set threshold and background score from the training pixels."""
        scores = brain_values(self._score, X, brain)
        self.offset_ = quantile(scores, self.contamination)
        # Background gets the highest score of the training.
        self.background_score_ = quantile(scores, 1)
        sizes = np.count_nonzero(brain, axis=(1, 2))
        self.training_scores_ = ScoreReference.of(scores, sizes, patients)

    def _chunks(self, X: Any) -> Iterator[Chunk]:
        check_is_fitted(self)
        dtype = map_dtype(X)
        for part in self._checked(X):
            images, brain = part.images, part.brain
            maps = np.full(brain.shape, self.background_score_, dtype)
            shown = brain.any(axis=(1, 2))
            if shown.all():
                np.copyto(maps, self._score(images, brain), where=brain)
            elif shown.any():
                scored = self._score(images[shown], brain[shown])
                maps[shown] = np.where(brain[shown], scored, self.background_score_)
            yield Chunk(part.places, maps, brain)

    def _checked(self, X) -> Iterator[Slices]:
        """Yield slices that match those of the training."""
        X = as_slices(X)
        self._check_like_training(X)
        lazy = is_lazy(X)
        if not lazy:
            X = self._validated(X)
        warned = False
        for part in in_chunks(X, check=self._validated if lazy else None):
            # Warn once, for the first patient with other intensities.
            warned = warned or self.training_reference_.check(
                part.images, self.contrasts_, part.brain
            )
            yield part

    def _validated(self, X, *, reset: bool = False, fitting: bool = False) -> NDArray:
        """Return X in float32, without NaN except for contrasts that may be missing."""
        X = validate_data(
            self,
            X,
            dtype=np.float32,
            allow_nd=True,
            reset=reset,
            ensure_all_finite="allow-nan",
        )
        names = None if fitting else self.contrasts_
        missing = check_missing(X, names)
        if missing.any() and (fitting or not self._scores_without_contrast):
            raise ValueError(
                f"Input X contains NaN: {describe_missing(missing, names)} of {len(X)}. "
                f"{type(self).__name__} expects all contrasts"
                + (" of the slices it is fitted on." if fitting else ".")
            )
        return X

    def _check_like_training(self, X) -> None:
        shape = check_shape(X)
        if shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input: features are contrasts, so "
                f"the expected shape is (n_slices, {self.n_features_in_}, H, W), got "
                f"{shape}."
            )
        if self.contrasts_ is not None and hasattr(X, "contrasts"):
            contrasts = tuple(X.contrasts)
            if contrasts != self.contrasts_:
                raise ValueError(
                    f"X has contrasts {contrasts}; expected {self.contrasts_}, on which "
                    f"{type(self).__name__} was fitted. Read them in the same order."
                )
