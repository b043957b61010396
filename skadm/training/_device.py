"""Selection of the device."""

import os

import torch


def resolve_device(device: str | torch.device) -> torch.device:
    """Resolve the name of a device.

    "auto" is a CUDA device if available, else the CPU: the first device, or with torchrun
    the one with the local rank. Raises a ValueError for unknown or unavailable devices.
    """
    if device == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device={str(device)!r} is not available ({error}); expected 'auto', 'cpu' "
            "or an available torch device, such as 'cuda:0'."
        ) from error
    return resolved


def computes_bfloat16(device: torch.device) -> bool:
    """Whether the device computes bfloat16 natively, without emulation."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        # Older releases of torch cannot tell; float32 always works.
        ask = getattr(torch.cpu, "get_capabilities", None)
        capabilities = ask() if ask is not None else {}
        return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
    return False
