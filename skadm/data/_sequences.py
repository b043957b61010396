"""Tissue signals for MR sequences with random parameters."""

import numpy as np

SEQUENCES = ("T1", "T1ce", "T2", "PD", "FLAIR", "DWI", "ADC")

# T1 and T2 in ms, proton density, diffusivity in 10^-3 mm^2/s of fluid, cortex, deep grey
# nuclei, pallidum, white matter, hyperintense white matter, vessels, and residual tissue
# around the brain after skull stripping. Textbook values between 1.5 and 3 T, rounded.
T1 = np.array([4000.0, 1300.0, 1150.0, 1000.0, 830.0, 1100.0, 1600.0, 700.0])
T2 = np.array([1600.0, 95.0, 85.0, 68.0, 76.0, 115.0, 90.0, 70.0])
DENSITY = np.array([1.0, 0.83, 0.81, 0.77, 0.71, 0.78, 0.60, 0.55])
DIFFUSION = np.array([3.0, 0.82, 0.75, 0.72, 0.70, 0.95, 1.6, 1.0])
N_TISSUES = len(T1)
_VESSEL, _MENINGES = 6, 7


def draw_sequence(
    rng: np.random.Generator, name: str, tissues: "Tissues", spread: float
) -> np.ndarray:
    """Return the signal (8,) of every tissue for a kind of sequence, scaled to [0, 1].

    `spread` is the standard deviation of each tissue's log-signal about the signal
    equation. It accounts for effects not modelled: magnetisation transfer, flow, coils,
    vendor filters.
    """
    signals = _SIGNALS[name](rng, tissues)
    signals = signals * np.exp(spread * rng.standard_normal(N_TISSUES))
    signals = (signals / signals.max()) ** np.exp(rng.normal(0, 0.12))
    return signals / signals.max()


class Tissues:
    """Random relaxation times, densities and diffusivities of one patient's tissues."""

    def __init__(self, rng: np.random.Generator) -> None:
        def varied(values, spread):
            return values * np.exp(spread * rng.standard_normal(N_TISSUES))

        # Field strength scales all T1 together.
        self.t1 = varied(T1, 0.06) * np.exp(rng.uniform(-0.2, 0.1))
        self.t2 = varied(T2, 0.06)
        self.density = varied(DENSITY, 0.03)
        self.diffusion = varied(DIFFUSION, 0.06)


def _spin_echo(t1, tissues, repetition, echo):
    recovered = 1 - np.exp(-repetition / t1)
    return tissues.density * recovered * np.exp(-echo / tissues.t2)


def _t1(rng, tissues):
    if rng.random() < 0.6:
        return _spin_echo(tissues.t1, tissues, rng.uniform(350, 800), rng.uniform(3, 18))
    # MPRAGE: fluid is still below 0 at the inversion time, partly saturated, and dark.
    inversion = rng.uniform(850, 1150)
    signal = 1 - 2 * np.exp(-inversion / tissues.t1) / (1 + np.exp(-2000 / tissues.t1))
    return tissues.density * np.maximum(signal, 0.03 + 0.12 * rng.random())


def _t1_enhanced(rng, tissues):
    t1 = tissues.t1.copy()
    t1[[_VESSEL, _MENINGES]] = rng.uniform(200, 450, size=2)
    return _spin_echo(t1, tissues, rng.uniform(350, 800), rng.uniform(3, 15))


def _t2(rng, tissues):
    return _spin_echo(tissues.t1, tissues, rng.uniform(2500, 7000), rng.uniform(70, 125))


def _density(rng, tissues):
    return _spin_echo(tissues.t1, tissues, rng.uniform(2000, 5000), rng.uniform(8, 32))


def _flair(rng, tissues):
    repetition = rng.uniform(6000, 11000)
    t1 = tissues.t1
    # Inversion time near the null point of fluid.
    null = t1[0] * np.log(2 / (1 + np.exp(-repetition / t1[0])))
    inversion = null * np.exp(rng.normal(0, 0.09))
    recovered = 1 - 2 * np.exp(-inversion / t1) + np.exp(-repetition / t1)
    decayed = np.exp(-rng.uniform(80, 145) / tissues.t2)
    return tissues.density * np.abs(recovered) * decayed


def _diffusion_weighted(rng, tissues):
    weighted = np.exp(-rng.uniform(0.8, 1.2) * tissues.diffusion)
    return tissues.density * np.exp(-rng.uniform(65, 105) / tissues.t2) * weighted


def _diffusion(rng, tissues):
    return tissues.diffusion


_SIGNALS = {
    "T1": _t1,
    "T1ce": _t1_enhanced,
    "T2": _t2,
    "PD": _density,
    "FLAIR": _flair,
    "DWI": _diffusion_weighted,
    "ADC": _diffusion,
}
