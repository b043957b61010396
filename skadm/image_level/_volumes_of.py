"""A stack split into its volumes, and put together again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skadm.data import Grid, SliceStack


def volumes_of(stack: SliceStack) -> list[SliceStack]:
    """Split a stack into its volumes.

    A patient with several volumes gives several entries: what is connected in a scan must
    not run on into the next one. ``volume.groups[0]`` still names the patient.

    Parameters
    ----------
    stack : SliceStack
        Slices of several volumes, in any order.

    Returns
    -------
    volumes : list of SliceStack
        One for each volume, in the order of first appearance, slices from the lowest to the
        highest. Nothing is read.

    Examples
    --------
    >>> from skadm.data import make_phantom
    >>> from skadm.image_level import volumes_of
    >>> stack = make_phantom(n_patients=3, n_slices=10, size=32, random_state=0)
    >>> [len(volume) for volume in volumes_of(stack)]
    [10, 10, 10]
    """
    names = stack.volume_ids
    volumes = []
    for name in dict.fromkeys(names.tolist()):
        own = np.flatnonzero(names == name)
        volumes.append(stack[own[np.argsort(stack.z[own], kind="stable")]])
    return volumes


def merged(stacks: Sequence[SliceStack]) -> SliceStack:
    """All slices of the stacks, in order; nothing is read."""
    volumes: list[_Member] = []
    index: list[int] = []
    for place, stack in enumerate(stacks):
        own = {volume.name: len(volumes) + i for i, volume in enumerate(stack.volumes)}
        index += [own[name] for name in stack.volume_ids.tolist()]
        volumes += [
            _Member(volume, f"{volume.name} (volume {place} of the training)")
            for volume in stack.volumes
        ]
    return SliceStack(volumes, index, np.concatenate([stack.z for stack in stacks]))


@dataclass(frozen=True, eq=False)
class _Member:
    """A volume under another name and without labels.

    So stacks go together that share a name or a volume, or of which only some are labelled.
    """

    source: Any
    name: str

    has_labels = False

    @property
    def patient(self) -> str:
        return self.source.patient

    @property
    def session(self) -> str:
        return self.source.session

    @property
    def contrasts(self) -> tuple[str, ...]:
        return self.source.contrasts

    @property
    def n_slices(self) -> int:
        return self.source.n_slices

    @property
    def grid(self) -> Grid:
        return self.source.grid

    @property
    def origin(self) -> Any:
        return self.source.origin

    def read(self) -> tuple[NDArray[np.float32], None]:
        return self.source.read()[0], None

    def read_with_origin_brain(
        self,
    ) -> tuple[NDArray[np.float32], None, NDArray[np.bool_]]:
        images, _, origin_brain = self.source.read_with_origin_brain()
        return images, None, origin_brain

    def invert(self, maps: NDArray) -> NDArray:
        return self.source.invert(maps)
