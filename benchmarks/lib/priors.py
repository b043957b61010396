"""Known directions of lesions."""

from collections.abc import Sequence

# Of tumours and white-matter lesions. The weight of T2 was chosen on BraTS' validation
# slices.
BRIGHT = {"FLAIR": 1.0, "T2": 0.5}
# Of acute strokes.
RESTRICTED = {"DWI": 1.0, "ADC": -0.5}


def known_direction(contrasts: Sequence[str]) -> dict[str, float]:
    """Weights of the contrasts on which lesions are known to be bright or dark."""
    weights = RESTRICTED if "DWI" in contrasts else BRIGHT
    return {name: weight for name, weight in weights.items() if name in contrasts}
