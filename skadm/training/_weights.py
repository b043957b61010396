"""Networks as NumPy arrays, and back."""

from collections.abc import Callable
from threading import get_ident

import numpy as np
import torch
from torch.nn.modules.module import register_module_parameter_registration_hook


def weights_of(networks: torch.nn.Module) -> dict[str, np.ndarray]:
    """A copy of all parameters and buffers."""
    return {
        name: tensor.detach().cpu().numpy().copy()
        for name, tensor in networks.state_dict().items()
    }


def load_weights(networks: torch.nn.Module, weights: dict[str, np.ndarray]) -> None:
    """Fill networks with weights; those of another architecture are a ValueError."""
    _compare_shapes(networks, weights)
    networks.load_state_dict(
        {name: torch.from_numpy(array) for name, array in weights.items()}
    )


def check_weights(
    build: Callable[[], torch.nn.Module], weights: dict[str, np.ndarray]
) -> None:
    """Raise a ValueError for weights of other networks than those that are built.

    The networks take no memory, and no more layers of them are made than there are weights
    for, however large the parameters of a file say they are.
    """
    n_left, thread = sum(array.size for array in weights.values()), get_ident()

    def count(module: torch.nn.Module, name: str, parameter: torch.Tensor | None) -> None:
        nonlocal n_left
        if parameter is None or get_ident() != thread:
            return
        n_left -= parameter.numel()
        if n_left < 0:
            raise ValueError("the parameters describe larger networks than the weights.")

    hook = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"):
            networks = build()
    except (RuntimeError, TypeError, OverflowError) as error:
        raise ValueError(f"the parameters describe no network: {error}") from error
    finally:
        hook.remove()
    _compare_shapes(networks, weights)


def _compare_shapes(networks: torch.nn.Module, weights: dict[str, np.ndarray]) -> None:
    state = networks.state_dict()
    expected = {name: tuple(tensor.shape) for name, tensor in state.items()}
    found = {name: array.shape for name, array in weights.items()}
    if expected != found:
        name = next(n for n in {**expected, **found} if expected.get(n) != found.get(n))
        raise ValueError(
            f"the fitted weights {name!r} have shape {found.get(name)}, but the parameters "
            f"and contrasts as they are now expect {expected.get(name)}: set back what "
            "changed since the fit, or fit anew with warm_start=False."
        )
