"""Callbacks for training."""

import sys
import time
from typing import Any, TextIO

__all__ = ["ProgressLog"]


class ProgressLog:
    """Print the progress of training at intervals.

    A scikit-learn callback (``detector.set_callbacks(ProgressLog())``) for output without
    a terminal, where `sklearn.callback.ProgressBar` cannot be used: log files, batch
    systems, notebooks. On a Pipeline or a search, it is propagated to the detectors
    inside.

    Parameters
    ----------
    interval : float, default=10.0
        Minimum seconds between two lines. The first epoch and the end of each stage are
        always printed.
    stream : text file, default=None
        Output stream. None: the current `sys.stderr`.

    Examples
    --------
    >>> import sys
    >>> from skadm import ADMDetector
    >>> from skadm.callbacks import ProgressLog
    >>> detector = ADMDetector().set_callbacks(ProgressLog(stream=sys.stdout))
    """

    # Depth to which scikit-learn propagates it in a Pipeline or a search.
    max_propagation_depth = None

    def __init__(self, interval: float = 10.0, stream: TextIO | None = None) -> None:
        self.interval = interval
        self.stream = stream

    def setup(self, estimator: Any, context: Any) -> None:
        """Do nothing; required by scikit-learn.

        Parameters
        ----------
        estimator : estimator
            The estimator being fitted.
        context : CallbackContext
            Its context.
        """

    def teardown(self, estimator: Any, context: Any) -> None:
        """Do nothing; required by scikit-learn.

        Parameters
        ----------
        estimator : estimator
            The fitted estimator.
        context : CallbackContext
            Its context.
        """

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Record the start of a stage.

        Parameters
        ----------
        estimator : estimator
            The estimator being fitted.
        context : CallbackContext
            Context of the task.
        """
        if _is_epoch(context) and context.task_id == 0:
            self._began = time.monotonic()
            self._printed = -float("inf")

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """Print a line if the interval has passed.

        Parameters
        ----------
        estimator : estimator
            The estimator being fitted; its `history_` holds the loss.
        context : CallbackContext
            Context of the task: an epoch, a stage, or another, which is not printed.
        """
        if not _is_epoch(context):
            return
        now, n_epochs = time.monotonic(), context.parent.max_subtasks
        done = context.task_id + 1
        last = done == n_epochs
        if not last and now - self._printed < self.interval:
            return
        self._printed = now
        seconds = now - self._began
        line = f"{context.estimator_name}, {context.parent.task_name}: epoch {done}"
        if n_epochs:
            line += f" of {n_epochs}"
        history = getattr(estimator, "history_", None)
        if history and "loss" in history[-1]:
            line += f", loss {history[-1]['loss']:.4g}"
        line += f", {_duration(seconds)}"
        if n_epochs and not last:
            line += f", about {_duration(seconds / done * (n_epochs - done))} left"
        print(line, file=self.stream or sys.stderr, flush=True)


def _is_epoch(context) -> bool:
    return context.task_name == "epoch" and context.parent is not None


def _duration(seconds: float) -> str:
    """Format a duration in seconds."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
