"""Where the time goes: profiles of the training's stages, of scoring, and of files."""

import cProfile
import io
import os
import pstats
import tempfile
from collections.abc import Iterable
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

from benchmarks.lib.speed.io import read_map_write, studies
from benchmarks.lib.speed.setting import Setting

# Without, the profiler writes to stderr whenever it starts and stops.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")


class StageProfiler:
    """Profile one stage of a fit, named as in its history; a callback of scikit-learn."""

    max_propagation_depth = None

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.profile = _profile()

    def setup(self, estimator, context) -> None:
        """Do nothing; scikit-learn asks for the method."""

    def teardown(self, estimator, context) -> None:
        """Do nothing; scikit-learn asks for the method."""

    def on_fit_task_begin(self, estimator, context) -> None:
        """Start after the first epoch, which warms up."""
        if self._is_epoch(context) and context.task_id == 1:
            self.profile.start()

    def on_fit_task_end(self, estimator, context) -> None:
        """Stop with the second epoch."""
        if self._is_epoch(context) and context.task_id == 1:
            self.profile.stop()

    def _is_epoch(self, context) -> bool:
        parent = context.parent
        return parent is not None and parent.task_name == self.stage


def _profile() -> profile:
    return profile(activities=[ProfilerActivity.CPU])


def convolution_seconds(profiles: Iterable[profile]) -> float:
    """Seconds inside the convolutions' own operators."""
    return sum(
        event.self_cpu_time_total / 1e6
        for measured in profiles
        for event in measured.key_averages()
        if "conv" in event.key
    )


def profile_stage(setting: Setting, stage: str, **parameters) -> profile:
    """Profile of an epoch of a stage of a training."""
    callback = StageProfiler(stage)
    detector = setting.detector(max_epochs=2, **parameters).set_callbacks(callback)
    detector.fit(setting.some())
    return callback.profile


def report(setting: Setting, n_rows: int = 12) -> str:
    """Tables of the dearest operators and functions."""
    parts = [
        (f"Training, stage {stage}, one epoch", profile_stage(setting, stage))
        for stage in ("translation", "density")
    ]
    images = setting.some()
    detector = setting.detector(max_epochs=1).fit(images)
    with _profile() as scoring:
        detector.score_samples(images)
    parts.append(("Scoring", scoring))
    texts = [
        f"{title}, {len(images)} slices\n"
        + measured.key_averages().table(
            sort_by="self_cpu_time_total", row_limit=n_rows, max_name_column_width=40
        )
        for title, measured in parts
    ]
    return "\n\n".join([*texts, _files(setting, n_rows)])


def _files(setting: Setting, n_rows: int) -> str:
    calls = cProfile.Profile()
    with tempfile.TemporaryDirectory() as folder:
        source = studies(setting, Path(folder))
        calls.enable()
        read_map_write(source, Path(folder) / "maps")
        calls.disable()
    text = io.StringIO()
    pstats.Stats(calls, stream=text).sort_stats("tottime").print_stats(n_rows)
    return "NIfTI to stack to maps to NIfTI" + text.getvalue()
