"""Progress display of training."""

import importlib.util
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def shown(detectors: Iterable[Any]) -> Iterator[None]:
    """Show the progress of detectors and their clones: bars or lines on stderr."""
    detectors = list(detectors)
    callback = _callback()
    for detector in detectors:
        detector.set_callbacks(callback)
    try:
        yield
    finally:
        silence(detectors)


def silence(detectors: Iterable[Any]) -> None:
    """Remove the callbacks before saving."""
    for detector in detectors:
        detector.set_callbacks()


def _callback() -> Any:
    if sys.stderr.isatty() and importlib.util.find_spec("rich") is not None:
        import rich
        from sklearn.callback import ProgressBar

        rich.reconfigure(stderr=True)  # the bars use the global console
        return ProgressBar()
    from skadm.callbacks import ProgressLog

    return ProgressLog()
