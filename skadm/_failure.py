"""Fits that fail leave no trace."""

from collections.abc import Callable
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
