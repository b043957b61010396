"""Self-training: networks that learn lesions from the confident pixels of a score.

Which slices of the training patients have an anomaly is known, but not where it is. The
score shows its most abnormal regions; in normal slices all pixels are normal. With these
as targets a network unlearns what the score also flags in normal slices, and learns
features of lesions that the score does not use.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from skadm._brain import brain_mask
from skadm._disk import scratch_array
from skadm.augmentation import Augmentation
from skadm.nn.pixels import brain_of
from skadm.training import Objective, Stage, Trainer

# Quantiles of the scores of normal pixels. In slices with an anomaly, a region above the
# first is a lesion if it has a pixel above the second (hysteresis); other pixels above the
# first are not used. Chosen on lower-grade gliomas.
_REGION, _CERTAIN = 0.98, 0.999

# Expected minimum of pixels above the second, relative to normal slices. In gliomas there
# are 60 times as many.
_LEAST_RATIO = 2.0

# Target of a pixel that is not used; 0 is normal, 1 a lesion.
_UNUSED = -1

_WITHIN_SLICES = np.zeros((3, 3, 3), int)
_WITHIN_SLICES[1] = 1


Score = Callable[[torch.Tensor], torch.Tensor]
"""From slices on the device, (n, K, H, W), to numbers (n, H, W)."""

Logit = Callable[[torch.nn.Module, torch.Tensor], torch.Tensor]
"""The same for a network."""


class Students(torch.nn.Module):
    """Networks that find lesions after self-training.

    `usual` is the median score of normal pixels before it.
    """

    usual: torch.Tensor

    def __init__(self, nets: Iterable[torch.nn.Module]) -> None:
        super().__init__()
        self.nets = torch.nn.ModuleList(nets)
        self.register_buffer("usual", torch.zeros(()))

    def probability(self, images: torch.Tensor, logit: Logit) -> torch.Tensor:
        """Return the probability of a lesion, mean over the networks, (n, 1, H, W)."""
        probabilities = torch.stack(
            [torch.sigmoid(logit(net, images)) for net in self.nets], dim=1
        )
        return probabilities.mean(dim=1, keepdim=True)


def self_train(
    students: Students,
    teachers: Iterable[torch.nn.Module],
    score: Score,
    logit: Logit,
    trainer: Trainer,
    augmentation: Augmentation | None,
    n_epochs: int,
    memory: Any = None,
    **settings: Any,
) -> None:
    """Train each student, from the weights of its teacher.

    `score` is the anomaly score that finds the targets. `settings` are all that the logit
    depends on beside the weights, for the memory.
    """
    images, abnormal = trainer.images, trainer.abnormal
    assert abnormal is not None
    maps, abnormal_maps = (trainer.engine.apply(score, part) for part in (images, abnormal))
    targets, usual = targets_of_slices(maps, abnormal_maps, images, abnormal)
    students.usual.fill_(usual)
    slices = joined([images, abnormal])
    for number, (teacher, student) in enumerate(zip(teachers, students.nets), start=1):
        student.load_state_dict(teacher.state_dict())
        loss = partial(lesion_loss, partial(logit, student))
        stage = Stage(
            f"self-training {number}",
            (slices, targets),
            [Objective(student, loss)],
            with_targets(augmentation),
            n_epochs,
        )
        trainer.fit_stage(stage, memory=memory, n_epochs=n_epochs, **settings)


def targets_of_slices(
    maps: NDArray[np.float32],
    abnormal_maps: NDArray[np.float32],
    images: NDArray,
    abnormal: NDArray,
) -> tuple[NDArray[np.float32], float]:
    """Find the targets of normal and abnormal slices (n, K, H, W).

    Returns targets (n_normal + n_abnormal, 1, H, W), and the median score of normal pixels.
    `maps` and `abnormal_maps` are anomaly scores, (n, H, W). Warns if abnormal slices have
    hardly more pixels of extreme scores than normal slices.
    """
    usual, region, certain = np.quantile(
        maps[brain_mask(images)], [0.5, _REGION, _CERTAIN]
    ).tolist()
    brain = brain_mask(abnormal)
    ratio = (abnormal_maps[brain] > certain).mean() / (1 - _CERTAIN)
    if ratio < _LEAST_RATIO:
        warnings.warn(
            f"self-training is unreliable here: {ratio:.2f} times as many pixels of "
            "abnormal slices as of normal slices have an extreme score; expected at least "
            f"{_LEAST_RATIO:g} times. The training may be too short, lesions too small, or "
            "the prior wrong. Train longer, state another prior, or set "
            "self_training_epochs=0.",
            UserWarning,
            stacklevel=2,
        )
    high = (abnormal_maps > region) & brain
    regions, n_regions = ndimage.label(high, _WITHIN_SLICES)
    is_lesion = np.zeros(n_regions + 1, bool)
    is_lesion[regions[high & (abnormal_maps > certain)]] = True
    targets = scratch_array((len(maps) + len(abnormal_maps), 1, *maps.shape[1:]))
    targets[len(maps) :, 0] = np.where(high, np.where(is_lesion[regions], 1, _UNUSED), 0)
    return targets, usual


def with_targets(
    augmentation: Augmentation | None,
) -> Callable[[torch.Tensor, torch.Generator], torch.Tensor] | None:
    """Return an augmentation of slices whose last channel holds targets."""
    if augmentation is None:
        return None

    def augment(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        moved = augmentation.move(batch, generator)
        images = augmentation.scale(moved[:, :-1], generator)
        return torch.cat([images, moved[:, -1:]], dim=1)

    return augment


def lesion_loss(
    logit_of: Callable[[torch.Tensor], torch.Tensor], batch: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Return the mean cross-entropy of the used pixels; the last channel holds targets."""
    images, targets = batch[:, :-1], batch[:, -1]
    used = brain_of(images) & (targets != _UNUSED)
    doubt = torch.nn.functional.binary_cross_entropy_with_logits(
        logit_of(images), targets.clamp_min(0), reduction="none"
    )
    return {"loss": torch.where(used, doubt, 0).sum() / used.sum().clamp_min(1)}


def joined(parts: Sequence[NDArray]) -> NDArray[np.float32]:
    """Concatenate slices (n, K, H, W), on disk if they are large."""
    whole = scratch_array((sum(map(len, parts)), *parts[0].shape[1:]))
    start = 0
    for part in parts:
        whole[start : start + len(part)] = part
        start += len(part)
    return whole
