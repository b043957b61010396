"""Summary of the data, printed first by commands that read masks."""

import warnings
from typing import Any

from skadm.cli._output import say

_MOST_NAMES = 12


def print_data(place: str, stack: Any) -> None:
    """Print patients, sessions, contrasts, mask volumes and unread files."""
    import numpy as np

    patients = sorted({volume.patient for volume in stack.volumes})
    sessions = [volume.name for volume in stack.volumes if volume.session]
    print(
        f"data:      {place}, {len(stack)} slices of {len(stack.volumes)} volumes, "
        f"{'labelled' if stack.volumes[0].has_labels else 'unlabelled'}"
    )
    print(f"patients:  {len(patients)} ({abbreviated_list(patients)})")
    if sessions:
        print(f"sessions:  {len(sessions)} ({abbreviated_list(sessions)})")
    print(f"contrasts: {', '.join(stack.contrasts)}")
    names = {volume.name for volume in stack.volumes}
    masks = {name: ml for name, ml in stack.record.lesion_ml.items() if name in names}
    if masks:
        values = np.array([*masks.values()])
        print(
            f"masks:     {len(masks)}, {values.min():.3g} to {values.max():.3g} ml "
            f"({abbreviated_list([f'{name} {ml:.3g}' for name, ml in masks.items()])})"
        )
    for title, entries in (
        ("unread:   ", [str(path) for path in stack.record.unread]),
        ("left out: ", list(stack.record.left_out)),
    ):
        if entries:
            print(f"{title} {len(entries)} ({abbreviated_list(entries)})")
    print(end="", flush=True)


def lesions_outside_brain(stack: Any) -> dict[str, float]:
    """Return the mask volume outside the brain in ml, for each patient with any.

    It is computed on the grid of the stack. These voxels count as missed, and their
    slices are not normal.
    """
    import numpy as np

    outside_ml: dict[str, float] = {}
    for volume in stack.volumes:
        if not volume.has_labels:
            continue
        decoded = volume.decode()
        n_voxels = int(np.count_nonzero((decoded.labels == 1) & ~decoded.brain))
        if n_voxels:
            ml = n_voxels * float(np.prod(volume.grid.voxel_size)) / 1000
            outside_ml[volume.patient] = outside_ml.get(volume.patient, 0.0) + ml
    for patient, ml in outside_ml.items():
        say(
            f"{patient}: {ml:.3g} ml of the lesion mask lie outside the brain; they count "
            "as missed, and their slices as abnormal"
        )
    return outside_ml


def warn_of_trained_patients(stack: Any, training: dict[str, Any], done: str) -> None:
    """Warn about patients in the training data, also under their prepared names."""
    from skadm.data._patients import patient_key

    trained = {patient_key(name) for name in training.get("patients", ())}
    seen = [p for p in sorted(set(stack.groups.tolist())) if patient_key(p) in trained]
    if seen:
        warnings.warn(
            f"{len(seen)} of the patients {done} are training patients "
            f"({abbreviated_list(seen)}): their results do not generalise to new patients",
            stacklevel=2,
        )


def abbreviated_list(names: list[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMES])
    return shown if len(names) <= _MOST_NAMES else f"{shown}, …"
