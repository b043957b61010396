"""What skadm takes of scikit-learn without a promise that it stays: all of it is here.

A parameter is checked as scikit-learn checks its own, and has no public way to. A new
scikit-learn that renames one of these breaks this file and no other.
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
