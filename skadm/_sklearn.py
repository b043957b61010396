"""All private functions of scikit-learn that skadm uses.

scikit-learn has no public API for its parameter checks. If a new version renames one of
these, only this file has to change.
"""
# ruff: noqa: F401

from sklearn.base import _fit_context as fit_context
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.metaestimators import _BaseComposition as BaseComposition
