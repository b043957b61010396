"""How often scoring warns of intensities, on patients as they are and on spoilt ones.

python benchmarks/intensity_shift.py --data ../shared/data/lgg

One half of the patients is the training (normal slices, normalised), the other is checked,
and the other way round; a row of the table is a way to spoil a patient, or not to.
"""

import argparse
import warnings
from itertools import combinations

import numpy as np

from skadm import IntensityShiftWarning
from skadm.data import brain_mask, read_any
from skadm.preprocessing import IntensityNormalizer
from skadm.reference import TrainingReference


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, help="folder that `read_any` reads")
    parser.add_argument("--step", type=int, default=3, help="every STEP-th slice is used")
    args = parser.parse_args()
    raw = read_any(args.data)
    raw = raw[raw.z % args.step == 0].in_memory()
    plain, y = IntensityNormalizer().fit_transform(raw).in_memory(), raw.y
    normal = ~(y == 1).any(axis=(1, 2))
    patients = np.array(sorted(set(raw.groups.tolist())))
    counts: dict[str, list[bool]] = {}
    for half in (0, 1):
        training = np.isin(raw.groups, patients[half::2]) & normal
        X = plain[training].X
        reference = TrainingReference.of(X[brain_mask(X).any(axis=(1, 2))])
        for patient in patients[1 - half :: 2]:
            own = raw.groups == patient
            for name, images in ways(plain[own].X, raw[own].X, normal[own], raw.contrasts):
                counts.setdefault(name, []).append(warned(reference, images))
    print(f"{len(patients)} patients of {args.data}, every {args.step}. slice")
    for name, found in counts.items():
        print(f"{name:32s} warned {sum(found):4d} of {len(found):4d}")


def ways(plain, raw, normal, contrasts):
    """Names and slices of one patient."""
    if normal.any():
        yield "normal slices", plain[normal]
    yield "all slices", plain
    for image in plain:
        if brain_mask(image[None]).sum() >= 1000:
            yield "a single slice", image[None]
    yield "not normalised", raw
    largest = np.abs(raw).max(axis=(0, 2, 3), keepdims=True)
    yield "divided by the maximum", raw / largest
    for one, other in combinations(range(len(contrasts)), 2):
        order = list(range(len(contrasts)))
        order[one], order[other] = other, one
        yield f"{contrasts[one]} and {contrasts[other]} exchanged", plain[:, order]


def warned(reference, images):
    """Whether the check says anything."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", IntensityShiftWarning)
        reference.check(images)
    return bool(caught)


if __name__ == "__main__":
    main()
