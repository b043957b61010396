"""Training without a constraint, with a penalty, with the floor (paper 2.7, Fig. 8).

As in the paper, the only features are three reduced contrasts (ADM_dr). That is more than
the intrinsic dimension, so they collapse onto a plane, and training without the eigenvalue
floor stops there. λ is higher than for detection (0.01). With a smaller λ, the collapse
takes more epochs; with a larger one, all features collapse to a point at once.

    python -m benchmarks singularity --seeds 10
    python -m benchmarks singularity --data brats --seeds 3

Writes singularity.csv (a row for each run), curves.csv (a row for each epoch), figures of
the feature space just before the collapse, of the losses and of the eigenvalues, and
run.json.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.lib.options import add_experiment_arguments, positive, read_options, say

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from skadm import ADMDetector

VARIANTS = {
    "none": ("no constraint", "#0072B2"),
    "penalty": ("penalty on 1 / Σ_ii", "#E69F00"),
    "floor": ("eigenvalue floor", "#009E73"),
}
SETTINGS = {
    "features": "reduction",
    "latent_dim": 3,
    "energy_weight": 1e-2,
    "learning_rate": 5e-3,
    "batch_size": 8,
    "augmentation": None,
    "precision": "float32",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_experiment_arguments(parser)
    parser.add_argument("--epochs", type=positive, default=100, help="epochs of each run")
    parser.add_argument(
        "--train-slices", type=positive, default=60, help="normal slices to train on"
    )
    parser.set_defaults(size=64, patients=4, slices=20, seeds=10)


def train(X: NDArray, constraint: str, seed: int, max_epochs: int) -> ADMDetector:
    """Fit a detector; its history shows where it stopped."""
    from sklearn.exceptions import ConvergenceWarning

    from skadm import ADMDetector

    detector = ADMDetector(
        constraint=constraint, random_state=seed, max_epochs=max_epochs, **SETTINGS
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the expected result
        detector.fit(X)
    if not np.isfinite(detector.score_samples(X[:4])).all():
        raise RuntimeError(f"scores are not finite: {constraint}, seed {seed}")
    return detector


def latent_features(detector: ADMDetector, X: NDArray) -> NDArray:
    """Return the features of the brain pixels, (n_pixels, 3)."""
    return detector.pixel_features(X).transpose(0, 2, 3, 1)[(X != 0).any(axis=1)]


def summarise(constraint: str, seed: int, history: list[dict]) -> dict:
    """Return a row of singularity.csv."""
    done = [record for record in history if "singular" not in record]
    singular = [record["epoch"] for record in history if "singular" in record]
    return {
        "constraint": constraint,
        "seed": seed,
        "epochs": len(done),
        "singular_in_epoch": singular[0] if singular else None,
        "all_losses_finite": all(np.isfinite(record["loss"]) for record in done),
        "last_energy": done[-1]["energy"] if done else float("nan"),
        "least_eigenvalue": min((r["least_eigenvalue"] for r in done), default=np.nan),
    }


def draw(
    histories: Mapping[str, Sequence[list[dict]]], key: str, label: str, log: bool
) -> Figure:
    """Draw a number of each epoch, one line for each run; a cross where a run stopped."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    panels = figure.subplots(1, len(histories), sharey=True)
    for axes, (constraint, runs) in zip(panels, histories.items()):
        title, colour = VARIANTS[constraint]
        n_stopped = 0
        for history in runs:
            values = [record[key] for record in history if key in record]
            if log:  # an eigenvalue that rounding made negative has no logarithm
                values = np.maximum(values, 1e-12)
            axes.plot(values, color=colour, lw=1)
            if "singular" in history[-1]:
                n_stopped += 1
                if len(values):
                    axes.plot(len(values) - 1, values[-1], "x", color="k", ms=6, mew=1.5)
        axes.set_title(f"{title}\n{n_stopped} of {len(runs)} became singular (x)")
        axes.set_xlabel("epoch")
        axes.spines[["top", "right"]].set_visible(False)
        if log:
            axes.set_yscale("log")
    figure.axes[0].set_ylabel(label)
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    options = read_options(__name__, argv)

    from benchmarks.lib.data import load_split, spread
    from benchmarks.lib.features import plot_features_3d
    from benchmarks.lib.page import Page

    split = load_split(options)
    X = split.stack[spread(np.flatnonzero(split.learning), options.train_slices)].X
    rows: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    histories: dict[str, list[list[dict]]] = {constraint: [] for constraint in VARIANTS}
    collapsed = None
    for seed in range(options.seeds):
        for constraint in VARIANTS:
            detector = train(X, constraint, seed, options.epochs)
            history = detector.history_
            histories[constraint].append(history)
            rows.append(summarise(constraint, seed, history))
            say(", ".join(f"{key} {value}" for key, value in rows[-1].items()))
            head = {"constraint": constraint, "seed": seed}
            keys = ("epoch", "loss", "reconstruction", "energy", "least_eigenvalue")
            points += [
                head | {key: record[key] for key in keys}
                for record in history
                if "singular" not in record
            ]
            if collapsed is None and "singular" in history[-1] and len(history) > 1:
                collapsed = (seed, constraint, latent_features(detector, X))
    page = Page(
        options,
        "Singular covariances (Fig. 8)",
        f"Three latent features alone (ADM_dr), λ = {SETTINGS['energy_weight']}, "
        f"{len(X)} normal slices of {options.size} pixels.",
    )
    page.table("singularity", rows, "Runs")
    page.rows("curves", points)
    if collapsed is None:
        say("no run became singular: there is no collapsed feature space to show")
    else:
        seed, constraint, features = collapsed
        page.figure(
            "feature_space",
            plot_features_3d(features),
            "Features of brain pixels just before a covariance became singular, from two "
            f"sides: {VARIANTS[constraint][0]}, seed {seed}. In red their plane.",
        )
    energy = "mean energy (negative log-likelihood)"
    page.figure("losses", draw(histories, "energy", energy, False), "Energy")
    page.figure(
        "eigenvalues",
        draw(histories, "least_eigenvalue", "least eigenvalue, before the floor", True),
        "Least eigenvalue of a covariance, mean over an epoch",
    )
    page.close(split.describe(), parameters=SETTINGS)
