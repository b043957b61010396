"""Stacks larger than memory: the same result, in memory that does not grow."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sklearn

from skadm import ADMDetector, DAEDetector, GaussianMixtureDetector, PCADetector
from skadm._brain import brain_values
from skadm._disk import is_on_disk, release, scratch_array
from skadm._quantile import quantile
from skadm.data import make_phantom

pytestmark = pytest.mark.slow

DETECTORS = [
    ADMDetector(width=4, n_blocks=1, max_epochs=2, batch_size=4, random_state=0),
    DAEDetector(width=4, n_levels=2, max_epochs=2, batch_size=4, random_state=0),
    GaussianMixtureDetector(n_components=2, max_samples=300, random_state=0),
    PCADetector(max_samples=300, random_state=0),
]


@pytest.fixture(scope="module")
def stack():
    return make_phantom(n_patients=2, n_slices=7, size=32, random_state=0)


@pytest.fixture
def _no_memory():
    """Nothing fits into memory."""
    with sklearn.config_context(working_memory=0):
        yield


def on_disk(folder, array):
    np.save(folder / "array.npy", array)
    return np.load(folder / "array.npy", mmap_mode="r")


@pytest.mark.usefixtures("_no_memory")
@pytest.mark.parametrize("detector", DETECTORS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("source", ["stack", "memmap"])
def test_from_disk_all_is_the_same_to_the_bit(stack, detector, source, tmp_path):
    X, y = stack.load()
    with sklearn.config_context(working_memory=1024):
        expected = sklearn.clone(detector).fit(X, y)
    X_disk = stack if source == "stack" else on_disk(tmp_path, X)
    streamed = sklearn.clone(detector).fit(X_disk, y)
    assert streamed.offset_ == pytest.approx(expected.offset_, rel=1e-6)
    assert streamed.background_score_ == expected.background_score_
    out = np.lib.format.open_memmap(
        tmp_path / "maps.npy", "w+", dtype=np.float32, shape=y.shape
    )
    assert streamed.score_samples(X_disk, out=out) is out
    np.testing.assert_array_equal(out, expected.score_samples(X))
    np.testing.assert_array_equal(streamed.predict(X_disk), expected.predict(X))
    assert streamed.score(X_disk, y) == expected.score(X, y)


def test_a_memmap_of_float64_is_spooled_as_float32(stack, tmp_path):
    X, y = stack.load()
    detector = sklearn.clone(DETECTORS[2])
    expected = sklearn.clone(detector).fit(X, y).offset_
    X = on_disk(tmp_path, X.astype(np.float64))
    with sklearn.config_context(working_memory=0):
        assert detector.fit(X, y).offset_ == pytest.approx(expected, rel=1e-6)
    assert detector.score_samples(X[:2]).dtype == np.float64


@pytest.mark.usefixtures("_no_memory")
def test_bad_slices_in_a_later_chunk_are_found(stack, tmp_path, monkeypatch):
    monkeypatch.setattr("skadm._disk.CHUNK_BYTES", 1)
    X = stack.X.copy()
    X[-1, 0, 16, 16] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        sklearn.clone(DETECTORS[2]).fit(on_disk(tmp_path, X))


@pytest.mark.parametrize(
    "out", [np.empty((3, 32, 32)), np.empty((14, 32, 32), np.int8)], ids=["shape", "type"]
)
def test_out_is_checked_before_anything_is_scored(stack, out):
    detector = sklearn.clone(DETECTORS[2]).fit(stack, stack.y)
    before = out.copy()
    with pytest.raises(ValueError, match="out has shape"):
        detector.score_samples(stack, out=out)
    np.testing.assert_array_equal(out, before)


@pytest.mark.usefixtures("_no_memory")
def test_a_full_disk_is_told_before_anything_is_read(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match=r"0\.0 GiB .* TMPDIR"):
        scratch_array((3, 4))


@pytest.mark.usefixtures("_no_memory")
def test_released_pages_are_still_in_the_file():
    array = scratch_array((100, 100))
    assert is_on_disk(array[3:])
    array[:] = np.arange(100)
    release(array[5:])
    np.testing.assert_array_equal(array.sum(axis=0), 100 * np.arange(100))


def test_private_changes_are_never_let_go(tmp_path):
    array = on_disk(tmp_path, np.zeros(5000))
    private = np.memmap(array.filename, array.dtype, "c", array.offset, array.shape)
    private[:] = 1
    release(private)
    assert private.sum() == 5000


@pytest.mark.parametrize("q", [0, 0.01, 0.37, 0.5, 0.999, 1])
@pytest.mark.parametrize("kind", ["normal", "ties", "tiny", "one"])
def test_quantiles_are_those_of_numpy(kind, q):
    random = np.random.default_rng(0)
    values = {
        "normal": random.normal(0, 1e3, 1001),
        "ties": random.integers(-3, 3, 500) / 4,
        "tiny": random.normal(0, 1e-42, 300),
        "one": np.array([-2.5]),
    }[kind].astype(np.float32)
    expected = np.quantile(values.astype(np.float64), q)
    assert quantile(values, q) == pytest.approx(expected, rel=1e-12, abs=0)


def test_brain_values_are_in_the_order_of_the_pixels(stack, monkeypatch):
    X = stack.X
    monkeypatch.setattr("skadm._disk.CHUNK_BYTES", 2 * X[:1].nbytes)
    found = brain_values(lambda some, brain: some[:, 1], X)
    np.testing.assert_array_equal(found, X[:, 1][(X != 0).any(axis=1)])


_MEMORY = """
import sys, numpy as np, sklearn
from pathlib import Path
import skadm._disk; skadm._disk.CHUNK_BYTES = 2**22
sklearn.set_config(working_memory=1)
from skadm import PCADetector
X = np.load(sys.argv[1], mmap_mode="r")

def kib(field):
    return int(Path("/proc/self/status").read_text().split(field + ":")[1].split()[0])

def peak(X):
    Path("/proc/self/clear_refs").write_text("5")  # the highest is that of now
    base = kib("VmRSS")
    detector = PCADetector(max_samples=1000, random_state=0).fit(X)
    out = np.lib.format.open_memmap(
        sys.argv[1] + ".out", "w+", np.float32, (len(X), *X.shape[2:])
    )
    detector.score_samples(X, out=out)
    return kib("VmHWM") - base

peak(X[:100])  # what has to be loaded once
print(peak(X[:100]), peak(X))
"""


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="Linux tells the peak of memory"
)
def test_memory_does_not_grow_with_the_number_of_slices(tmp_path):
    """1100 slices are 33 MB more than 100."""
    X = np.lib.format.open_memmap(
        tmp_path / "X.npy", "w+", np.float32, shape=(1100, 2, 64, 64)
    )
    random = np.random.default_rng(0)
    for row in X:
        row[:] = random.standard_normal(row.shape, dtype=np.float32)
    X.flush()
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, str(tmp_path / "X.npy")],
        capture_output=True,
        text=True,
        check=True,
    )
    few, many = map(int, done.stdout.split())
    assert many - few < 25_000  # KiB
