"""Rollback of failed fits, and selection of warnings about scans."""

import warnings
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, Protocol, TypeVar, cast

Estimator = TypeVar("Estimator")


class FitMethod(Protocol):
    """Type of `fit`, which scikit-learn's decorators lose: it returns its estimator."""

    def __get__(
        self, estimator: Estimator, owner: Any = None
    ) -> Callable[..., Estimator]: ...


def restore_state_on_failure(fit: Callable) -> FitMethod:
    """Restore the previous state of an estimator if fit raises."""

    @wraps(fit)
    def wrapper(self: Any, *arguments: Any, **keywords: Any) -> Any:
        before = dict(self.__dict__)
        try:
            return fit(self, *arguments, **keywords)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    return cast(FitMethod, wrapper)


def warnings_of_scan(
    caught: Iterable[warnings.WarningMessage],
) -> dict[str, type[Warning]]:
    """Return the texts and categories of distinct UserWarnings; re-emit other warnings.

    Only text and category are returned, since not every warning can be pickled.
    """
    kept: dict[str, type[Warning]] = {}
    for warned in caught:
        if issubclass(warned.category, UserWarning):
            kept[str(warned.message)] = warned.category
        else:  # from libraries
            warnings.warn_explicit(
                warned.message, warned.category, warned.filename, warned.lineno
            )
    return kept
