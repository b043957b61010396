"""Fits that fail leave no trace; warnings of a scan are kept, those of libraries not."""

import warnings
from collections.abc import Callable, Iterable
from functools import wraps


def unchanged_on_failure(fit: Callable) -> Callable:
    """Give the estimator back what it was before a fit that raises."""

    @wraps(fit)
    def wrapper(self, *arguments, **keywords):
        before = dict(self.__dict__)
        try:
            return fit(self, *arguments, **keywords)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    return wrapper


def warnings_of_scan(
    caught: Iterable[warnings.WarningMessage],
) -> dict[str, type[Warning]]:
    """Texts and categories of the UserWarnings, each once; others are warned of again.

    By its category alone, since not every warning travels between processes.
    """
    kept: dict[str, type[Warning]] = {}
    for warned in caught:
        if issubclass(warned.category, UserWarning):
            kept[str(warned.message)] = warned.category
        else:  # of libraries
            warnings.warn_explicit(
                warned.message, warned.category, warned.filename, warned.lineno
            )
    return kept
