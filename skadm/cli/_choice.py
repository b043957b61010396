"""Choice of the detector and its options if not given, with reasons."""

import argparse
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

BEST = "best"
_USUAL = "ADMDetector"
ERASER, PRESET, SELF_TRAINED = "EraserDetector", "cpu", "self-trained"
_LEARNED = "learned"
_STROKES, _STROKES_SELF_TRAINED = "strokes", "strokes-self-trained"  # presets
_BEST_ON_BRATS = "none had a higher average precision on BraTS"
_RESTRICTED = ("DWI", "ADC")  # contrasts that show acute strokes
SMALL_LESIONS = "small-lesions"
OF_SMALL_LESIONS = (SMALL_LESIONS, _STROKES, _STROKES_SELF_TRAINED)
# Measured: slices of 1 mm gain, slices of 7 mm do not; the limit in between is our
# choice.
_SIGMA_MM, _SIGMA_MM_SMALL, _THIN_MM = 5.0, 1.0, 1.5


def unknown_preset(preset: str, known: Sequence[str]) -> ValueError:
    """Return the refusal of a preset that is not known."""
    close = get_close_matches(preset, known, n=1)
    meant = f" (did you mean {close[0]}?)" if close else ""
    return ValueError(
        f"there is no preset {preset!r}{meant}; expected one of {', '.join(known)}"
    )


def settle_size(args: argparse.Namespace) -> None:
    """Set the size of slices if it was not given."""
    if args.size is None:
        args.size = 240 if args.preset == SMALL_LESIONS else 128


def settle(args: argparse.Namespace, stack: Any) -> list[tuple[str, str]]:
    """Set training options that were not given; return the choices and reasons."""
    if args.preset == BEST:
        if args.detector not in (None, ERASER) or args.init is not None:
            other = f"--init {args.init}" if args.init else f"--detector {args.detector}"
            raise ValueError(
                f"--preset best is {ERASER} with a preset that depends on the data; omit "
                f"{other}, or choose another preset"
            )
        args.detector = ERASER
        args.preset, measured = _best_preset(args, stack)
        why = (
            f"{ERASER} with preset {args.preset}, as --preset best says{measured} "
            '(documentation, "Results")'
        )
        return [("detector", why), *settle_eraser(args, stack)]
    if args.detector is None:
        from skadm.presets import PRESETS

        owners = [name for name, presets in PRESETS.items() if args.preset in presets]
        if args.preset is not None and not owners:
            known = sorted({BEST}.union(*PRESETS.values()))
            raise unknown_preset(args.preset, known)
        if len(owners) == 1:
            args.detector = owners[0]
            return [("detector", f"{owners[0]}, the only one with preset {args.preset}")]
        args.detector = _USUAL
        why = (
            f"{_USUAL}, the method of the paper, since --detector is not given; --preset "
            "best performed better on real tumours"
        )
        return [("detector", why)]
    return []


def _best_preset(args: argparse.Namespace, stack: Any) -> tuple[str, str]:
    """Return the preset with the best results on such data, and what they were."""
    from skadm.training._pretrained_networks import known_contrasts

    is_known = set(stack.contrasts) <= set(known_contrasts("synthetic"))
    states_all = args.prior is None or args.prior_rule == "all"
    if _shows_strokes(stack) and is_known and states_all:
        why = "it was best on acute strokes, ISLES 2022"
        if any_anomaly(stack):
            marked = "where masks mark abnormal slices"
            return _STROKES_SELF_TRAINED, f" for DWI and ADC {marked}: {why}"
        return _STROKES, f" for DWI and ADC: {why}"
    # Self-training was not measured on other lesions of diffusion images.
    if (_has_tumours(stack) or "DWI" not in stack.contrasts) and any_anomaly(stack):
        return SELF_TRAINED, f" where masks mark abnormal slices: {_BEST_ON_BRATS}"
    return PRESET, f": {_BEST_ON_BRATS}"


def _shows_strokes(stack: Any) -> bool:
    return set(_RESTRICTED) <= set(stack.contrasts) and not _has_tumours(stack)


def _has_tumours(stack: Any) -> bool:
    """Whether there are images after contrast agent, which strokes do not need."""
    return "T1ce" in stack.contrasts


def settle_eraser(args: argparse.Namespace, stack: Any) -> list[tuple[str, str]]:
    """Set prior and smoothing by the data; return the choices and reasons."""
    chosen = []
    if args.prior is not None:
        chosen.append(("prior", f"{' '.join(args.prior)}, as --prior says"))
    elif _shows_strokes(stack):
        args.prior, args.prior_rule = ["DWI", "ADC=-1"], "all"
        why = (
            "DWI ADC=-1, and both must change, as in acute strokes; for other lesions, "
            "state --prior"
        )
        chosen.append(("prior", why))
    elif "DWI" in stack.contrasts and not _has_tumours(stack):
        # Stroke lesions are small: abnormal slices also differ in other respects.
        why = "none: on strokes (ISLES 2022), a learned prior performed worse than none"
        chosen.append(("prior", why))
    elif any_anomaly(stack):
        args.prior = [_LEARNED]
        chosen.append(("prior", "learned from slice labels of the masks"))
    else:
        chosen.append(("prior", "none, since the masks mark no slice as abnormal"))
    return [*chosen, settle_smoothing(args, stack)]


def settle_smoothing(args: argparse.Namespace, stack: Any) -> tuple[str, str]:
    """Set the smoothing through slices; return the choice and reason."""
    distances = sorted(float(volume.voxel_size[2]) for volume in stack.volumes)
    if args.smooth_through is not None:
        why = f"by {args.smooth_through:g} slices, as --smooth-through says"
    elif distances[-1] <= _THIN_MM:
        middle = distances[len(distances) // 2]
        sigma = _SIGMA_MM_SMALL if args.preset in OF_SMALL_LESIONS else _SIGMA_MM
        args.smooth_through = round(sigma / middle, 2)
        why = (
            f"by {args.smooth_through:g} slices, which are {middle:.3g} mm apart: thin "
            "slices benefit from it"
        )
    else:
        why = (
            f"not through slices, which are up to {distances[-1]:.3g} mm apart: its "
            "benefit was measured at 1 mm"
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
