"""Splitting of stacks into volumes, and merging."""

from collections.abc import Sequence

import numpy as np

from skadm.data import SliceStack, Volume


def volumes_of(stack: SliceStack) -> list[SliceStack]:
    """Split a stack into its volumes.

    A patient with several volumes gives several entries, so that components do not extend
    from one scan to the next. ``volume.groups[0]`` is the patient.

    Parameters
    ----------
    stack : SliceStack
        Slices of several volumes, in any order.

    Returns
    -------
    volumes : list of SliceStack
        One for each volume, in order of first appearance, with slices in ascending z.
        Nothing is read.

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
    """Concatenate stacks without reading.

    The result has no labels and new volume names, so stacks may share names or volumes,
    and only some may be labelled.
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
