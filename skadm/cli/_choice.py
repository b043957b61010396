"""Which detector is trained where the options leave it open, and why."""

import argparse
from typing import Any

BEST = "best"
_USUAL = "ADMDetector"
ERASER, PRESET = "EraserDetector", "cpu"
_LEARNED = "learned"
# Measured on slices of 1 mm, which gain, and of 7 mm, which do not; between, our choice.
_SIGMA_MM, _THIN_MM = 5.0, 1.5


def settle(args: argparse.Namespace, stack: Any) -> list[tuple[str, str]]:
    """Fill in what the options of a training leave open; what was chosen, and why."""
    if args.preset == BEST:
        if args.detector not in (None, ERASER) or args.init is not None:
            other = f"--init {args.init}" if args.init else f"--detector {args.detector}"
            raise ValueError(
                f"--preset best is {ERASER} with preset {PRESET}; leave {other} out, or "
                "take another preset"
            )
        args.detector, args.preset = ERASER, PRESET
        why = (
            f"{ERASER} with preset {PRESET}, as --preset best says: none had a higher "
            'average precision on BraTS (documentation, "Beyond the threshold")'
        )
        return [("detector", why), *settle_eraser(args, stack)]
    if args.detector is None:
        args.detector = _USUAL
        why = (
            f"{_USUAL}, the method of the paper, since --detector names no other; "
            "--preset best takes what found more on real tumours"
        )
        return [("detector", why)]
    return []


def settle_eraser(args: argparse.Namespace, stack: Any) -> list[tuple[str, str]]:
    """Fill in prior and smoothing by what the data allow; what was chosen, and why."""
    chosen = []
    if args.prior is not None:
        chosen.append(("prior", f"{' '.join(args.prior)}, as --prior says"))
    elif "DWI" in stack.contrasts:
        # Stroke lesions are small: abnormal slices also differ by much else.
        why = "none: on strokes (ISLES 2022), a learned direction found less than none"
        chosen.append(("prior", why))
    elif any_anomaly(stack):
        args.prior = [_LEARNED]
        chosen.append(("prior", "learned from which slices the masks mark as abnormal"))
    else:
        chosen.append(("prior", "none, since no slice is marked as abnormal"))
    return [*chosen, settle_smoothing(args, stack)]


def settle_smoothing(args: argparse.Namespace, stack: Any) -> tuple[str, str]:
    """Fill in by how much maps are smoothed through slices; what was chosen, and why."""
    distances = sorted(float(volume.voxel_size[2]) for volume in stack.volumes)
    if args.smooth_through is not None:
        why = f"by {args.smooth_through:g} slices, as --smooth-through says"
    elif distances[-1] <= _THIN_MM:
        middle = distances[len(distances) // 2]
        args.smooth_through = round(_SIGMA_MM / middle, 2)
        why = (
            f"by {args.smooth_through:g} slices, which are {middle:.3g} mm apart: thin "
            "slices gain by it"
        )
    else:
        why = (
            f"not through slices, which are up to {distances[-1]:.3g} mm apart: what it "
            "gains was measured at 1 mm"
        )
    return "smoothing", why


def any_anomaly(stack: Any) -> bool:
    """Whether a mask marks an anomaly."""
    return any(
        volume.has_labels and bool((volume.decode().labels == 1).any())
        for volume in stack.volumes
    )


def print_choice(chosen: list[tuple[str, str]]) -> None:
    """Print a line for each choice."""
    for name, why in chosen:
        print(f"{name + ':':<10} {why}", flush=True)
