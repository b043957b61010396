"""What a user waits for, as measured by the benchmarks."""

import itertools

import pandas as pd
import pytest
from test_cli import write_brats

from benchmarks.__main__ import main
from benchmarks.experiments.time_to_quality import trained_for
from benchmarks.speed import _stages
from skadm import ADMDetector, EraserDetector


def test_a_stage_within_another_counts_for_itself(monkeypatch):
    """The clock is one second further each time that it is read."""
    ticks = itertools.count(10)
    monkeypatch.setattr(_stages.time, "process_time", lambda: next(ticks))
    clock = _stages.Clock()  # at 10 and 11
    clock.switch("other")  # 12

    def inner():
        next(ticks)

    def outer():
        clock.timed("read", inner)()

    clock.timed("model", outer)()
    clock.switch(None)
    # 13 model, 14 read, 15 inner, 16 back in model, 17 back in other, 18 the end
    assert clock.seconds == {"start": 11, "other": 2, "model": 2, "read": 2}


def test_a_share_of_the_epochs_of_each_stage():
    eraser = EraserDetector(max_epochs=20)
    assert trained_for(eraser, 0.25).max_epochs == 5
    assert trained_for(eraser, 0.001).max_epochs == 1
    assert eraser.max_epochs == 20
    adm = ADMDetector(max_epochs=8)
    names = [name for name in adm.get_params() if name.endswith("epochs")]
    shorter = trained_for(adm, 0.5).get_params()
    assert [shorter[name] for name in names] == [
        value and round(value / 2) for value in map(adm.get_params().get, names)
    ]


@pytest.mark.slow
def test_stages_add_up_to_the_job(tmp_path):
    write_brats(tmp_path / "scans", 1)
    options = ["--data", str(tmp_path / "scans"), "--jobs", "score", "--repeats", "1"]
    assert main(["main_job", *options, "--out", str(tmp_path / "out")]) == 0
    row = pd.read_csv(tmp_path / "out" / "main_job.csv").iloc[0]
    stages = ["start", "model", "read", "normalise", "network", "write", "other"]
    assert (row[stages] > 0).all()
    assert row[stages].sum() == pytest.approx(row["processor"])


@pytest.mark.slow
def test_a_row_for_each_training(tmp_path):
    command = ["time_to_quality", "--quick", "--shares", "0.1", "1"]
    command += ["--methods", "Eraser", "DAE, directed", "--seeds", "2"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    table = pd.read_csv(tmp_path / "time_to_quality.csv").set_index(["method", "share"])
    trained = {(name, share) for name in ("Eraser", "DAE, directed") for share in (0.1, 1)}
    assert set(table.index) == trained | {("FLAIR + T2, smoothed", 0)}
    assert table["ap"].between(0, 1).all()
    assert (table["seconds"] > 0).all()
    runs = pd.read_csv(tmp_path / "runs.csv").set_index(["method", "share"])
    eraser = runs.loc[("Eraser", 1.0)]
    assert sorted(eraser["seed"]) == [0, 1]
    assert eraser["ap"].nunique() == 2
    assert table["ap"]["Eraser", 1.0] == pytest.approx(eraser["ap"].mean())
    assert table["highest"]["Eraser", 1.0] == eraser["ap"].max()
    assert (tmp_path / "time_to_quality.png").exists()
