"""Slices of MR volumes: stacks, dataset readers, the phantom, and NIfTI output."""

from typing import TYPE_CHECKING, Any

from skadm._brain import brain_mask
from skadm.data._interfaces import Slices
from skadm.data._masks import MaskValues
from skadm.data._readers import find_studies, read_any, read_brats, read_isles, read_table
from skadm.data._stack import SliceStack
from skadm.data._studies import Study
from skadm.data._volume import ArrayVolume, NiftiVolume, Volume
from skadm.data._write import write_maps

if TYPE_CHECKING:
    from skadm.data._phantom import make_phantom
    from skadm.data._random_brains import make_random_brains

__all__ = [
    "ArrayVolume",
    "MaskValues",
    "NiftiVolume",
    "SliceStack",
    "Slices",
    "Study",
    "Volume",
    "brain_mask",
    "find_studies",
    "make_phantom",
    "make_random_brains",
    "read_any",
    "read_brats",
    "read_isles",
    "read_table",
    "write_maps",
]


def __getattr__(name: str) -> Any:
    # The phantom loads a tissue model: import it on first use.
    if name == "make_phantom":
        from skadm.data._phantom import make_phantom

        return make_phantom
    if name == "make_random_brains":
        from skadm.data._random_brains import make_random_brains

        return make_random_brains
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
