"""The benchmark of faults of one contrast."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.experiments import robustness
from benchmarks.lib import faults
from skadm.data import make_phantom


@pytest.fixture(scope="module")
def scan():
    return make_phantom(1, 12, 32, random_state=0).volumes[0].decode()


def test_each_fault_spoils_its_contrast_alone_and_more_if_strong(scan):
    errors = {}
    for fault, severity, images in faults.faulty(scan.images, scan.brain, 2):
        others = [0, 1, 3]
        np.testing.assert_array_equal(images[:, others], scan.images[:, others])
        assert (images[:, 2][~scan.brain] == 0).all()
        assert np.isfinite(images).all()
        errors[fault, severity] = np.square(images - scan.images).sum()
    assert len(errors) == 2 * len(faults.FAULTS)
    for fault in faults.FAULTS:
        assert 0 < errors[fault, "mild"] < errors[fault, "strong"]


@pytest.mark.slow
def test_benchmark_shows_what_faults_cost(tmp_path, monkeypatch):
    few = ("cut at one side", "saturated")
    monkeypatch.setattr(faults, "FAULTS", {name: faults.FAULTS[name] for name in few})
    tiny = ["--size", "24", "--patients", "3", "--slices", "6", "--preset", "quick"]
    method = "FLAIR + T2/2, smoothed"
    robustness.main([*tiny, "--methods", method, "--out", str(tmp_path)])
    table = pd.read_csv(tmp_path / "robustness.csv", keep_default_na=False)
    # Of four contrasts, mild and strong: filled in, not filled in, saturated.
    assert len(table) == 4 * 2 * (2 + 1) + 1
    clean = table[table["fault"] == "none"]
    np.testing.assert_allclose(clean["change"], 0)
    of_t1 = table[(table["contrast"] == "T1") & (table["cut"] != "not filled in")]
    np.testing.assert_allclose(of_t1["change"], 0)  # at which the method does not look
    assert table["change"].min() < 0


@pytest.mark.slow
def test_alarms_are_counted(tmp_path, capsys):
    from test_coverage import write_scans

    folder = write_scans(tmp_path / "scans", cut="phantom-001")
    robustness.main(["--alarms", str(folder), "--out", str(tmp_path / "out")])
    (row,) = pd.read_csv(tmp_path / "out" / "alarms.csv").to_dict("records")
    assert (row["scans"], row["alarms"]) == (3, 1)
    assert "T1 of phantom-001 does not cover" in capsys.readouterr().err
