"""The trainer: objectives that take turns, steps by the book, a short way to them."""

import traceback
from pathlib import Path

import numpy as np
import pytest
import torch
from test_contract import TINY, make_slices

import skadm
from skadm.detectors import all_detectors
from skadm.neural import TorchDetector
from skadm.training import Objective, Stage, Trainer
from skadm.training._engine import Engine
from skadm.training._stage import DivergenceError


class Settings(TorchDetector):
    """The parameters of a training, without a detector."""

    def __init__(self, max_epochs, learning_rate):
        super().__init__(
            max_epochs=max_epochs,
            learning_rate=learning_rate,
            augmentation=None,
            random_state=0,
        )

    def _build(self, n_contrasts, generator):
        raise NotImplementedError

    def _train(self, networks, images, trainer):
        raise NotImplementedError

    def _anomaly(self, networks, images):
        raise NotImplementedError


def train(stage, max_epochs, learning_rate, batch_size=2, order=None):
    """Train a stage; the records of its epochs."""
    engine = Engine(torch.device("cpu"), None, batch_size)
    trainer = Trainer(Settings(max_epochs, learning_rate), engine, stage.images)
    if order is not None:
        trainer.order = order
    trainer.start(stage.module)
    trainer.fit_stage(stage)
    return trainer.history


def quadratic(target, log=None, name="loss"):
    """A module of one number, and the squared distance of it from the target."""
    module = torch.nn.ParameterList([torch.nn.Parameter(torch.zeros(()))])

    def loss(batch):
        if log is not None:
            log.append(name)
        return {name: (module[0] - target).square()}

    return module, loss


def test_a_stage_minimises_its_objective():
    module, loss = quadratic(3.0)
    stage = Stage("fit", np.ones((6, 1, 4, 4), np.float32), [Objective(module, loss)])
    records = train(stage, 60, 0.2)
    assert module[0].item() == pytest.approx(3.0, abs=0.05)
    assert records[-1]["loss"] < 0.01 < records[0]["loss"]
    assert all(record["seconds"] >= 0 for record in records)


def test_objectives_take_turns():
    """Five steps of the first for each one of the second, over the epochs' borders."""
    log = []
    first, first_loss = quadratic(1.0, log, "first")
    second, second_loss = quadratic(-1.0, log, "second")
    stage = Stage(
        "game",
        np.ones((6, 1, 4, 4), np.float32),
        [
            Objective(first, first_loss, minimises="first", momentum=0.0),
            Objective(second, second_loss, minimises="second", every=5, momentum=0.0),
        ],
    )
    records = train(stage, 4, 0.05)
    turn = ["first", "second", "first", "first", "first", "first"]
    assert log == [*turn, *turn, "first", "second", "first"]
    assert ["second" in record for record in records] == [True, True, False, True]
    assert first[0].item() > 0 > second[0].item()


def test_a_step_leaves_the_other_objective_alone():
    first = torch.nn.ParameterList([torch.nn.Parameter(torch.ones(()))])
    second = torch.nn.ParameterList([torch.nn.Parameter(torch.ones(()))])
    stage = Stage(
        "game",
        np.ones((4, 1, 4, 4), np.float32),
        [Objective(first, lambda batch: {"loss": first[0] * second[0]})],
    )
    train(stage, 3, 0.1)
    assert first[0].item() != 1
    assert second[0].item() == 1
    assert second[0].grad is None


def test_a_loss_that_is_not_finite_stops_before_its_step():
    module, _ = quadratic(0.0)
    stage = Stage(
        "fit",
        np.ones((4, 1, 4, 4), np.float32),
        [Objective(module, lambda batch: {"loss": module[0] * torch.inf})],
    )
    with pytest.raises(DivergenceError, match=r"stage 'fit' became nan.*\(now 0.5\)"):
        train(stage, 1, 0.5)
    assert module[0].item() == 0


@pytest.mark.parametrize("n_images", [2, 4])
def test_a_gradient_that_is_not_finite_stops_before_its_step(n_images):
    module, _ = quadratic(0.0)  # the root of 0 is 0, and its slope infinite
    stage = Stage(
        "fit",
        np.ones((n_images, 1, 4, 4), np.float32),
        [Objective(module, lambda batch: {"loss": module[0].sqrt()})],
    )
    with pytest.raises(DivergenceError, match="or its gradient is not finite"):
        train(stage, 1, 0.5)
    assert module[0].item() == 0


def test_batches_without_brain_are_left_out():
    module, loss = quadratic(1.0)
    stage = Stage("fit", np.zeros((4, 1, 4, 4), np.float32), [Objective(module, loss)])
    (record,) = train(stage, 1, 0.1)
    assert set(record) == {"stage", "epoch", "seconds"}
    assert module[0].item() == 0


@pytest.mark.parametrize("momentum", [None, 0.5])
def test_steps_are_those_of_a_plain_loop(momentum):
    """Adam by the book: convolutions hand on gradients in another order than weights'."""
    images = np.random.default_rng(0).normal(size=(10, 3, 12, 16)).astype(np.float32)

    def network():
        torch.manual_seed(0)
        return torch.nn.Sequential(
            torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.Tanh(), torch.nn.Conv2d(6, 3, 1)
        )

    own, plain = network(), network()
    objective = Objective(
        own, lambda batch: {"loss": (own(batch) - batch).square().mean()}, momentum=momentum
    )
    train(
        Stage("fit", images, [objective]),
        5,
        0.02,
        batch_size=4,
        order=torch.Generator().manual_seed(0),
    )

    adam = torch.optim.Adam(plain.parameters(), lr=0.02, betas=(momentum or 0.9, 0.999))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        adam, 0.02, total_steps=5 * 3 + 1, cycle_momentum=momentum is None
    )
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        for rows in torch.randperm(10, generator=generator).split(4):
            batch = torch.from_numpy(images)[rows]
            adam.zero_grad()
            (plain(batch) - batch).square().mean().backward()
            adam.step()
            schedule.step()
    for found, expected in zip(own.parameters(), plain.parameters()):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


class Stepped(Exception):
    """Raised in the place of the first step."""


def frames_to_the_step(detector, monkeypatch):
    """Functions of the package that are at work when the optimiser takes its first step."""

    def step(self, closure=None):
        raise Stepped

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    X, y = make_slices()
    with pytest.raises(Stepped) as caught:
        detector.fit(X, y)
    home = Path(skadm.__file__).parent
    frames = traceback.extract_tb(caught.value.__traceback__)
    return [frame.name for frame in frames if home in Path(frame.filename).parents]


@pytest.mark.parametrize(
    ("name", "cls"),
    [(name, cls) for name, cls in all_detectors() if issubclass(cls, TorchDetector)],
)
def test_the_way_from_fit_to_the_step_is_short(name, cls, monkeypatch, tmp_path):
    detector = cls(**TINY[name], random_state=0)
    if "memory" in detector.get_params():
        detector.set_params(memory=str(tmp_path))
    names = frames_to_the_step(detector, monkeypatch)
    assert names[-1] == "_train_epoch"
    assert len(names) <= 8, names
