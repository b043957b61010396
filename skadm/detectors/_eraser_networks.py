"""Networks of the eraser, and their loss."""

from collections.abc import Callable, Iterable, Sequence

import torch

from skadm.detectors._self_training import Students
from skadm.nn.blocks import build
from skadm.nn.density import FittedMixture
from skadm.nn.noise import blob_noise
from skadm.nn.pixels import brain_mean, brain_of
from skadm.nn.unet import UNet

# A pixel belongs to a blob if it changes by this multiple of `lesion_std`.
_PRESENT = 1 / 3


def largest_change(noise: torch.Tensor) -> torch.Tensor:
    """Return the change of the contrast that changes most, (n, H, W)."""
    return noise.abs().amax(dim=1)


class Erasers(torch.nn.Module):
    """The U-Nets, the mixture of their residuals on normal slices, and students.

    `students` is None without self-training.
    """

    def __init__(
        self, nets: Iterable[UNet], mixture: FittedMixture, students: Students | None
    ) -> None:
        super().__init__()
        self.nets = torch.nn.ModuleList(nets)
        self.mixture = mixture
        self.students = students


def erasing_networks(
    n_contrasts: int,
    generator: torch.Generator,
    *,
    n_networks: int,
    mirror: bool,
    unet: tuple[int, int, str],
    mixture: FittedMixture,
    with_students: bool,
) -> Erasers:
    """Build erasers, from slices and their mirror images to slices and a logit.

    `unet` holds width, levels and norm. Students have the same shape.
    """
    n_in, n_out = n_contrasts * (1 + mirror), n_contrasts + 1
    nets, students = (
        [build(lambda: UNet(n_in, n_out, *unet), generator) for _ in range(n)]
        for n in (n_networks, n_networks * with_students)
    )
    return Erasers(nets, mixture, Students(students) if students else None)


def erasing_loss(
    output_of: Callable[[torch.Tensor], torch.Tensor],
    generator: torch.Generator,
    batch: torch.Tensor,
    *,
    lesion_std: float,
    lesion_scales: Sequence[int],
    presence_weight: float,
    signs: torch.Tensor | None = None,
    change_of: Callable[[torch.Tensor], torch.Tensor] = largest_change,
) -> dict[str, torch.Tensor]:
    """Add blobs to slices; return the squared error and cross-entropy of the output.

    `signs` are those of `blob_noise`. `change_of` maps changes of contrasts (n, K, H, W) to
    the change of the pixel, (n, H, W).
    """
    brain = brain_of(batch)
    noise = blob_noise(batch.shape, lesion_scales, generator, signs).to(batch.device)
    output = output_of(batch + lesion_std * noise * brain.unsqueeze(1))
    error = brain_mean((output[:, :-1] - batch).square().sum(dim=1), brain)
    present = (change_of(noise) > _PRESENT).float()
    doubt = torch.nn.functional.binary_cross_entropy_with_logits(
        output[:, -1].float(), present, reduction="none"
    )
    presence = brain_mean(doubt, brain)
    loss = error + presence_weight * presence
    return {"loss": loss, "error": error, "presence": presence}
