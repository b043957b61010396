"""A detector whose maps are filtered."""

from collections.abc import Iterator, Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.metaestimators import _BaseComposition
from sklearn.utils.validation import check_is_fitted

from skadm._brain import brain_mask
from skadm._validation import check_labels, check_shape, normal_slices
from skadm.base import Chunk, MapDetector
from skadm.data import SliceStack
from skadm.postprocessing._base import MapTransformer


class PostprocessedDetector(MetaEstimatorMixin, MapDetector, _BaseComposition):
    """A detector and filters of its score maps, as one detector.

    It keeps the contract of the detectors: maps of normality, higher = more normal;
    ``fit`` trains on normal slices only; `contamination` sets `offset_`, of the filtered
    maps.

    Parameters
    ----------
    detector : detector
        It is cloned and trained; one that is trained already can be given as
        ``sklearn.frozen.FrozenEstimator(detector)``.
    postprocessing : MapTransformer or list of (str, MapTransformer)
        One filter, or named ones in the order in which they are applied. Their parameters
        are searched as ``postprocessing__sigma`` and, of a list, ``name__sigma``.
    contamination : float, default=0.01
        Fraction of the training pixels that `predict` calls anomalous, in (0, 0.5].

    Attributes
    ----------
    detector_ : detector
        The fitted detector.
    filters_ : list of MapTransformer
        The fitted filters.
    offset_ : float
        Threshold of `predict` on the scale of `score_samples`.
    background_score_ : float
        Score of every background pixel, the highest of the training.
    n_features_in_ : int
        Number of contrasts.

    Notes
    -----
    Filters that look through slices take the neighbours in `X` for neighbours in the brain:
    give whole volumes, as a `SliceStack`, which knows the patients. In `fit` the normal
    slices of a patient are taken for neighbours, although abnormal ones between them are
    left out.

    Examples
    --------
    >>> from skadm import PCADetector, PostprocessedDetector
    >>> from skadm.data import make_phantom
    >>> from skadm.postprocessing import GaussianSmoother
    >>> stack = make_phantom(n_patients=2, n_slices=8, size=32, random_state=0)
    >>> detector = PostprocessedDetector(PCADetector(), GaussianSmoother(sigma=1.5))
    >>> detector.fit(stack, stack.y).score_samples(stack).shape
    (16, 32, 32)
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "detector": [HasMethods(["fit", "score_samples"])],
        "postprocessing": [MapTransformer, list],
        "contamination": [Interval(Real, 0, 0.5, closed="right")],
    }

    def __init__(
        self,
        detector,
        postprocessing: MapTransformer | Sequence[tuple[str, MapTransformer]],
        *,
        contamination: float = 0.01,
    ) -> None:
        self.detector = detector
        self.postprocessing = postprocessing
        self.contamination = contamination

    def get_params(self, deep=True):
        """Get the parameters, those of the detector and the filters too.

        Parameters
        ----------
        deep : bool, default=True
            Whether to go into the detector and the filters.

        Returns
        -------
        params : dict
            Names and values.
        """
        if isinstance(self.postprocessing, MapTransformer):
            return BaseEstimator.get_params(self, deep)
        return self._get_params("postprocessing", deep=deep)

    def set_params(self, **params):
        """Set parameters, those of the detector and the filters too.

        Parameters
        ----------
        **params : dict
            Names as in `get_params`.

        Returns
        -------
        self : object
            This detector.
        """
        if isinstance(self.postprocessing, MapTransformer):
            return BaseEstimator.set_params(self, **params)
        return self._set_params("postprocessing", **params)

    def fit(self, X, y=None):
        """Train the detector, then the filters on its maps.

        Parameters
        ----------
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices.
        y : array-like of shape (n_slices, H, W), default=None
            Masks: 0 normal, 1 anomaly, -1 outside the brain. Slices with any pixel 1 are
            left out; y is used for nothing else, but where the detector says so.

        Returns
        -------
        self : object
            The fitted detector.

        Raises
        ------
        ValueError
            If X or y has a wrong shape or values, no slice is normal, or no pixel shows
            brain.
        """
        self._validate_params()
        filters = self._named_filters()
        shape = check_shape(X)
        whole, marks = X, y
        if y is not None:
            X = X[normal_slices(check_labels(y, shape))]
        detector = clone(self.detector)
        if self._looks_at_abnormal:
            detector.fit(whole, marks)
        else:
            detector.fit(X, None)  # a frozen one insists on a y
        maps, brain = detector.score_samples(X), brain_mask(np.asarray(X))
        known = {"brain": brain, "groups": getattr(X, "groups", None)}
        fitted = []
        for each in filters:
            fitted.append(clone(each).fit(maps, **known))
            maps = fitted[-1].transform(maps, **known)
        self.detector_, self.filters_ = detector, fitted
        self.offset_ = float(np.quantile(maps[brain], self.contamination))
        self.background_score_ = float(maps[brain].max())
        return self

    @property
    def _looks_at_abnormal(self) -> bool:
        return getattr(self.detector, "_looks_at_abnormal", False)

    @property
    def n_features_in_(self):
        """Number of contrasts seen in `fit`."""
        check_is_fitted(self)
        return self.detector_.n_features_in_

    def _chunks(self, X) -> Iterator[Chunk]:
        check_is_fitted(self)
        for places, part in _patients(X):
            maps = self.detector_.score_samples(part)
            brain = brain_mask(np.asarray(part))
            known = {"brain": brain, "groups": getattr(part, "groups", None)}
            for each in self.filters_:
                maps = each.transform(maps, **known)
            background = maps.dtype.type(self.background_score_)
            yield Chunk(places, np.where(brain, maps, background), brain)

    def _named_filters(self) -> list[MapTransformer]:
        if isinstance(self.postprocessing, MapTransformer):
            return [self.postprocessing]
        for entry in self.postprocessing:
            named = isinstance(entry, tuple) and len(entry) == 2
            if not named or not isinstance(entry[1], MapTransformer):
                raise ValueError(
                    f"postprocessing holds {entry!r}; expected (name, filter) pairs."
                )
        self._validate_names([name for name, _ in self.postprocessing])
        return [each for _, each in self.postprocessing]


def _patients(X) -> Iterator[tuple[slice | NDArray[np.intp], Any]]:
    """Yield what filters have to see together: a patient of a stack, or a whole array."""
    if not isinstance(X, SliceStack):
        yield slice(None), X
        return
    groups = X.groups
    for patient in dict.fromkeys(groups.tolist()):
        places = np.flatnonzero(groups == patient)
        yield places, X[places].in_memory()
