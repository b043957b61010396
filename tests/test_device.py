"""Devices other than the CPU: the same results, and no step that waits for them."""

import contextlib
import copy

import numpy as np
import pytest
import torch
from sklearn.base import clone
from test_contract import TINY, make_slices

from skadm.detectors import all_detectors
from skadm.neural import TorchDetector
from skadm.training import Trainer
from skadm.training._engine import Engine

TRAINED = [
    pytest.param(cls(**TINY[name], random_state=0), id=name)
    for name, cls in all_detectors()
    if issubclass(cls, TorchDetector)
]
# The density layer needs eigenvalues: torch itself waits for a GPU that computes them.
WAITS = "density"
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def devices_of_losses(networks, stage):
    """Compute losses and gradients where tensors have no values that could be read."""
    state = copy.deepcopy(networks.state_dict())
    networks.to("meta")
    parts = [torch.from_numpy(np.ascontiguousarray(part[:4])) for part in stage.parts]
    batch = torch.cat([part.float() for part in parts], dim=1).to("meta")
    found = []
    for objective in stage.objectives:
        loss = objective.loss(batch)[objective.minimises]
        parameters = [p for p in objective.module.parameters() if p.requires_grad]
        found += [loss, *torch.autograd.grad(loss, parameters, allow_unused=True)]
    networks.to_empty(device="cpu")
    networks.load_state_dict(state)
    return [each.device.type for each in found if each is not None]


@pytest.mark.slow
@pytest.mark.parametrize("detector", TRAINED)
def test_no_loss_reads_a_value_from_its_device(detector, monkeypatch):
    """Reading one makes the CPU wait for a GPU. On "meta" there is none: it is an error."""
    seen = {}
    train_stage = Trainer._train_stage

    def train(trainer, stage):
        if stage.name != WAITS:
            with monkeypatch.context() as patch:  # "meta" has no half precision
                patch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
                seen[stage.name] = devices_of_losses(trainer.networks, stage)
        return train_stage(trainer, stage)

    monkeypatch.setattr(Trainer, "_train_stage", train)
    fitted = clone(detector).fit(*make_slices())
    assert {record["stage"] for record in fitted.history_} - {WAITS} == set(seen)
    for devices in seen.values():
        assert len(devices) > 1
        assert set(devices) == {"meta"}


def test_a_value_that_is_read_is_an_error_on_meta():
    value = torch.ones((), device="meta")
    for read in (torch.Tensor.item, bool, torch.nonzero, torch.Tensor.cpu):
        with pytest.raises((RuntimeError, NotImplementedError), match="meta|Meta"):
            read(value)


def test_batches_keep_their_values_and_lie_channels_last():
    images = np.random.default_rng(0).normal(size=(3, 2, 5, 4)).astype(np.float32)
    placed = Engine(torch.device("cpu"), None, 3).place(images)
    assert placed.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(placed.numpy(), images)


@needs_cuda
@pytest.mark.parametrize("detector", TRAINED)
def test_a_gpu_gives_the_scores_of_the_cpu(detector):
    X, y = make_slices()
    fitted = clone(detector).set_params(device="cuda", precision="float32").fit(X, y)
    found = fitted.score_samples(X)
    expected = fitted.set_params(device="cpu").score_samples(X)
    scale = np.abs(expected[y >= 0]).mean()
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-2 * scale)


@needs_cuda
@pytest.mark.parametrize("detector", TRAINED)
def test_batches_of_a_gpu_differ_by_rounding(detector):
    """On the CPU they do not differ: tests/test_contract.py."""
    X, y = make_slices()
    fitted = clone(detector).set_params(device="cuda", precision="float32").fit(X, y)
    expected = fitted.score_samples(X)
    scale = np.abs(expected[y >= 0]).mean()
    for batch_size in (1, 5, 100):
        found = fitted.set_params(batch_size=batch_size).score_samples(X)
        np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-2 * scale)


@needs_cuda
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("detector", TRAINED)
def test_the_first_epoch_on_a_gpu_is_that_of_the_cpu(detector, precision):
    X, y = make_slices()
    first = {}
    for device in ("cpu", "cuda"):
        own = clone(detector).set_params(device=device, precision=precision)
        record = own.fit(X, y).history_[0]
        first[device] = next(v for k, v in record.items() if k not in ("stage", "epoch"))
    assert first["cuda"] == pytest.approx(first["cpu"], rel=0.05)


@needs_cuda
@pytest.mark.parametrize("detector", TRAINED)
def test_no_step_waits_for_a_gpu(detector, monkeypatch):
    """From the cut of a batch to the step that is taken with it."""
    cut_batch, end_batch = Trainer._batch, Trainer._checkpoint

    def batch(trainer, rows):
        mode = "default" if trainer._stage.name == WAITS else "error"
        torch.cuda.set_sync_debug_mode(mode)
        return cut_batch(trainer, rows)

    def checkpoint(trainer, epoch_ended=False):
        torch.cuda.set_sync_debug_mode("default")
        end_batch(trainer, epoch_ended)

    monkeypatch.setattr(Trainer, "_batch", batch)
    monkeypatch.setattr(Trainer, "_checkpoint", checkpoint)
    clone(detector).set_params(device="cuda").fit(*make_slices())
