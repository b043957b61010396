"""Where networks run."""

import os

import torch


def resolve_device(device: str | torch.device) -> torch.device:
    """Turn the name of a device into the device.

    "auto" is a CUDA device if there is one, else the CPU: the first one, or, of several
    processes that torchrun has started, the one with the process's number. A device that
    torch does not know or this machine does not have is a ValueError.
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
            f"device={str(device)!r} cannot be used here ({error}); expected 'auto', "
            "'cpu' or a device that torch finds, such as 'cuda:0'."
        ) from error
    return resolved


def computes_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself, and does not only emulate it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        # Older releases of torch cannot tell: float32 is right everywhere.
        ask = getattr(torch.cpu, "get_capabilities", None)
        capabilities = ask() if ask is not None else {}
        return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
    return False
