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
    for each in caught:
        if issubclass(each.category, UserWarning):
            kept[str(each.message)] = each.category
        else:  # of libraries
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    return kept
