"""Base class and input checks of the transformers."""

from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.callback import CallbackSupportMixin, with_callbacks

from skadm._arrays import as_numbers
from skadm._missing import check_missing, missing_contrasts
from skadm._validation import check_shape
from skadm.data import SliceStack
from skadm.data._slices import as_slices

# Replaces 0 in brain pixels, which would otherwise count as background. Negligible for
# z-scores, but not 0 in half precision.
ALMOST_ZERO = np.float32(1e-6)
NO_BRAIN = "X has no brain pixel: every pixel is exactly 0, which means background"


def keep_brain(images: NDArray[np.float32], brain: NDArray[np.bool_]) -> None:
    """Replace 0 in brain pixels whose contrasts are all exactly 0, in place.

    The first contrast that is not missing becomes 1e-6.
    """
    for image, lost, missing in zip(images, brain.copy(), missing_contrasts(images)):
        present = np.flatnonzero(~missing)
        for contrast in present:
            lost &= image[contrast] == 0
        image[present[0]][lost] = ALMOST_ZERO


def check_images(X: Any) -> NDArray[np.float32]:
    """Return checked slices (n_slices, n_contrasts, H, W) as float32, copied if needed.

    Raises a ValueError for a wrong number of dimensions, an empty array, infinite values,
    NaN (except throughout a missing contrast), or no brain pixel.
    """
    X = np.asarray(as_slices(X), dtype=np.float32)
    check_shape(X)
    if np.isinf(X).any():
        raise ValueError("X holds infinite values; replace them (background is 0)")
    check_missing(X)
    if not X.any():
        raise ValueError(NO_BRAIN)
    return X


def check_maps(maps: Any, shape: tuple[int, int] | None = None) -> NDArray:
    """Return checked maps (n_slices, H, W); (H, W) must equal `shape` if given."""
    maps = as_numbers(maps, "maps")
    if maps.ndim != 3 or (shape is not None and maps.shape[1:] != tuple(shape)):
        expected = "H, W" if shape is None else f"{shape[0]}, {shape[1]}"
        raise ValueError(f"maps have shape {maps.shape}; expected (n_slices, {expected})")
    return maps


def stack_or_array(X: Any) -> Any:
    """Return a stack unchanged, since it is checked when read, or a checked array."""
    return X if isinstance(X, SliceStack) else check_images(X)


def _n_contrasts(X: Any) -> int:
    # Not X.shape: the volumes of a stack may differ in slice size.
    return len(X.contrasts) if isinstance(X, SliceStack) else X.shape[1]


class StackTransformer(  # type: ignore[call-arg]
    CallbackSupportMixin, TransformerMixin, BaseEstimator, auto_wrap_output_keys=None
):
    """Base of the transformers: checks, and the number of contrasts seen in `fit`."""

    if TYPE_CHECKING:  # scikit-learn has no types
        n_features_in_: int

        @overload
        def fit_transform(self, X: SliceStack, y: Any = None) -> SliceStack: ...
        @overload
        def fit_transform(self, X: ArrayLike, y: Any = None) -> NDArray[np.float32]: ...
        def fit_transform(self, X: Any, y: Any = None) -> Any: ...

    @with_callbacks
    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the input and fit the transformer.

        Parameters
        ----------
        X : SliceStack or array-like of shape (n_slices, n_contrasts, H, W)
            Slices.
        y : None
            Ignored.

        Returns
        -------
        transformer : object
            The fitted transformer.

        Raises
        ------
        ValueError
            If X has a wrong shape, is not finite or has no brain, or a parameter is out
            of range.
        """
        # A single task, so that a Pipeline can propagate its callbacks.
        task = self._init_callback_context()
        task.call_on_fit_task_begin(estimator=self)
        X = stack_or_array(X)
        self._fit(X)
        self.n_features_in_ = _n_contrasts(X)
        task.call_on_fit_task_end(estimator=self)
        return self

    def _fit(self, X: Any) -> None:
        """Fit to checked input; does nothing by default."""

    def _check(self, X: Any) -> Any:
        """Check X, including the number of contrasts seen in `fit`."""
        X = stack_or_array(X)
        n_contrasts = _n_contrasts(X)
        expected = getattr(self, "n_features_in_", n_contrasts)
        if n_contrasts != expected:
            raise ValueError(
                f"X has {n_contrasts} contrasts; expected {expected}, with which "
                f"{type(self).__name__} was fitted"
            )
        return X

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags
