"""The training loop: objectives that take turns."""

import numpy as np
import pytest
import torch

from skadm.training import DivergenceError, Engine, Objective, Stage, Training


def engine(batch_size=2):
    generator = torch.Generator().manual_seed(0)
    return Engine(torch.device("cpu"), None, batch_size, generator)


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
    records = list(Training(engine(), stage, 60, 0.2).epochs())
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
    records = list(Training(engine(), stage, 4, 0.05).epochs())
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
    list(Training(engine(), stage, 3, 0.1).epochs())
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
        list(Training(engine(), stage, 1, 0.5).epochs())
    assert module[0].item() == 0


@pytest.mark.parametrize("n_images", [2, 4])
def test_a_gradient_that_is_not_finite_stops_before_its_step(n_images):
    module, _ = quadratic(0.0)  # the root of 0 is 0, and its slope infinite
    stage = Stage(
        "fit",
        np.ones((n_images, 1, 4, 4), np.float32),
        [Objective(module, lambda batch: {"loss": module[0].sqrt()})],
    )
    with pytest.raises(DivergenceError, match="or its gradient not finite"):
        list(Training(engine(), stage, 1, 0.5).epochs())
    assert module[0].item() == 0


def test_batches_without_brain_are_left_out():
    module, loss = quadratic(1.0)
    stage = Stage("fit", np.zeros((4, 1, 4, 4), np.float32), [Objective(module, loss)])
    (record,) = Training(engine(), stage, 1, 0.1).epochs()
    assert set(record) == {"seconds"}
    assert module[0].item() == 0
