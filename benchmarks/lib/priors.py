"""Known directions of lesions."""

from collections.abc import Sequence

WEIGHTS = {"FLAIR": 1.0, "T2": 0.5}
OF_DIFFUSION = {"DWI": 1.0, "ADC": -0.5}


def known_direction(contrasts: Sequence[str]) -> dict[str, float]:
    """Weights of the contrasts on which lesions are known to be bright or dark."""
    weights = OF_DIFFUSION if "DWI" in contrasts else WEIGHTS
    return {name: weight for name, weight in weights.items() if name in contrasts}
