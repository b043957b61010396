"""Signal model of the phantom: from tissues to intensities."""

import numpy as np

from skadm._fields import smooth_field

CONTRASTS = ("T1", "T1ce", "T2", "FLAIR")

# Signal of every tissue, in units of white matter on T1. Rows: fluid, cortex, deep grey
# nuclei, pallidum, white matter, hyperintense white matter, vessels; then the parts of
# lesions: oedema, rim, core, infarct. In each contrast, lesion signals are within the
# range of healthy tissues; only the combination is abnormal.
SIGNALS = np.array(
    [
        # T1   T1ce    T2  FLAIR
        [0.34, 0.34, 2.50, 0.30],
        [0.72, 0.77, 1.15, 1.05],
        [0.83, 0.87, 0.98, 0.94],
        [0.93, 0.95, 0.70, 0.76],
        [1.00, 1.00, 0.76, 0.80],
        [0.85, 0.87, 1.28, 1.36],
        [0.58, 1.65, 1.00, 0.70],
        [0.53, 0.54, 1.42, 1.13],
        [0.57, 1.25, 1.25, 1.06],
        [0.45, 0.46, 1.70, 0.80],
        [0.51, 0.53, 1.38, 1.15],
    ]
)
N_HEALTHY = 7
# Weight of the shared fine tissue variation in each contrast.
TEXTURE = (0.03, 0.03, -0.045, -0.035)
GAINS = (480.0, 560.0, 390.0, 310.0)


def draw_signals(rng: np.random.Generator) -> np.ndarray:
    """Draw one patient's table of signals, (11, 4)."""
    spread = np.where(np.arange(len(SIGNALS)) < N_HEALTHY, 0.02, 0.05)[:, np.newaxis]
    signals = SIGNALS * np.exp(spread * rng.standard_normal(SIGNALS.shape))
    signals[0, 3] = rng.uniform(0.15, 0.50)  # incomplete suppression of fluid
    # The contrast between tissues varies between sequences.
    return signals ** np.exp(rng.normal(0, 0.05, SIGNALS.shape[1]))


def render(
    rng: np.random.Generator,
    base: np.ndarray,
    brain: np.ndarray,
    spacing: tuple[float, float, float],
    gain: float,
    noise: float,
    bias: float = 0.035,
    regional: float = 0.02,
) -> np.ndarray:
    """Turn ideal signals at the brain pixels, (n_pixels,), into the volume of a contrast.

    `spacing` is the voxel size along the axes of the brain in mm, `gain` the typical
    intensity of white matter, and `noise` the standard deviation of each of the two
    channels of the receiver. `bias` and `regional` are standard deviations of the
    logarithm of the coil sensitivity and of regional tissue variation. The volume is
    exactly 0 outside the brain and above 0 inside.
    """
    sensitivity = np.exp(bias * smooth_field(rng, brain.shape, spacing, 70.0)[brain])
    signal = 1 + regional * smooth_field(rng, brain.shape, spacing, 22.0)[brain]
    real, imaginary = noise * rng.standard_normal((2, len(base)), dtype=np.float32)
    magnitude = np.hypot(base * sensitivity * signal + real, imaginary)
    image = np.zeros(brain.shape, dtype=np.float32)
    factor = gain * np.exp(rng.normal(0, 0.35))
    image[brain] = np.maximum(factor * magnitude, 1e-3)
    return image
