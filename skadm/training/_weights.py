"""Conversion of networks to NumPy arrays and back."""

from collections.abc import Callable
from threading import get_ident

import numpy as np
import torch
from torch.nn.modules.module import register_module_parameter_registration_hook


def weights_of(networks: torch.nn.Module) -> dict[str, np.ndarray]:
    """Return copies of all parameters and buffers."""
    return {
        name: tensor.detach().cpu().numpy().copy()
        for name, tensor in networks.state_dict().items()
    }


def load_weights(networks: torch.nn.Module, weights: dict[str, np.ndarray]) -> None:
    """Load weights into networks; raise a ValueError for another architecture."""
    _compare_shapes(networks, weights)
    networks.load_state_dict(
        {name: torch.from_numpy(array) for name, array in weights.items()}
    )


def check_weights(
    build: Callable[[], torch.nn.Module], weights: dict[str, np.ndarray]
) -> None:
    """Raise a ValueError unless weights match the architecture.

    Networks are built without memory, and building stops when there are more weights than
    in the file, so parameters of an untrusted file cannot exhaust memory.
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
        raise ValueError(f"no network can be built with the parameters: {error}") from error
    finally:
        hook.remove()
    _compare_shapes(networks, weights)


def _compare_shapes(networks: torch.nn.Module, weights: dict[str, np.ndarray]) -> None:
    state = networks.state_dict()
    expected = {name: tuple(tensor.shape) for name, tensor in state.items()}
    shapes = {name: array.shape for name, array in weights.items()}
    if expected != shapes:
        name = next(n for n in {**expected, **shapes} if expected.get(n) != shapes.get(n))
        raise ValueError(
            f"the fitted weights {name!r} have shape {shapes.get(name)}; expected "
            f"{expected.get(name)} for the current parameters and contrasts. Restore the "
            "parameters of the last fit, or refit with warm_start=False."
        )
