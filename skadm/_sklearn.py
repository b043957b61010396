"""All private functions of scikit-learn that skadm uses.

scikit-learn has no public API for its parameter checks. If a new version renames one of
these, only this file has to change.
"""
# ruff: noqa: F401

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.metaestimators import _BaseComposition as BaseComposition

if TYPE_CHECKING:
    # scikit-learn has no types. Without these, `fit` would be Any to users' type checkers.
    _Method = TypeVar("_Method", bound=Callable[..., Any])

    def fit_context(
        *, prefer_skip_nested_validation: bool
    ) -> Callable[[_Method], _Method]: ...

    def with_callbacks(method: _Method) -> _Method: ...
else:
    from sklearn.base import _fit_context as fit_context
    from sklearn.callback import with_callbacks
