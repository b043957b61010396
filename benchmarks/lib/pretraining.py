"""Training of the shipped network, on synthetic brains only."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from skadm._files import replace_atomically
from skadm.data._random_brains import draw_random_brain
from skadm.data._sequences import SEQUENCES
from skadm.nn.blocks import build
from skadm.nn.noise import blob_noise
from skadm.nn.pixels import brain_mean, brain_of
from skadm.nn.slots import SlottedUNet
from skadm.preprocessing._normalize import zscore
from skadm.training._checkpoints import CheckpointFile
from skadm.training._windows import Windows

# Common sets of contrasts and their frequency; other sets are random.
SETS = (
    (("T1", "T1ce", "T2", "FLAIR"), 0.45),
    (("T1", "T2", "FLAIR"), 0.1),
    (("T1", "T1ce", "FLAIR"), 0.1),
    (("T1", "FLAIR"), 0.07),
    (("DWI", "ADC"), 0.06),
    (("DWI", "ADC", "FLAIR"), 0.06),
    (("T1", "T2", "PD", "FLAIR"), 0.04),
)
# Probability that a contrast is left out of a slice.
LEFT_OUT = 0.15
SLICES = 8  # of a patient
# A pixel belongs to a blob if a contrast changes by this share of the standard deviation.
PRESENT = 1 / 3
AVERAGED = 0.5  # share of the rounds, the last ones, whose weights are averaged
STATISTICS = 40  # patients for the statistics of the norm layers
DECAY = 0.3  # share of the rounds in which the learning rate falls to 0


@dataclass(frozen=True)
class Settings:
    """Parameters of a pretraining."""

    seed: int = 0  # of weights, brains and blobs
    rounds: int = 13  # each with new patients
    patients: int = 48  # of a round
    passes: int = 2  # passes over their slices, with new blobs each time
    # Pixels of a slice's side. Scans are scored at 128, which makes no difference to what
    # is found (docs/results.md), and takes twice as long to train.
    size: int = 80
    width: int = 16
    n_levels: int = 3
    batch_size: int = 8
    learning_rate: float = 2e-3  # of Adam, until it falls
    lesion_std: float = 1.2  # this and the next two as of `EraserDetector`
    lesion_scales: tuple[int, ...] = (4, 8, 16, 32)
    presence_weight: float = 2.0
    # one fixed set of contrasts; None: any set
    contrasts: tuple[str, ...] | None = None


def draw_patients(
    settings: Settings, number: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Make z-scored slices of a round, (n, 7, H, W), and mark their contrasts, (n, 7)."""
    images, present = [], []
    root = np.random.SeedSequence((settings.seed, number))
    for seed in root.spawn(settings.patients):
        rng = np.random.default_rng(seed.spawn(1)[0])
        names = settings.contrasts or _draw_set(rng)
        made, _ = draw_random_brain(seed, SLICES, settings.size, names)
        scored = zscore(made, (made != 0).any(axis=1))
        kept = (made != 0).any(axis=1).sum(axis=(1, 2)) > 100
        slots = [SEQUENCES.index(name) for name in names]
        slices = np.zeros((kept.sum(), len(SEQUENCES), *made.shape[2:]), np.float32)
        slices[:, slots] = scored[kept]
        images.append(slices)
        there = np.zeros((len(slices), len(SEQUENCES)), bool)
        there[:, slots] = True
        present.append(there)
    return np.concatenate(images), np.concatenate(present)


def _draw_set(rng: np.random.Generator) -> tuple[str, ...]:
    draw = rng.random()
    for names, share in SETS:
        if draw < share:
            return names
        draw -= share
    n_contrasts = int(rng.integers(1, 6))
    chosen = rng.permutation(len(SEQUENCES))[:n_contrasts]
    return tuple(SEQUENCES[slot] for slot in sorted(chosen))


