"""Adam with a one-cycle schedule: creation, saving and restoring."""

from typing import Any

import torch

from skadm.training._stage import Objective

Schedule = torch.optim.lr_scheduler.OneCycleLR


def make_optimiser(
    objective: Objective, n_batches: int, learning_rate: float, device: torch.device
) -> tuple[torch.optim.Adam, Schedule]:
    """Make Adam and its schedule."""
    beta = objective.momentum
    adam = torch.optim.Adam(
        objective.module.parameters(),
        lr=learning_rate,
        betas=(0.9 if beta is None else beta, 0.999),
        # Only fused Adam can skip a step.
        fused=device.type == "cuda",
    )
    schedule = Schedule(
        adam,
        learning_rate,
        total_steps=-(-n_batches // objective.every) + 1,
        cycle_momentum=beta is None,
    )
    return adam, schedule


def optimiser_state(adam: torch.optim.Adam, schedule: Schedule) -> dict[str, Any]:
    """Return the state of the optimiser and schedule, without weights."""
    group = adam.param_groups[0]
    return {
        "group": {name: group[name] for name in group if name != "params"},
        "parameters": [dict(adam.state.get(p, {})) for p in group["params"]],
        "schedule": schedule.state_dict(),
    }


def restore_optimiser(
    adam: torch.optim.Adam, schedule: Schedule, state: dict[str, Any]
) -> None:
    """Restore a state from `optimiser_state`."""
    group = adam.param_groups[0]
    group.update(state["group"])
    group["betas"] = tuple(group["betas"])
    for parameter, moments in zip(group["params"], state["parameters"]):
        if moments:
            adam.state[parameter] = {
                name: torch.as_tensor(value, device=parameter.device)
                for name, value in moments.items()
            }
    schedule.load_state_dict(state["schedule"])
