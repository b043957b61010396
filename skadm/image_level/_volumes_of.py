"""A stack split into its volumes, and put together again."""

from collections.abc import Sequence

import numpy as np

from skadm.data import SliceStack, Volume


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
    return [volume for _, volume in stack.by_volume()]


def merged(stacks: Sequence[SliceStack]) -> SliceStack:
    """All slices of the stacks, in order; nothing is read.

    Without labels, and under other names: so stacks go together that share a name or a
    volume, or of which only some are labelled.
    """
    volumes: list[Volume] = []
    index: list[int] = []
    for place, stack in enumerate(stacks):
        places = {volume.name: len(volumes) + i for i, volume in enumerate(stack.volumes)}
        index += [places[name] for name in stack.volume_ids.tolist()]
        volumes += [
            volume.changed(
                labelled=False, name=f"{volume.name} (volume {place} of the training)"
            )
            for volume in stack.volumes
        ]
    return SliceStack(volumes, index, np.concatenate([stack.z for stack in stacks]))
