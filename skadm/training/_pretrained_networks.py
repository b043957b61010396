"""Pretrained networks in files of the package."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import resources
from typing import Any

from safetensors import safe_open

from skadm.nn.slots import SlottedUNet
from skadm.nn.unet import UNet

PRETRAINED = ("synthetic",)
KEY = "skadm-pretrained"


def known_contrasts(name: str) -> tuple[str, ...]:
    """Return the contrasts that a pretrained network supports, in any subset."""
    return _read(name)[0]


def pretrained_network(
    name: str,
    contrasts: Sequence[str] | None,
    parameters: Mapping[str, Any] | None = None,
) -> UNet:
    """Make the pretrained eraser, one of `PRETRAINED`, for a set of contrasts; float32.

    Its input is a slice and its mirror image, its output the slice without lesions and
    the logit of a lesion. Raises a ValueError for unsupported contrasts, and for parameters
    of an eraser (width, n_levels, norm, mirror) other than those of the network.
    """
    if name not in PRETRAINED:
        raise ValueError(
            f"there is no pretrained network {name!r}; expected one of {PRETRAINED}."
        )
    if contrasts is None:
        raise ValueError(
            f"the pretrained network {name!r} needs contrast names, but X is an array "
            "without names. Pass a SliceStack."
        )
    known, network = _read(name)
    if unknown := [contrast for contrast in contrasts if contrast not in known]:
        raise ValueError(
            f"the pretrained network {name!r} does not support {', '.join(unknown)}; "
            f"expected contrasts out of {', '.join(known)}. Choose among these (on the "
            "command line: --contrasts)."
        )
    if not contrasts or len(set(contrasts)) < len(contrasts):
        raise ValueError(
            f"contrasts are {tuple(contrasts)}; expected one or more distinct names."
        )
    made = network.for_contrasts([known.index(contrast) for contrast in contrasts])
    expected = {
        "width": made.head.in_channels,
        "n_levels": made.n_levels,
        "norm": "batch",
        "mirror": True,
    }
    for parameter, value in (parameters or {}).items():
        if value != expected[parameter]:
            raise ValueError(
                f"{parameter}={value!r}; expected {parameter}={expected[parameter]!r}, as "
                f"in the pretrained network {name!r}."
            )
    return made


@lru_cache(maxsize=2)
def _read(name: str) -> tuple[tuple[str, ...], SlottedUNet]:
    file = resources.files("skadm.training") / "weights" / f"{name}.safetensors"
    with resources.as_file(file) as path, safe_open(path, framework="pt") as tensors:
        told = json.loads(tensors.metadata()[KEY])
        keys = tensors.keys()
        weights = {key: tensors.get_tensor(key).float() for key in keys}
    known = tuple(told["contrasts"])
    network = SlottedUNet(len(known), told["width"], told["n_levels"])
    counts = "num_batches_tracked"  # not needed after training
    network.load_state_dict(
        weights | {k: v for k, v in network.state_dict().items() if k.endswith(counts)}
    )
    return known, network.eval()
