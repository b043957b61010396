"""Networks as NumPy arrays, and back."""

import numpy as np
import torch


def weights_of(networks: torch.nn.Module) -> dict[str, np.ndarray]:
    """A copy of all parameters and buffers."""
    return {
        name: tensor.detach().cpu().numpy().copy()
        for name, tensor in networks.state_dict().items()
    }


def load_weights(networks: torch.nn.Module, weights: dict[str, np.ndarray]) -> None:
    """Fill networks with weights, which must be those of the same architecture.

    Raises
    ------
    ValueError
        If they are of another one.
    """
    expected = {name: tuple(own.shape) for name, own in networks.state_dict().items()}
    found = {name: array.shape for name, array in weights.items()}
    if expected != found:
        name = next(n for n in {**expected, **found} if expected.get(n) != found.get(n))
        raise ValueError(
            f"the fitted weights {name!r} have shape {found.get(name)}, but the parameters "
            f"and contrasts as they are now expect {expected.get(name)}: set back what "
            "changed since the fit, or fit anew with warm_start=False."
        )
    networks.load_state_dict(
        {name: torch.from_numpy(array) for name, array in weights.items()}
    )
