"""Steps along the gradient of one objective."""

from typing import Any

import torch

from skadm.training._processes import Processes
from skadm.training._stage import Objective


class Optimiser:
    """Adam for one objective, under a one-cycle schedule (Smith & Topin 2018).

    The learning rate rises over the first 30 % of the steps and then falls to almost
    nothing, so that the last weights are the ones to keep.

    Parameters
    ----------
    objective : Objective
    n_batches : int
        Length of the schedule.
    learning_rate : float
        At its peak.
    device : torch.device
    processes : Processes
    """

    def __init__(
        self,
        objective: Objective,
        n_batches: int,
        learning_rate: float,
        device: torch.device,
        processes: Processes,
    ) -> None:
        self.objective = objective
        self.processes = processes
        beta = objective.momentum
        self.adam = torch.optim.Adam(
            objective.module.parameters(),
            lr=learning_rate,
            betas=(0.9 if beta is None else beta, 0.999),
            # Only the fused one skips a step by itself.
            fused=device.type == "cuda",
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.adam,
            learning_rate,
            total_steps=-(-n_batches // objective.every) + 1,
            cycle_momentum=beta is None,
        )
        # A GPU is not waited for in a step: it skips, by itself, every step from the first
        # bad gradient on, which is asked for at the end of the epoch.
        self.waits = device.type != "cuda"
        self.diverged = torch.zeros((), device=device)

    def step(self, loss: torch.Tensor | None, share: float) -> bool:
        """Take a step, unless the loss or its gradient is not finite.

        Parameters
        ----------
        loss : torch.Tensor or None
            Of this process's part of the batch; None if it has none.
        share : float
            Of the batch, that this part is.

        Returns
        -------
        finite : bool
            False if no step was taken. True of a device that is not waited for.
        """
        parameters = self.adam.param_groups[0]["params"]
        # Gradients of this objective's parameters only: an adversary's stay as they are.
        gradients = (
            [None] * len(parameters)
            if loss is None
            else torch.autograd.grad(loss, parameters, allow_unused=True)
        )
        if self.processes.size > 1:
            gradients = self.processes.sum(
                [
                    torch.zeros_like(own) if slope is None else slope * share
                    for own, slope in zip(parameters, gradients)
                ]
            )
        found = [gradient for gradient in gradients if gradient is not None]
        norms = torch.stack(torch._foreach_norm(found))
        finite = torch.isfinite(norms).all()
        if loss is not None and self.processes.size == 1:
            finite &= torch.isfinite(loss)
        torch.maximum(self.diverged, (~finite).float(), out=self.diverged)
        if self.waits:
            if self.diverged:
                return False
        else:
            self.adam.found_inf = self.diverged  # type: ignore[attr-defined]
        for parameter, gradient in zip(parameters, gradients):
            # Laid out like the parameter: fused Adam takes both for flat, and gradients of
            # convolutions come with their channels last.
            parameter.grad = (
                None if gradient is None else torch.empty_like(parameter).copy_(gradient)
            )
        self.adam.step()
        self.schedule.step()
        return True

    def state(self) -> dict[str, Any]:
        """All that the next step depends on, beside the weights."""
        group = self.adam.param_groups[0]
        return {
            "group": {name: group[name] for name in group if name != "params"},
            "parameters": [dict(self.adam.state.get(p, {})) for p in group["params"]],
            "schedule": self.schedule.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        group = self.adam.param_groups[0]
        group.update(state["group"])
        group["betas"] = tuple(group["betas"])
        for parameter, moments in zip(group["params"], state["parameters"]):
            if moments:
                self.adam.state[parameter] = {
                    name: torch.as_tensor(value, device=parameter.device)
                    for name, value in moments.items()
                }
        self.schedule.load_state_dict(state["schedule"])
