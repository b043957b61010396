"""Scoring: slices per second against the plain version with the same weights."""

import torch

from benchmarks.lib.speed.memory import peak_mib
from benchmarks.lib.speed.plain_adm import plain_of
from benchmarks.lib.speed.rows import Row
from benchmarks.lib.speed.setting import BATCH, Setting
from benchmarks.lib.speed.timing import interleave, timed


def measure(setting: Setting) -> list[Row]:
    """One row."""
    images = setting.some()
    detector = setting.detector(max_epochs=1).fit(images)
    plain = plain_of(detector)

    def ours() -> None:
        detector.score_samples(images)

    def reference() -> None:
        for batch in torch.from_numpy(images).split(BATCH):
            plain.score(batch)

    medians = interleave([timed("ours", ours), timed("plain", reference)], setting.repeats)
    rates = {name: len(images) / seconds for name, seconds in medians.items()}
    return [
        Row(
            "scoring a slice",
            medians["ours"] / len(images),
            medians["plain"] / len(images),
            3,
            f"{rates['ours']:.3g} slices/s against {rates['plain']:.3g}; memory: "
            f"{len(images)} slices",
            peak_mib(ours),
            peak_mib(reference),
            {"slices_per_s": rates["ours"], "reference_slices_per_s": rates["plain"]},
        )
    ]
