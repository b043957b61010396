"""Two processes that train one detector together."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from test_cli import QUICK, write_brats
from test_contract import make_slices

import skadm
from skadm import ADMDetector, FAnoGANDetector
from skadm.cli import main

pytestmark = pytest.mark.slow

_TRAIN = """
import pickle, sys, torch
torch.set_num_threads(1)
from skadm.cli import main
from skadm.training import launched
folder, *command = sys.argv[1:]
with launched() as processes:
    tasks = pickle.load(open(f"{folder}/tasks.pkl", "rb"))
    trained = {name: detector.fit(X) for name, (detector, X) in tasks.items()}
    pickle.dump(trained, open(f"{folder}/result{processes.rank}.pkl", "wb"))
for round in range(10):  # one group after another, each with a group inside
    with launched() as processes, launched() as same:
        assert processes.size == same.size == 2
        assert processes.same(round * (1 - processes.rank)) == round
sys.exit(main(command))
"""

EXACT = ADMDetector(
    width=4,
    n_blocks=1,
    norm="none",  # batch norm sees the slices of its own process
    targets_per_step=9,  # all: none is drawn
    augmentation=None,
    precision="float32",
    features="translation",
    max_epochs=3,
    batch_size=4,
    random_state=0,
)


def launch_two(*arguments):
    """Run a command of Python by two processes, and return what they printed."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"),
            *("--master-addr", "127.0.0.1", "--master-port", "0", "--standalone"),
            *map(str, arguments),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,  # processes that wait for each other give up after half an hour
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def even_slices():
    """Every slice has as many brain pixels, so that means over slices are the same."""
    X = make_slices(13)[0]
    X[:, :, :8] = 0.5
    return np.where(X == 0, np.float32(1e-3), X)


TASKS = {
    "exact": (EXACT, even_slices()),
    # The last batch has one slice: a process has none.
    "ADM": (
        clone(EXACT).set_params(norm="batch", features="both", augmentation="default"),
        make_slices(9)[0],
    ),
    "f-AnoGAN": (
        FAnoGANDetector(
            width=4, n_levels=2, critic_steps=2, max_epochs=3, batch_size=4, random_state=0
        ),
        make_slices(9)[0],
    ),
}


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """Arguments of the command line, up to the name of the model."""
    scans = write_brats(tmp_path_factory.mktemp("scans") / "scans", n_patients=2)
    return ["fit", "--data", str(scans), *QUICK, "--seed", "0", "--out"]


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory, command):
    """Results of two processes, which are started once: that takes longest.

    The folder has all trained tasks of each process and the model of the command line.
    """
    folder = tmp_path_factory.mktemp("two")
    (folder / "tasks.pkl").write_bytes(pickle.dumps(TASKS))
    (folder / "train.py").write_text(_TRAIN)
    printed = launch_two(folder / "train.py", folder, *command, folder / "two.skadm")
    return folder, printed


@pytest.fixture(scope="module")
def trained_by_two(two_processes):
    folder, _ = two_processes
    return [pickle.loads((folder / f"result{rank}.pkl").read_bytes()) for rank in range(2)]


def losses(detector, stage):
    return [record["loss"] for record in detector.history_ if record["stage"] == stage]


def test_the_curve_is_that_of_one_process(trained_by_two):
    """Without norm, augmentation or random targets nothing but rounding differs."""
    detector, X = TASKS["exact"]
    alone = clone(detector).fit(X)
    one, other = (trained["exact"] for trained in trained_by_two)
    found, expected = losses(one, "translation"), losses(alone, "translation")
    np.testing.assert_allclose(found[:1], expected[:1], rtol=1e-4)
    # Adam's first steps are as long for a gradient of nothing but rounding.
    np.testing.assert_allclose(found, expected, rtol=5e-3)
    for name, array in one.weights_.items():
        np.testing.assert_array_equal(array, other.weights_[name], err_msg=name)
    scores = [each.score_samples(X).ravel() for each in (one, alone)]
    assert np.corrcoef(scores)[0, 1] > 0.999


@pytest.mark.parametrize("task", ["ADM", "f-AnoGAN"])
def test_processes_agree_on_all_that_is_learned(task, trained_by_two):
    detector, X = TASKS[task]
    alone = clone(detector).fit(X)
    one, other = (trained[task] for trained in trained_by_two)
    for name, array in one.weights_.items():
        np.testing.assert_array_equal(array, other.weights_[name], err_msg=name)
    stages = dict.fromkeys(record["stage"] for record in alone.history_)
    for stage in stages:
        assert len(losses(one, stage)) == len(losses(alone, stage))
        assert losses(one, stage) == losses(other, stage)
        # Other draws and other statistics of batches; the first epoch differs little yet.
        np.testing.assert_allclose(
            losses(one, stage)[0], losses(alone, stage)[0], rtol=0.05
        )


def test_the_command_line_trains_with_two(two_processes, command, tmp_path):
    """One model, reported once, which is that of one process but for its batch norm."""
    folder, printed = two_processes
    assert printed.count("model:") == 1
    assert main([*command, str(tmp_path / "one.skadm")]) == 0
    one = skadm.load(tmp_path / "one.skadm")[-1]
    two = skadm.load(folder / "two.skadm")[-1]
    stages = [record["stage"] for record in one.history_]
    assert [record["stage"] for record in two.history_] == stages
    assert losses(two, stages[0])[0] == pytest.approx(losses(one, stages[0])[0], rel=0.2)
