"""Loss curves without a constraint, with a penalty, with the floor (paper 2.7, Fig. 8c).

As in the paper, the features are the reduced contrasts alone (ADM_dr). Their number is
above the intrinsic dimension, so some collapse: without the eigenvalue floor the training
stops there. Writes singularity.csv (a row for each run), curves.csv (a row for each
epoch), singularity.png and run.json.

    python benchmarks/singularity.py --seeds 10
"""

import csv
import warnings

import numpy as np
from _common import load, parser, write_run
from matplotlib.figure import Figure
from sklearn.exceptions import ConvergenceWarning

from skadm import ADMDetector
from skadm.evaluation import format_table

VARIANTS = {
    "none": ("no constraint", "#0072B2"),
    "penalty": ("penalty on 1 / Σ_ii", "#E69F00"),
    "floor": ("eigenvalue floor", "#009E73"),
}
SETTINGS = {
    "features": "reduction",
    "latent_dim": 6,
    "energy_weight": 5e-3,
    "learning_rate": 5e-3,
    "batch_size": 8,
    "augmentation": None,
    "precision": "float32",
}


def train(X, y, constraint: str, seed: int, max_epochs: int) -> list[dict]:
    """History of one run."""
    detector = ADMDetector(
        constraint=constraint, random_state=seed, max_epochs=max_epochs, **SETTINGS
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is what we came to see
        detector.fit(X, y)
    if not np.isfinite(detector.score_samples(X[:4])).all():
        raise RuntimeError(f"scores are not finite: {constraint}, seed {seed}")
    return detector.history_


def summarise(constraint: str, seed: int, history: list[dict]) -> dict:
    """Row of singularity.csv."""
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


def draw(curves: dict[str, list[list[float]]], max_epochs: int) -> Figure:
    """Energy against epoch, a line for each run; a cross where one had to stop."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for axes, (constraint, runs) in zip(
        figure.subplots(1, len(curves), sharey=True), curves.items()
    ):
        title, colour = VARIANTS[constraint]
        stopped = [run for run in runs if len(run) < max_epochs]
        for energies in runs:
            axes.plot(energies, color=colour, lw=1)
        for energies in filter(None, stopped):
            axes.plot(len(energies) - 1, energies[-1], "x", color="k", ms=6, mew=1.5)
        axes.set_title(f"{title}\n{len(stopped)} of {len(runs)} became singular (x)")
        axes.set_xlabel("epoch")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("mean energy (negative log-likelihood)")
    return figure


def main() -> None:
    arguments = parser(__doc__.splitlines()[0], "out/singularity")
    arguments.add_argument("--seeds", type=int, default=10, help="runs of each variant")
    arguments.add_argument("--epochs", type=int, default=60, help="epochs of each run")
    arguments.set_defaults(size=64)
    options = arguments.parse_args()
    X, y, _ = load(options.data, options.size, n_patients=4, n_slices=20)
    options.out.mkdir(parents=True, exist_ok=True)
    rows, points = [], []
    curves: dict[str, list[list[float]]] = {constraint: [] for constraint in VARIANTS}
    for seed in range(options.seeds):
        for constraint in VARIANTS:
            history = train(X, y, constraint, seed, options.epochs)
            rows.append(summarise(constraint, seed, history))
            done = [record for record in history if "singular" not in record]
            curves[constraint].append([record["energy"] for record in done])
            head = {"constraint": constraint, "seed": seed}
            keys = ("epoch", "loss", "reconstruction", "energy", "least_eigenvalue")
            points += [head | {key: record[key] for key in keys} for record in done]
            print(format_table(rows[-1:]).splitlines()[-1], flush=True)
    print(format_table(rows))
    for name, table in (("singularity", rows), ("curves", points)):
        with open(options.out / f"{name}.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, table[0])
            writer.writeheader()
            writer.writerows(table)
    draw(curves, options.epochs).savefig(options.out / "singularity.png", dpi=150)
    write_run(options.out, **vars(options), **SETTINGS)


if __name__ == "__main__":
    main()
