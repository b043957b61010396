"""What all filters of maps have in common: shapes, brain, patients."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from skadm._arrays import as_numbers
from skadm._sklearn import fit_context


class MapTransformer(TransformerMixin, BaseEstimator, ABC):
    """Base of the filters of maps.

    A filter implements `_filter`, which sees the slices of one patient.
    """

    _parameter_constraints: dict[str, list[Any]] = {}

    @abstractmethod
    def _filter(self, volume: NDArray, brain: NDArray[np.bool_]) -> NDArray:
        """Filtered slices (n, H, W) of one patient; the background does not matter."""

    @property
    def _looks_through(self) -> bool:
        """Whether neighbouring slices matter."""
        return False

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, maps, y=None, *, brain=None, groups=None):
        """Check the parameters, and learn what the filter has to know.

        Parameters
        ----------
        maps : array-like of shape (n_slices, H, W)
            Normality maps of normal slices.
        y : None
            Ignored.
        brain : array-like of bool, shape (n_slices, H, W), default=None
            Pixels in the brain. None: all.
        groups : array-like of shape (n_slices,), default=None
            Patient of each slice. None: each slice stands alone, which a filter through
            slices refuses.

        Returns
        -------
        self : object
            The fitted filter.

        Raises
        ------
        ValueError
            If shapes do not fit, a parameter is out of its range, or a filter through
            slices does not know the patients.
        """
        values, inside, _ = self._check(maps, brain, groups)
        self._learn(values, inside)
        self.image_shape_ = values.shape[1:]
        return self

    def transform(self, maps, *, brain=None, groups=None):
        """Filter maps.

        Parameters
        ----------
        maps : array-like of shape (n_slices, H, W)
            Normality maps.
        brain : array-like of bool, shape (n_slices, H, W), default=None
            Pixels in the brain. None: all.
        groups : array-like of shape (n_slices,), default=None
            Patient of each slice; the slices of one are neighbours in their order. None:
            each slice stands alone, which a filter through slices refuses.

        Returns
        -------
        maps : ndarray of shape (n_slices, H, W)
            Filtered in the brain, and as they were elsewhere; of the same dtype.

        Raises
        ------
        ValueError
            If shapes do not fit, or a filter through slices does not know the patients.
        """
        check_is_fitted(self)
        values, inside, patients = self._check(maps, brain, groups)
        out = values.copy()
        for rows in _of_each(patients):
            if inside[rows].any():
                filtered = self._filter(values[rows], inside[rows])
                out[rows] = np.where(inside[rows], filtered, values[rows])
        return out

    def _learn(self, maps: NDArray, brain: NDArray[np.bool_]) -> None:
        """Learn from the maps of normal slices; most filters have nothing to learn."""

    def _check(
        self, maps: ArrayLike, brain: ArrayLike | None, groups: ArrayLike | None
    ) -> tuple[NDArray, NDArray[np.bool_], NDArray]:
        values = as_numbers(maps, "maps")
        if values.ndim != 3:
            raise ValueError(f"maps have shape {values.shape}; expected (n_slices, H, W).")
        if values.dtype.kind != "f":
            values = values.astype(np.float64)
        inside = (
            np.ones(values.shape, bool)
            if brain is None
            else as_numbers(brain, "brain") != 0
        )
        if inside.shape != values.shape:
            raise ValueError(
                f"brain has shape {inside.shape}; expected {values.shape}, as the maps."
            )
        if not np.isfinite(values[inside]).all():
            raise ValueError(
                "maps hold NaN or infinity in the brain; expected finite scores."
            )
        if groups is None and self._looks_through:
            raise ValueError(
                f"{self} looks through slices, and does not know which are of one patient: "
                "give groups, or a SliceStack where slices are scored."
            )
        patients = np.arange(len(values)) if groups is None else np.asarray(groups)
        if patients.shape != (len(values),):
            raise ValueError(
                f"groups have shape {patients.shape}; expected ({len(values)},), one "
                "patient for each slice."
            )
        return values, inside, patients

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags


def _of_each(patients: NDArray) -> Iterator[NDArray[np.intp]]:
    """Indices of the slices of each patient, in order."""
    for name in dict.fromkeys(patients.tolist()):
        yield np.flatnonzero(patients == name)
