"""Trainings that are interrupted go on where they were."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from test_contract import make_slices

from skadm import ADMDetector, DSVDDDetector, EraserDetector, FAnoGANDetector
from skadm.training import Checkpoints, Trainer
from skadm.training._checkpoints import CheckpointFile

pytestmark = pytest.mark.slow

DETECTORS = [
    ADMDetector(width=4, n_blocks=1, max_epochs=3, batch_size=4, random_state=0),
    DSVDDDetector(
        width=4,
        objective="soft-boundary",
        pretraining_epochs=2,
        warm_up_epochs=2,
        max_epochs=2,
        batch_size=4,
        random_state=0,
    ),
    FAnoGANDetector(
        width=4, n_levels=2, critic_steps=2, max_epochs=2, batch_size=4, random_state=0
    ),
    EraserDetector(
        prior=[2],
        width=4,
        n_levels=2,
        self_training_epochs=2,
        max_epochs=2,
        batch_size=4,
        random_state=0,
    ),
]
X, Y = make_slices(12)


class Crash(Exception):
    """Whatever may end a process."""


def crash_after(monkeypatch, n_batches):
    """The training ends after so many batches; returns a way to lift that."""
    original, done = Trainer._checkpoint, [0]

    def checkpoint(self, epoch_ended=False):
        done[0] += not epoch_ended
        if done[0] == n_batches:
            raise Crash
        original(self, epoch_ended)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_checkpoint", checkpoint)
        yield
    yield


def assert_same(one, other):
    assert one.weights_.keys() == other.weights_.keys()
    for name, array in one.weights_.items():
        np.testing.assert_array_equal(array, other.weights_[name], err_msg=name)
    np.testing.assert_array_equal(one.score_samples(X), other.score_samples(X))


def without_seconds(history):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in history]


@pytest.mark.parametrize(("n_batches", "minutes"), [(1, 0), (5, None), (8, 0)])
@pytest.mark.parametrize("detector", DETECTORS, ids=lambda each: type(each).__name__)
def test_a_resumed_fit_ends_like_one_that_was_never_interrupted(
    detector, n_batches, minutes, tmp_path, monkeypatch
):
    expected = clone(detector).fit(X, Y)
    detector = clone(detector).set_params(checkpoints=Checkpoints(tmp_path, minutes))
    crash = crash_after(monkeypatch, n_batches)
    next(crash)
    with pytest.raises(Crash):
        detector.fit(X, Y)
    next(crash)
    assert not hasattr(detector, "weights_")
    detector.fit(X, Y)
    assert_same(detector, expected)
    assert without_seconds(detector.history_) == without_seconds(expected.history_)


def test_a_finished_training_is_not_repeated(tmp_path, monkeypatch):
    detector = clone(DETECTORS[0]).set_params(checkpoints=tmp_path).fit(X, Y)

    def batch(self, rows):
        raise AssertionError("trained again")

    monkeypatch.setattr(Trainer, "_batch", batch)
    assert_same(clone(detector).fit(X, Y), detector)


@pytest.mark.parametrize("change", [{"energy_weight": 0.1}, {"random_state": 1}, "X"])
def test_another_training_does_not_resume(change, tmp_path):
    clone(DETECTORS[0]).set_params(checkpoints=tmp_path).fit(X, Y)
    n_files = len(list(tmp_path.iterdir()))
    other, slices = clone(DETECTORS[0]), X
    if change == "X":
        slices = X.copy()
        slices[Y.max(axis=(1, 2)) < 1] *= 1.5
    else:
        other.set_params(**change)
    expected = clone(other).fit(slices, Y)
    assert_same(other.set_params(checkpoints=tmp_path).fit(slices, Y), expected)
    assert len(list(tmp_path.iterdir())) == 2 * n_files


def test_trainings_of_a_search_do_not_meet(tmp_path):
    search = GridSearchCV(
        clone(DETECTORS[0]), {"energy_weight": [1e-4, 1e-2]}, cv=2, n_jobs=2
    )
    X_many, y_many = make_slices(16)
    expected = clone(search).fit(X_many, y_many).cv_results_["mean_test_score"]
    search.set_params(estimator__checkpoints=tmp_path).fit(X_many, y_many)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], expected)
    # Two candidates in two folds and the refit, two stages each.
    assert len(list(tmp_path.iterdir())) == 2 * (2 * 2 + 1)


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(0)])
def test_a_seed_that_is_not_a_number_is_refused(random_state, tmp_path):
    detector = clone(DETECTORS[0]).set_params(
        checkpoints=tmp_path, random_state=random_state
    )
    with pytest.raises(ValueError, match="expected an integer, since checkpoints"):
        detector.fit(X, Y)


def test_a_damaged_file_is_named(tmp_path):
    detector = clone(DETECTORS[0]).set_params(checkpoints=tmp_path).fit(X, Y)
    (file,) = tmp_path.glob("*-1-translation.npz")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match=rf"{file.name} is damaged.*Delete it"):
        detector.fit(X, Y)


@pytest.mark.parametrize("minutes", [-1, float("nan"), float("inf"), "10"])
def test_impossible_minutes_are_named(minutes):
    with pytest.raises(ValueError, match="minutes="):
        Checkpoints("runs", minutes=minutes)


def test_time_between_checkpoints(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    file = Checkpoints(tmp_path, minutes=10).file("key", 1, "stage")
    now[0] = 599
    assert not file.due(epoch_ended=True)
    now[0] = 600
    assert file.due(epoch_ended=False)
    file.write({"a": np.arange(3), "b": [1.5, {"c": None}]})
    assert not file.due(epoch_ended=False)
    state = file.read()
    np.testing.assert_array_equal(state["a"], np.arange(3))
    assert state["b"] == [1.5, {"c": None}]


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_signal_leaves_a_checkpoint(number, raised, tmp_path, monkeypatch):
    expected = clone(DETECTORS[0]).fit(X, Y)
    detector = clone(DETECTORS[0]).set_params(checkpoints=Checkpoints(tmp_path, 60))
    before = signal.getsignal(number)
    original = Trainer._batch

    def batch(self, rows):
        os.kill(os.getpid(), number)
        return original(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_batch", batch)
        with pytest.raises(raised):
            detector.fit(X, Y)
    assert signal.getsignal(number) is before
    (file,) = tmp_path.iterdir()
    assert CheckpointFile(file, None).read()["progress"]["position"] == 1
    assert_same(detector.fit(X, Y), expected)


def test_in_another_thread_no_signal_is_caught(tmp_path):
    detector = clone(DETECTORS[0]).set_params(checkpoints=tmp_path)
    thread = threading.Thread(target=detector.fit, args=(X, Y))
    thread.start()
    thread.join()
    assert detector.weights_


_KILLED = """
import os, sys, time, pathlib
import numpy as np, torch
torch.set_num_threads(1)
from skadm import ADMDetector
from skadm.training import Checkpoints
from skadm.training._checkpoints import CheckpointFile

