"""What each use of the package imports: in one new process, from the lightest on."""

import subprocess
import sys

import pytest
from test_contract import make_slices

import skadm
from skadm import IntensityDetector

pytestmark = pytest.mark.slow

STEPS = """
import sys

def refuse(use, *heavy):
    imported = set(heavy) & set(sys.modules)
    assert not imported, f"{use} imports {imported}"

from skadm.cli import main
try:
    main(["--help"])
except SystemExit:
    pass
refuse("skadm --help", "torch", "numpy", "sklearn", "nibabel")

import skadm
assert not hasattr(skadm, "Abacus")
import skadm.pooling
from skadm import SliceDetector, VolumeDetector
skadm.card(sys.argv[1])
assert isinstance(skadm.load(sys.argv[1]), skadm.IntensityDetector)
refuse("a model without networks", "torch")

import skadm.plotting
refuse("skadm.plotting", "torch", "matplotlib")
skadm.plotting.plot_history([{"epoch": 0, "loss": 1.0}])
refuse("a figure", "torch", "matplotlib.pyplot")

skadm.PCADetector, skadm.GaussianMixtureDetector, skadm.IntensityDetector
refuse("a detector without networks", "torch")

skadm.ADMDetector
assert "torch" in sys.modules
assert not hasattr(skadm, "AbacusDetector")
# Each takes as long to import as a patient takes to score.
import skadm.pretrained
skadm.pretrained._PATIENTS = 1
skadm.load_pretrained(contrasts=["FLAIR"])
refuse("a pretrained model", "sympy", "torch._dynamo")
"""


def test_no_use_imports_what_it_does_not_need(tmp_path):
    model = tmp_path / "model.skadm"
    skadm.save(IntensityDetector().fit(make_slices()[0][:4]), model)
    command = [sys.executable, "-c", STEPS, str(model)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
