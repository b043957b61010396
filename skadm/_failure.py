"""Rollback of failed fits, and selection of warnings about scans."""

import warnings
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar, cast

Method = TypeVar("Method", bound=Callable[..., Any])


def unchanged_on_failure(fit: Method) -> Method:
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

    return cast(Method, wrapper)


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
