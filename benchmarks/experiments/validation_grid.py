"""AUC and AP on validation slices for several values of one parameter of ADM.

Trains on the normal slices of the training patients and scores the abnormal slices of the
same patients; test patients are not looked at. Writes validation_grid.csv and run.json.

    python benchmarks/validation_grid.py --data brats --parameter norm \\
        --values batch instance none
"""

import ast
import csv

import numpy as np
from benchmarks.lib.options import load, parser, write_run

from skadm.evaluation import format_table, patient_split
from skadm.metrics import pixel_average_precision_score, pixel_roc_auc_score
from skadm.presets import make_detector


def literal(text: str):
    """A number, True, None, or else the word itself."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def main() -> None:
    arguments = parser(__doc__.splitlines()[0], "out/validation_grid")
    arguments.add_argument("--preset", default="cpu", help="what the other parameters are")
    arguments.add_argument("--parameter", required=True, help="of ADMDetector")
    arguments.add_argument("--values", nargs="+", type=literal, required=True)
    arguments.add_argument("--seeds", type=int, default=1, help="runs for each value")
    options = arguments.parse_args()
    X, y, groups = load(options.data, options.size)
    train, _ = patient_split(groups, random_state=0)
    abnormal = train & (y == 1).any(axis=(1, 2))
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for value in options.values:
        for seed in range(options.seeds):
            detector = make_detector(
                "ADMDetector",
                options.preset,
                random_state=seed,
                **{options.parameter: value},
            )
            detector.fit(X[train], y[train])
            maps = detector.score_samples(X[abnormal])
            row = {options.parameter: str(value), "seed": seed}
            row["auc"] = pixel_roc_auc_score(y[abnormal], maps)
            row["ap"] = pixel_average_precision_score(y[abnormal], maps)
            row["minutes"] = sum(record["seconds"] for record in detector.history_) / 60
            rows.append(row)
            print(format_table([row]), flush=True)
    print(format_table(rows))
    with open(options.out / "validation_grid.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    patients = np.unique(groups[train]).tolist()
    write_run(options.out, vars(options) | {"training_patients": patients})


if __name__ == "__main__":
    main()
