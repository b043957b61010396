"""Every experiment of the paper on one data set, with one page of results.

Experiments run one after another, each in a separate process. Runs that several experiments
need are done once. If one experiment fails, the others continue. After an interruption, the
same command resumes. The page shows all experiments in the folder, including earlier ones
with other options, each with its command.

    python -m benchmarks run_all --data brats --add lgg --out out/brats
    python -m benchmarks run_all --data phantom --budget --seeds 1
    python -m benchmarks run_all --data brats --only compare montages

Writes a folder for each experiment, and index.html: a single file, tables and figures
included.
"""

from __future__ import annotations

import argparse
import base64
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from benchmarks.lib.options import add_experiment_arguments, read_options, say

# In the order of the page; the next ones use the runs of the first.
EXPERIMENTS = (
    *("compare", "montages", "lesion_size", "loss_curves", "ablation", "priors"),
    *("singularity", "grid", "postprocessing", "explanation", "label_free", "conformal"),
    "added_normals",
)
# These set their presets themselves: optimisation, and rates over many patients.
OWN_SIZE = ("singularity", "conformal")
ONE_SEED = ("grid", "label_free", "montages", "explanation")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_experiment_arguments(parser)
    parser.add_argument(
        "--add", help="data set for added_normals; without it, that experiment is skipped"
    )
    parser.add_argument(
        "--only", nargs="+", choices=EXPERIMENTS, default=EXPERIMENTS, metavar="NAME"
    )


def command(name: str, options: argparse.Namespace) -> list[str]:
    """The command line of an experiment, after "python"."""
    parts = ["-m", "benchmarks", name, "--data", options.data]
    parts += ["--out", str(options.out / name), "--cache", str(options.cache)]
    if name not in OWN_SIZE:
        parts += ["--size", str(options.size), "--preset", options.preset]
        parts += ["--patients", str(options.patients), "--slices", str(options.slices)]
    if name not in (*OWN_SIZE, *ONE_SEED):
        parts += ["--seeds", str(options.seeds)]
    for switch in ("budget", "augment_test"):
        if getattr(options, switch):
            parts.append(f"--{switch.replace('_', '-')}")
    if name == "added_normals":
        parts += ["--add", options.add]
    return parts


def run(name: str, options: argparse.Namespace) -> bool:
    """Run an experiment and return whether it failed."""
    parts = command(name, options)
    say(shlex.join(["python", *parts]))
    folder = options.out / name
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "run.json"
    record.unlink(missing_ok=True)  # the record of an earlier run would count as this one's
    started = time.perf_counter()
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        code = subprocess.run(
            [sys.executable, *parts], stdout=log, stderr=subprocess.STDOUT, check=False
        ).returncode
    # A comparison has results even if some of its methods failed.
    failed = not record.exists()
    minutes = (time.perf_counter() - started) / 60
    say(f"   {'failed' if failed else 'done'} ({code}) after {minutes:.1f} min")
    return failed


def section(name: str, folder: Path, failed: bool) -> dict[str, Any] | None:
    """Read tables, figures and configuration of an experiment for the page."""
    path = folder / "run.json"
    if failed:
        log = (folder / "log.txt").read_text(encoding="utf-8").splitlines()
        return {"name": name, "title": name, "error": "\n".join(log[-15:])}
    if not path.exists():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    for figure in record["figures"]:
        content = (folder / figure["file"]).read_bytes()
        figure["data"] = base64.b64encode(content).decode("ascii")
    for table in record["tables"]:
        table["columns"] = list(dict.fromkeys(k for row in table["shown"] for k in row))
    record["details"] = json.dumps(
        {key: record[key] for key in ("configuration", "versions", "data")}, indent=1
    )
    return record | {"name": name}


def cell(value: Any) -> str:
    """Format a value of a table."""
    if value is None or value != value:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def write_page(out: Path, failed: Collection[str], data: str) -> Path:
    """Render index.html from the folders of the experiments."""
    from jinja2 import Environment, FileSystemLoader

    sections = [section(name, out / name, name in failed) for name in EXPERIMENTS]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parents[1] / "lib"), autoescape=True
    )
    environment.filters["cell"] = cell
    template = environment.get_template("page.html")
    path = out / "index.html"
    path.write_text(
        template.render(sections=[part for part in sections if part], data=data),
        encoding="utf-8",
    )
    return path


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiments; 1 if one failed, else 0."""
    options = read_options(__name__, argv)

    failed = set()
    for name in EXPERIMENTS:
        if name in options.only and (options.add or name != "added_normals"):
            if run(name, options):
                failed.add(name)
            # After each, so that there is a page even if the next one fails.
            page = write_page(options.out, failed, options.data)
            say(f"   {page}")
    return 1 if failed else 0