X, folder, scores = np.load(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
checkpoints = Checkpoints(folder, minutes=0)
detector = ADMDetector(width=4, n_blocks=1, max_epochs=16, batch_size=4, random_state=0,
                       checkpoints=checkpoints)

# All is imported before the first fork.
ADMDetector(width=4, n_blocks=1, max_epochs=1, random_state=0).fit(X[:2])

def start():
    process = os.fork()
    if not process:
        np.save(scores, detector.fit(X).score_samples(X))
        os._exit(0)
    return process

def written():
    return {file: file.stat().st_mtime_ns for file in folder.glob("[!.]*")}

random = np.random.default_rng(0)
for _ in range(5):
    before, process = written(), start()
    while written() == before:
        assert os.waitpid(process, os.WNOHANG) == (0, 0), "it ended by itself"
        time.sleep(0.003)
    time.sleep(random.uniform(0, 0.03))
    os.kill(process, 9)
    assert os.waitpid(process, 0)[1] == 9, "it ended before it was killed"
    for file in written():
        assert CheckpointFile(file, None).read() is not None
assert os.waitpid(start(), 0)[1] == 0
"""


@pytest.fixture
def one_thread():
    """As in the processes that are killed: sums round by how many threads add them up."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.mark.usefixtures("one_thread")
def test_a_killed_process_never_leaves_an_unreadable_checkpoint(tmp_path):
    """Killed five times at random moments, it still ends like one that was not."""
    slices = X[Y.max(axis=(1, 2)) < 1]
    np.save(tmp_path / "X.npy", slices)
    places = [tmp_path / name for name in ("X.npy", "checkpoints", "scores.npy")]
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, *map(str, places)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = clone(DETECTORS[0]).set_params(max_epochs=16).fit(slices)
    np.testing.assert_array_equal(
        np.load(tmp_path / "scores.npy"), expected.score_samples(slices)
    )


def test_a_full_disk_keeps_the_last_good_file(tmp_path):
    """A limit on the size of files stands in for the disk."""
    file = CheckpointFile(tmp_path / "state.npz", None)
    file.write({"a": np.arange(3)})
    reader, writer = os.pipe()
    # In a process that ends: limits cannot be raised again.
    if not (process := os.fork()):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        try:
            file.write({"a": np.zeros(100_000)})
        except BaseException as error:
            os.write(writer, str(error).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(process, 0)
    with open(reader, encoding="utf-8") as pipe:
        message = pipe.read()
    assert (
        "state.npz cannot be written: File too large; the existing file is kept" in message
    )
    np.testing.assert_array_equal(file.read()["a"], np.arange(3))
    assert list(Path(tmp_path).iterdir()) == [file.path]
