"""Times of tasks that take turns, and how times grow."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

Task = Callable[[], Mapping[str, float]]


def timed(name: str, function: Callable[[], Any]) -> Task:
    """A task that calls the function and returns its seconds.

    With one thread these are of the processor, since other work on the machine then counts
    less; with several, of the clock.
    """

    def task() -> dict[str, float]:
        one_thread = torch.get_num_threads() == 1
        clock = time.process_time if one_thread else time.perf_counter
        started = clock()
        function()
        return {name: clock() - started}

    return task


def interleave(tasks: Sequence[Task], repeats: int) -> dict[str, float]:
    """Median seconds of tasks that take turns, over so many rounds.

    A task returns the seconds of what it measured, by name. A machine that is busy for a
    while then slows all of them, not one; their order is turned around every time, for what
    one leaves in the caches for the next. One round before is not counted.
    """
    for task in tasks:
        task()
    rounds: list[dict[str, float]] = []
    for number in range(repeats):
        order = tasks if number % 2 == 0 else tasks[::-1]
        rounds.append({name: s for task in order for name, s in task().items()})
    return {name: float(np.median([times[name] for times in rounds])) for name in rounds[0]}


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """p of seconds ∝ size^p, by least squares on the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
