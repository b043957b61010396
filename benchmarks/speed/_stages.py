"""Run a command of skadm and record how long each of its stages takes.

    python benchmarks/speed/_stages.py RECORD.json score --model ... --data ...

Writes seconds of the processor by stage. A stage within another one counts for itself
alone; what belongs to no stage is "other". "start" is everything before the command runs.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Module, class or "", and function of each stage.
STAGES = {
    "model": (("skadm.pretrained", "", "load_pretrained"), ("skadm.io", "", "load")),
    "read": (("skadm.data._sources", "ImageSource", "decode"),),
    "normalise": (("skadm.data._volume", "", "_apply"),),
    "train": (("skadm.training._trainer", "Trainer", "_train_epoch"),),
    "network": (("skadm.training._engine", "Engine", "apply"),),
    "density": (("skadm.detectors._eraser", "", "mixture_by_em"),),
    "smooth": (("skadm.wrappers._postprocessed", "PostprocessedDetector", "_maps"),),
    "write": (("skadm.data._write", "", "write_maps"), ("skadm.io._file", "", "save")),
}


class Clock:
    """Seconds of the processor by stage; the innermost stage runs."""

    def __init__(self) -> None:
        # The process has run until here to start.
        self.seconds = {"start": time.process_time()}
        self._running = ["start"]
        self._since = time.process_time()

    def switch(self, stage: str | None) -> None:
        """Begin a stage within the running one; None: end it."""
        now = time.process_time()
        running = self._running[-1]
        self.seconds[running] = self.seconds.get(running, 0.0) + now - self._since
        self._since = now
        if stage is None:
            self._running.pop()
        else:
            self._running.append(stage)

    def timed(self, stage: str, function: Callable) -> Callable:
        """The function as a stage."""

        def call(*args: Any, **options: Any) -> Any:
            self.switch(stage)
            try:
                return function(*args, **options)
            finally:
                self.switch(None)

        return call


def watch(clock: Clock) -> None:
    """Replace the functions of the stages, wherever skadm has imported them."""
    for stage, places in STAGES.items():
        for module_name, class_name, name in places:
            module = importlib.import_module(module_name)
            holder = getattr(module, class_name) if class_name else module
            function = getattr(holder, name)
            wrapped = clock.timed(stage, function)
            setattr(holder, name, wrapped)
            for other in [m for n, m in sys.modules.items() if n.startswith("skadm")]:
                if getattr(other, name, None) is function:
                    setattr(other, name, wrapped)


def main(argv: list[str]) -> int:
    """Run the command, and write the record."""
    record, *command = argv
    clock = Clock()
    for name in ("cohort", "pretrained", "cli", "model_selection"):
        importlib.import_module(f"skadm.{name}")
    watch(clock)
    clock.switch("other")
    from skadm import cli

    code = cli.main(command)
    clock.switch(None)
    Path(record).write_text(json.dumps(clock.seconds), encoding="utf-8")
    return int(code or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
