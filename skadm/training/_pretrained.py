"""Networks that are trained already, from files of the package."""

import json
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources

from safetensors import safe_open

from skadm.nn.slots import SlottedUNet
from skadm.nn.unet import UNet

PRETRAINED = ("synthetic",)
KEY = "skadm-pretrained"


def known_contrasts(name: str) -> tuple[str, ...]:
    """Contrasts that a pretrained network takes, of which any set may be there."""
    return _read(name)[0]


def pretrained_network(name: str, contrasts: Sequence[str] | None) -> UNet:
    """Make the pretrained eraser, one of `PRETRAINED`, of a set of contrasts; float32.

    Its input is a slice and its mirror image, its output the slice without lesions and the
    logit of a lesion. A contrast that the network does not take is a ValueError.
    """
    if name not in PRETRAINED:
        raise ValueError(f"no pretrained network {name!r}; expected one of {PRETRAINED}.")
    if contrasts is None:
        raise ValueError(
            f"the pretrained network {name!r} needs names of contrasts, and X is a bare "
            "array without them: give a SliceStack."
        )
    known, network = _read(name)
    if unknown := [contrast for contrast in contrasts if contrast not in known]:
        raise ValueError(
            f"the pretrained network {name!r} does not take {', '.join(unknown)}; it takes "
            f"any of {', '.join(known)}: choose some of these (for commands: --contrasts)."
        )
    if not contrasts or len(set(contrasts)) < len(contrasts):
        raise ValueError(
            f"contrasts are {tuple(contrasts)}; expected one or more, each once."
        )
    return network.for_contrasts([known.index(contrast) for contrast in contrasts])


@lru_cache(maxsize=2)
def _read(name: str) -> tuple[tuple[str, ...], SlottedUNet]:
    file = resources.files("skadm.training") / "weights" / f"{name}.safetensors"
    with resources.as_file(file) as path, safe_open(path, framework="pt") as tensors:
        told = json.loads(tensors.metadata()[KEY])
        keys = tensors.keys()
        weights = {key: tensors.get_tensor(key).float() for key in keys}
    known = tuple(told["contrasts"])
    network = SlottedUNet(len(known), told["width"], told["n_levels"])
    counts = "num_batches_tracked"  # of no use after the training
    network.load_state_dict(
        weights | {k: v for k, v in network.state_dict().items() if k.endswith(counts)}
    )
    return known, network.eval()
