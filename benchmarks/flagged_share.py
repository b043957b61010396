"""How often scoring warns that too much of a brain is flagged, at home and elsewhere.

python benchmarks/flagged_share.py --train ../shared/data/lgg --score phantom

Every second patient trains (normal slices), the others and all patients of --score are
scored; thresholds are those of the contamination, and of the best F1 on the abnormal slices
of the training patients. Networks have the preset 'quick'.
"""

import argparse
import warnings

import numpy as np
from sklearn.pipeline import make_pipeline

from skadm import FlaggedShareWarning, IntensityDetector
from skadm.data import make_phantom, read_any
from skadm.model_selection import set_offset_on_abnormal_slices
from skadm.preprocessing import IntensityNormalizer, SliceResizer
from skadm.presets import make_detector

NETWORKS = ("PCADetector", "GaussianMixtureDetector", "DAEDetector", "ADMDetector")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--train", required=True, help="'phantom', or a folder of patients")
    parser.add_argument("--score", nargs="*", default=[], help="others, likewise")
    parser.add_argument("--contrasts", nargs="+", default=["T1", "FLAIR"])
    parser.add_argument("--step", type=int, default=3, help="every STEP-th slice is used")
    parser.add_argument("--size", type=int, default=64, help="pixels along each side")
    args = parser.parse_args()
    home = read(args.train, args, seed=0)
    others = {name: read(name, args, seed=1) for name in args.score}
    y = home.y
    known = np.isin(home.groups, np.unique(home.groups)[::2])
    for name, detector in methods():
        detector.fit(home[known], y[known])
        for threshold in ("contamination", "best F1"):
            if threshold == "best F1":
                set_offset_on_abnormal_slices(detector, home[known], y[known])
            expected = detector.training_scores_.expected(detector.offset_)
            row = [f"{name:24s} {threshold:14s} expected {expected:.1%}"]
            for place, stack in {"held out": home[~known], **others}.items():
                row.append(f"{place}: {describe(detector, stack)}")
            print("; ".join(row), flush=True)


def read(name, args, seed):
    """Slices of the phantom or of a folder, prepared."""
    if name == "phantom":
        stack = make_phantom(
            n_patients=12,
            n_slices=30,
            size=args.size,
            contrasts=args.contrasts,
            random_state=seed,
        )
    else:
        stack = read_any(name, contrasts=args.contrasts)
        stack = stack[stack.z % args.step == 0]
    steps = make_pipeline(IntensityNormalizer(), SliceResizer(args.size))
    return steps.fit_transform(stack).in_memory()


def methods():
    yield "FLAIR", IntensityDetector(weights={"FLAIR": 1})
    for name in NETWORKS:
        yield name, make_detector(name, "quick", random_state=0)


def describe(detector, stack):
    """How many volumes were warned of, and how much of them is flagged."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FlaggedShareWarning)
        flagged = detector.predict(stack) == -1
    brain = (stack.X != 0).any(axis=1)
    names = stack.volume_ids
    shares = [
        (flagged & brain)[names == name].sum() / brain[names == name].sum()
        for name in np.unique(names)
    ]
    warned = sum(each.category is FlaggedShareWarning for each in caught)
    return (
        f"warned of {warned} of {len(shares)}, flagged {np.median(shares):.1%} (median) to "
        f"{max(shares):.1%}"
    )


if __name__ == "__main__":
    main()
