"""Tables and figures of an evaluation."""

from pathlib import Path
from typing import Any

from skadm._files import replace_atomically
from skadm.cli._output import write_csv, write_json


def print_tables(evaluation: Any, left_out: dict[str, str]) -> None:
    """Print the pooled rows, and mean and spread over patients."""
    from skadm.evaluation import format_table
    from skadm.evaluation._tables import summarise_patients

    for split in ("validation", "test"):
        rows = [_without_seed(row) for row in evaluation.rows if row["split"] == split]
        if rows:
            notes = [
                {"method": method, "split": split, "note": reason}
                for method, reason in left_out.items()
            ]
            print(f"\n{format_table([*rows, *notes])}")
    print("\nOver test patients with an anomaly, per patient:")
    print(format_table(summarise_patients(evaluation.patient_rows)))


def _without_seed(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "seed"}


def write_tables(folder: Path, evaluation: Any, outside_ml: dict[str, float]) -> list[Path]:
    """Write metrics.json, metrics.csv and per_patient.csv; create the folder.

    Rows of patients include the lesion volume outside the brain.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for row in evaluation.patient_rows:
        row["lesion_outside_brain_ml"] = outside_ml.get(row["patient"], 0.0)
    files = [folder / name for name in ("metrics.json", "metrics.csv", "per_patient.csv")]
    write_json(files[0], evaluation.rows)
    write_csv(files[1], evaluation.rows)
    write_csv(files[2], evaluation.patient_rows)
    return files


def write_figures(
    folder: Path, stack: Any, labels: Any, maps: dict[str, Any]
) -> list[Path]:
    """Draw roc.png, precision_recall.png and montage.png."""
    from skadm.plotting import plot_montage, plot_precision_recall, plot_roc

    curves = {name: (labels, scores) for name, scores in maps.items()}
    return [
        save_figure(folder / "roc.png", plot_roc(curves)),
        save_figure(folder / "precision_recall.png", plot_precision_recall(curves)),
        save_figure(folder / "montage.png", plot_montage(stack, labels, maps)),
    ]


def save_figure(path: Path, figure: Any) -> Path:
    """Write a figure."""
    replace_atomically(path, figure.savefig)
    return path


def remove_previous(out: Path) -> None:
    """Remove the output of an earlier demo, so that old maps are not mistaken for new ones.

    Only files with names of a demo are removed; called after --force, or in an empty
    folder.
    """
    from skadm.cohort import KINDS

    figures = ("roc", "precision_recall", "montage", "history")
    for file in (
        *(out / f"{name}.png" for name in figures),
        *(file for kind in KINDS for file in (out / "maps").glob(f"*_{kind}.nii.gz")),
    ):
        file.unlink(missing_ok=True)