def leave_out(present: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Leave out some contrasts of each slice, never all of them."""
    kept = present & (torch.rand(present.shape, generator=generator) >= LEFT_OUT)
    return torch.where(kept.any(dim=1, keepdim=True), kept, present)


def loss_of(
    network: SlottedUNet,
    images: torch.Tensor,
    present: torch.Tensor,
    settings: Settings,
    generator: torch.Generator,
) -> dict[str, torch.Tensor]:
    """Compute the loss of `EraserDetector` over the present contrasts."""
    brain = brain_of(images)
    there = present[:, :, None, None].float()
    noise = blob_noise(images.shape, settings.lesion_scales, generator)
    noise = noise * there * brain.unsqueeze(1)
    output = network(images + settings.lesion_std * noise, present)
    errors = ((output[:, :-1] - images).square() * there).sum(dim=1)
    # Scaled to four contrasts, for any number of contrasts.
    share = 4 / present.sum(dim=1).view(-1, 1, 1)
    error = brain_mean(errors * share, brain)
    changed = (noise.abs().amax(dim=1) > PRESENT).float()
    doubt = torch.nn.functional.binary_cross_entropy_with_logits(
        output[:, -1], changed, reduction="none"
    )
    presence = brain_mean(doubt, brain)
    return {
        "loss": error + settings.presence_weight * presence,
        "error": error,
        "presence": presence,
    }


def batches(
    images: NDArray, present: NDArray, settings: Settings, generator: torch.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield batches of slices, flipped, scaled and without some contrasts; one pass."""
    order = torch.randperm(len(images), generator=generator)
    windows = Windows(images)
    for rows in order.split(settings.batch_size):
        batch = torch.from_numpy(windows.cut((images,), rows.numpy()))
        there = torch.from_numpy(present[rows.numpy()])
        if settings.contrasts is None:
            there = leave_out(there, generator)
        batch = batch * there[:, :, None, None]
        flip = torch.rand(len(rows), 1, 1, 1, generator=generator) < 0.5
        batch = torch.where(flip, batch.flip(-1), batch)
        # A lesion in the volume changes mean and standard deviation.
        inside = (batch != 0).any(dim=1, keepdim=True) & there[:, :, None, None]
        draw = torch.rand(2, *there.shape, 1, 1, generator=generator) - 0.5
        batch = torch.where(inside, batch * (1 + 0.4 * draw[0]) + 0.4 * draw[1], 0)
        if batch.any():
            yield batch.contiguous(memory_format=torch.channels_last), there


def rate(settings: Settings, number: float) -> float:
    """Return a learning rate: a short rise, constant, then a decline to 0."""
    left = (settings.rounds - number) / (DECAY * settings.rounds)
    return settings.learning_rate * min(1.0, (number + 0.1) / 1.0, max(left, 0.0))


def pretrain(
    settings: Settings,
    folder: Path,
    watch: Callable[[SlottedUNet, int, float], None] | None = None,
    say: Callable[[str], None] = print,
) -> SlottedUNet:
    """Train, or resume from "checkpoint.npz" in the folder.

    Rounds depend on earlier ones only through the weights, so an interrupted training
    resumes with the current round. After each round, `watch` gets the network, the number
    of finished rounds and the seconds of training.

    The returned network has the mean of the weights after each round of the second half,
    because results on real scans vary much between rounds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    initial = torch.Generator().manual_seed(settings.seed)
    network = build(
        lambda: SlottedUNet(len(SEQUENCES), settings.width, settings.n_levels), initial
    ).to(memory_format=torch.channels_last)
    adam = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    checkpoint, history = (
        CheckpointFile(folder / "checkpoint.npz"),
        folder / "history.jsonl",
    )
    kept: list[dict[str, torch.Tensor]] = []  # weights to be averaged
    first, seconds = 0, 0.0
    if (state := checkpoint.read()) is not None:
        first, seconds = state["round"], state["seconds"]
        network.load_state_dict(_tensors(state["network"]))
        moments = dict(enumerate(map(_tensors, state["adam"])))
        adam.load_state_dict({**adam.state_dict(), "state": moments})
        kept += map(_tensors, state["kept"])
    for number in range(first, settings.rounds):
        started = time.perf_counter()
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + number)
        images, present = draw_patients(settings, number)
        drawn = time.perf_counter() - started
        network.train()
        sums: dict[str, float] = {}
        n_steps, n_batches = 0, -(-len(images) // settings.batch_size) * settings.passes
        for _ in range(settings.passes):
            for batch, there in batches(images, present, settings, generator):
                adam.param_groups[0]["lr"] = rate(settings, number + n_steps / n_batches)
                terms = loss_of(network, batch, there, settings, generator)
                adam.zero_grad()
                terms["loss"].backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
                adam.step()
                n_steps += 1
                for name, value in terms.items():
                    sums[name] = sums.get(name, 0.0) + value.item()
        seconds += time.perf_counter() - started
        record = {"round": number + 1, "seconds": round(seconds, 1)}
        record |= {name: total / max(n_steps, 1) for name, total in sums.items()}
        record |= {"slices": len(images), "seconds_of_drawing": round(drawn, 1)}
        with history.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        say(json.dumps(record))
        if number + 1 > AVERAGED * settings.rounds:
            kept.append({n: t.detach().clone() for n, t in network.state_dict().items()})
        checkpoint.write(
            {
                "round": number + 1,
                "seconds": seconds,
                "network": network.state_dict(),
                "adam": list(adam.state_dict()["state"].values()),
                "kept": kept,
            }
        )
        if watch is not None:
            network.eval()
            watch(network, number + 1, seconds)
    network.load_state_dict(mean_of(kept))
    set_statistics(network, settings)
    return network.eval()


def mean_of(states: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Average the weights of several networks."""
    return {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(like.dtype)
        for name, like in states[0].items()
    }


def set_statistics(network: SlottedUNet, settings: Settings) -> None:
    """Set the statistics of the norm layers to those of many brains.

    Those of the training come from its last few batches, with few sets of contrasts.
    """
    others = replace(settings, patients=STATISTICS)
    images, present = draw_patients(others, settings.rounds)  # the seed of no round
    generator = torch.Generator().manual_seed(settings.seed)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # a mean over all batches
    network.train()
    with torch.no_grad():
        for batch, there in batches(images, present, settings, generator):
            loss_of(network, batch, there, settings, generator)
    network.eval()


def export(network: SlottedUNet, path: Path) -> None:
    """Write the weights in half precision, as the package reads them."""
    from skadm.training._pretrained_networks import KEY

    tensors = {
        name: tensor.detach().half().contiguous()
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    told = {
        "contrasts": list(SEQUENCES),
        "width": network.presence.out_features,
        "n_levels": network.unet.n_levels,
    }
    replace_atomically(
        path, lambda place: save_file(tensors, place, {KEY: json.dumps(told)})
    )


def _tensors(arrays: dict[str, NDArray]) -> dict[str, torch.Tensor]:
    return {name: torch.as_tensor(array) for name, array in arrays.items()}


def average_precision(
    network: SlottedUNet,
    volumes: Sequence[tuple[NDArray[np.float32], NDArray[np.int8], Sequence[str]]],
    weights: dict[str, float],
    sigma: float = 2.0,
) -> list[float]:
    """Compute the AP of each volume, by the weighted sum of residuals (bright lesions)."""
    from skadm.metrics import pixel_average_precision_score
    from skadm.nn.mirror import mirrored
    from skadm.nn.smoothing import smooth_in_brain

    found = []
    for images, labels, names in volumes:
        eraser = network.for_contrasts([SEQUENCES.index(n) for n in names]).eval()
        axis = torch.tensor([weights.get(n, 0.0) for n in names]).view(1, -1, 1, 1)
        maps = []
        with torch.inference_mode():
            for batch in torch.from_numpy(images).split(8):
                seen = torch.cat([batch, mirrored(batch)], dim=1)
                residuals = batch - eraser(seen)[:, :-1]
                summed = (residuals * axis).sum(dim=1, keepdim=True)
                maps.append(-smooth_in_brain(summed, brain_of(batch), sigma)[:, 0])
        found.append(pixel_average_precision_score(labels, torch.cat(maps).numpy()))
    return found
