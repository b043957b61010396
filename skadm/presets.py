"""Named sets of parameters: what fits a laptop, and what the paper used."""

from typing import Any

from skadm.base import BaseDetector
from skadm.detectors import all_detectors

# Each detector has "quick", to see that everything runs, in a minute, with scores that are
# not worth reading; "cpu", for two cores without a GPU; and one or two of its "paper".
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "ADMDetector": {
        "quick": {"width": 8, "n_blocks": 2, "max_epochs": 4},
        "cpu": {
            "width": 16,
            "max_epochs": 30,
            "learning_rate": 2e-3,
            "energy_weight": 5e-3,
        },
        # As published (2.3): λ and epochs; width and learning rate are ours.
        "paper-brats": {"energy_weight": 5e-4, "max_epochs": 50, "targets_per_step": 4},
        "paper-isles": {"energy_weight": 5e-3, "max_epochs": 200, "targets_per_step": 4},
    },
    "DAEDetector": {
        "quick": {"width": 4, "max_epochs": 4},
        "cpu": {"max_epochs": 20, "learning_rate": 2e-3},
        # The authors' code; 67 200 steps of 16 slices there, however many slices there are.
        "paper": {"width": 64, "learning_rate": 1e-4, "max_epochs": 200},
    },
    "DAGDetector": {
        "quick": {"max_epochs": 4},
        # Energy and penalty by validation: those of DAGMM keep the measures of
        # reconstruction from becoming as sure as they could be.
        "cpu": {
            "energy_weight": 0.02,
            "penalty_weight": 1e-4,
            "max_epochs": 30,
            "learning_rate": 5e-3,
        },
        # DAGMM's largest, for KDDCUP99 (Zong et al. 2018, 4.3); Kim et al. give no sizes.
        "paper": {
            "latent_dim": 1,
            "width": 60,
            "learning_rate": 1e-4,
            "max_epochs": 200,
        },
    },
    "DAGcDetector": {
        "quick": {"width": 8, "max_epochs": 4},
        "cpu": {
            "energy_weight": 0.02,
            "penalty_weight": 1e-4,
            "max_epochs": 30,
            "learning_rate": 5e-3,
        },
        "paper": {"width": 60, "learning_rate": 1e-4, "max_epochs": 200},
    },
    "DSVDDDetector": {
        "quick": {"width": 8, "pretraining_epochs": 2, "max_epochs": 4},
        "cpu": {"pretraining_epochs": 15, "max_epochs": 15, "learning_rate": 2e-3},
        # Ruff et al. 2018, 4.3: their net for CIFAR-10.
        "paper": {
            "width": 32,
            "latent_dim": 128,
            "pretraining_epochs": 350,
            "max_epochs": 150,
            "learning_rate": 1e-4,
        },
    },
    "EraserDetector": {
        "quick": {"width": 4, "max_epochs": 4, "max_samples": 2_000},
        "cpu": {"n_networks": 3, "max_epochs": 20, "learning_rate": 2e-3},
        # There is no paper of it; as long as that of the DAE, whose kin it is.
        "paper": {"width": 64, "learning_rate": 1e-4, "max_epochs": 200},
    },
    "FAnoGANDetector": {
        "quick": {"width": 8, "n_levels": 3, "max_epochs": 4},
        # As many steps of the generator as there is time for: still few for a GAN.
        "cpu": {
            "width": 8,
            "critic_steps": 2,
            "batch_size": 4,
            "max_epochs": 20,
            "learning_rate": 3e-3,
        },
        # The authors' code: 64 channels, batches of 64, learning rate 1e-4.
        "paper": {
            "width": 64,
            "batch_size": 64,
            "learning_rate": 1e-4,
            "max_epochs": 200,
        },
    },
    "GMVAEDetector": {
        "quick": {"width": 8, "max_epochs": 4, "restoration_steps": 2},
        "cpu": {"restoration_steps": 5, "max_epochs": 40, "learning_rate": 2e-3},
        # The authors' code, for one contrast. Their objective, squared error and 1.8 times
        # the total variation, is twice that of here; their steps were 5e-3, then 2e-3.
        "paper": {
            "width": 64,
            "latent_dim": 1,
            "tv_weight": 0.9,
            "restoration_steps": 500,
            "step_size": 5e-3,
            "max_epochs": 400,
            "learning_rate": 5e-5,
            "augmentation": None,
        },
    },
    "GaussianMixtureDetector": {
        "quick": {"max_samples": 2_000},
        # A fit of seconds; more pixels hardly change the mixture.
        "cpu": {"max_samples": 300_000},
        # Every pixel of the normal slices, which is what the paper's detectors learn from;
        # 6 Gaussians, as in the paper, are the default.
        "paper": {"max_samples": None},
    },
    # Nothing is trained; the names are there so that every detector has them.
    "IntensityDetector": {"quick": {}, "cpu": {}, "paper": {}},
    "PCADetector": {
        "quick": {"max_samples": 2_000},
        # A fit of seconds, in less than 100 MB.
        "cpu": {"max_samples": 100_000},
        # Every pixel, as above. With 5 × 5 patches of 4 contrasts, 800 bytes each.
        "paper": {"max_samples": None},
    },
}
"""Parameters by detector and preset; what is not named keeps its default."""


def make_detector(name: str, preset: str | None = None, **parameters) -> BaseDetector:
    """Make a detector from its name and a preset.

    Parameters
    ----------
    name : str
        Class name, such as "ADMDetector".
    preset : str, default=None
        Key of ``PRESETS[name]``. None: the defaults.
    **parameters
        Go before those of the preset.

    Returns
    -------
    detector : BaseDetector
        Not fitted.

    Raises
    ------
    ValueError
        If there is no such detector or preset.
    """
    detectors = dict(all_detectors())
    if name not in detectors:
        raise ValueError(f"no detector {name!r}; expected one of {sorted(detectors)}.")
    known = PRESETS.get(name, {})
    if preset is not None and preset not in known:
        raise ValueError(
            f"{name} has no preset {preset!r}; expected one of {sorted(known)}."
        )
    chosen = known[preset] if preset is not None else {}
    return detectors[name](**{**chosen, **parameters})
