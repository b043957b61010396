"""The benchmark of GPUs, as far as a CPU allows."""

import csv

import numpy as np
import pytest
import torch

from benchmarks.speed import gpu

pytestmark = pytest.mark.slow

SMALL = ["--preset", "quick", "--size", "32", "--slices", "4", "--compared", "2"]

ROW = {"detector": "EraserDetector", "scoring, slices/s": 1.0}


def test_table_on_the_cpu(tmp_path, capsys):
    assert gpu.main(["--device", "cpu", *SMALL, "--out", str(tmp_path)]) == 0
    with (tmp_path / "gpu.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["detector"] for row in rows] == ["ADMDetector", "EraserDetector"]
    for row in rows:
        assert float(row["training, slices/s"]) > 0
        assert float(row["scoring, slices/s"]) > 0
        assert float(row["difference to the CPU"]) == 0  # the same device twice
    assert "on the CPU" in capsys.readouterr().out


class Shifted:
    """Scores that are higher on any device but the CPU."""

    device = "cuda"

    def set_params(self, device, precision):
        self.device = device
        return self

    def score_samples(self, images):
        return images[:, 0] + (self.device != "cpu") * np.float32(0.5)


def test_difference_is_relative_to_the_spread_in_the_brain():
    images = np.zeros((1, 2, 2, 2), np.float32)
    images[0, 0, 0], images[0, 1, 0] = (2, 6), 1  # two brain pixels
    fitted = Shifted()
    assert gpu.difference(fitted, images) == pytest.approx(0.5 / 2)
    assert fitted.device == "cuda"  # what was measured stays as it was


def test_scores_that_differ_fail(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "DETECTORS", {"EraserDetector": "quick"})
    monkeypatch.setattr(gpu, "measure", lambda *_: {"difference to the CPU": 0.01} | ROW)
    assert gpu.main(["--device", "cpu", *SMALL, "--out", str(tmp_path)]) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so(tmp_path):
    with pytest.raises(SystemExit, match="no CUDA device"):
        gpu.main([*SMALL, "--out", str(tmp_path)])
