"""Detector with filtered maps."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone

from skadm._sklearn import BaseComposition
from skadm.data import SliceStack
from skadm.postprocessing._map_transformer import MapTransformer
from skadm.wrappers._meta_detector import MetaDetector, Train
from skadm.wrappers._reading import score_by_volume, score_maps


class PostprocessedDetector(MetaDetector, BaseComposition):
    """Combine a detector with filters of its score maps.

    It keeps the contract of the detectors: maps of normality, higher = more normal;
    ``fit`` trains on normal slices only; `contamination` sets `offset_` on the filtered
    maps.

    Parameters
    ----------
    detector : detector
        It is cloned and trained; one that is trained already can be given as
        ``sklearn.frozen.FrozenEstimator(detector)``.
    postprocessing : MapTransformer or list of (str, MapTransformer)
        One filter, or named filters in the order of application. Their parameters are
        ``postprocessing__sigma`` or, for a list, ``name__sigma``.
    %(contamination)s

    Attributes
    ----------
    detector_ : detector
        The fitted detector.
    filters_ : list of MapTransformer
        The fitted filters.
    %(offset_)s
    %(background_score_)s
    %(n_features_in_)s
    %(contrasts_)s

    Notes
    -----
    Filters through slices need a `SliceStack`, which assigns slices to volumes. Pass
    whole volumes, since the filters do not account for missing slices.
    ``set_offset_by_f1(..., abnormal_only=True)`` does so for a threshold.

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
        **MetaDetector._parameter_constraints,
        "postprocessing": [MapTransformer, list],
    }

    def __init__(
        self,
        detector: Any,
        postprocessing: MapTransformer | Sequence[tuple[str, MapTransformer]],
        *,
        contamination: float = 0.01,
    ) -> None:
        self.detector = detector
        self.postprocessing = postprocessing
        self.contamination = contamination

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get the parameters, including those of the detector and the filters.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include the parameters of the detector and the filters.

        Returns
        -------
        params : dict
            Names and values.
        """
        if isinstance(self.postprocessing, MapTransformer):
            return BaseEstimator.get_params(self, deep)
        return self._get_params("postprocessing", deep=deep)

    def set_params(self, **params: Any) -> Any:
        """Set parameters, including those of the detector and the filters.

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

    def _check(self) -> None:
        super()._check()
        self._named_filters()

    def _fit_parts(self, train: Train, X: Any, normal: NDArray[np.intp]) -> NDArray:
        self.detector_ = train(clone(self.detector))
        self.filters_: list[MapTransformer] = []
        X, counted = self._images_for_threshold(X, normal)
        # In the order of the volumes, for filters through slices.
        places, maps, brain = _concatenated(
            score_by_volume(lambda part, _: score_maps(self.detector_, part), X)
        )
        counted = counted[places]
        volumes = X.volume_ids[places] if isinstance(X, SliceStack) else None
        volume_ids = None if volumes is None else volumes[counted]
        for step in self._named_filters():
            fitted = clone(step).fit(maps[counted], brain=brain[counted], groups=volume_ids)
            maps = fitted.transform(maps, brain=brain, groups=volumes)
            self.filters_.append(fitted)
        return maps[counted][brain[counted]]

    def _maps(self, X: Any, brain: NDArray[np.bool_]) -> NDArray:
        maps = score_maps(self.detector_, X)
        volumes = X.volume_ids if isinstance(X, SliceStack) else None
        for step in self.filters_:
            maps = step.transform(maps, brain=brain, groups=volumes)
        return maps

    @property
    def _needs_neighbours(self) -> bool:
        filters = any(step._needs_neighbours for step in self._named_filters())
        return filters or super()._needs_neighbours

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
        return [step for _, step in self.postprocessing]


def _concatenated(parts: Iterable[tuple[Any, NDArray, NDArray]]) -> list[NDArray]:
    """Concatenate places, maps and brain of all parts."""
    rows = [
        (
            np.arange(places.start, places.stop) if isinstance(places, slice) else places,
            maps,
            brain,
        )
        for places, maps, brain in parts
    ]
    return [np.concatenate(entries) for entries in zip(*rows)]
