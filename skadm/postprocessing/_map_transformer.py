"""Base class of the map filters: checks, brain and patients."""

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

    A filter implements `_filter`, which gets the slices of one patient.
    """

    _parameter_constraints: dict[str, list[Any]] = {}

    @abstractmethod
    def _filter(self, volume: NDArray, brain: NDArray[np.bool_]) -> NDArray:
        """Filter the slices (n, H, W) of one patient; background values are ignored."""

    @property
    def _needs_neighbours(self) -> bool:
        """Whether the filter uses neighbouring slices."""
        return False

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, maps: Any, y: Any = None, *, brain: Any = None, groups: Any = None
    ) -> Any:
        """Check the parameters and fit the filter.

        Parameters
        ----------
        maps : array-like of shape (n_slices, H, W)
            Normality maps of normal slices.
        y : None
            Ignored.
        brain : array-like of bool, shape (n_slices, H, W), default=None
            Pixels in the brain. None: all.
        groups : array-like of shape (n_slices,), default=None
            Patient of each slice. None: slices are independent, which filters through
            slices do not accept.

        Returns
        -------
        self : object
            The fitted filter.

        Raises
        ------
        ValueError
            If shapes do not match, a parameter is out of range, or groups are missing for
            a filter through slices.
        """
        values, inside, _ = self._check(maps, brain, groups)
        self._learn(values, inside)
        self.image_shape_ = values.shape[1:]
        return self

    def transform(self, maps: Any, *, brain: Any = None, groups: Any = None) -> NDArray:
        """Filter maps.

        Parameters
        ----------
        maps : array-like of shape (n_slices, H, W)
            Normality maps.
        brain : array-like of bool, shape (n_slices, H, W), default=None
            Pixels in the brain. None: all.
        groups : array-like of shape (n_slices,), default=None
            Patient of each slice; consecutive slices of a patient are neighbours. None:
            slices are independent, which filters through slices do not accept.

        Returns
        -------
        maps : ndarray of shape (n_slices, H, W)
            Filtered in the brain, unchanged elsewhere; of the same dtype.

        Raises
        ------
        ValueError
            If shapes do not match, or groups are missing for a filter through slices.
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
        """Fit to the maps of normal slices; does nothing by default."""

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
                f"brain has shape {inside.shape}; expected {values.shape}, the shape of "
                "the maps."
            )
        if not np.isfinite(values[inside]).all():
            raise ValueError(
                "maps hold NaN or infinity in the brain; expected finite scores."
            )
        if groups is None and self._needs_neighbours:
            raise ValueError(
                f"{self} filters through slices, but the patients are unknown. Pass "
                "groups, or a SliceStack when scoring slices."
            )
        patients = np.arange(len(values)) if groups is None else np.asarray(groups)
        if patients.shape != (len(values),):
            raise ValueError(
                f"groups have shape {patients.shape}; expected ({len(values)},), one "
                "patient for each slice."
            )
        return values, inside, patients

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags


def _of_each(patients: NDArray) -> Iterator[NDArray[np.intp]]:
    """Yield the indices of the slices of each patient, in order."""
    for name in dict.fromkeys(patients.tolist()):
        yield np.flatnonzero(patients == name)
