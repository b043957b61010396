"""The cache of prepared volumes, and reading in parts."""

import errno
import gzip
import importlib
import multiprocessing
import os
import pickle
import random
import signal
import sys
import time
import tracemalloc
from types import SimpleNamespace

import joblib
import nibabel as nib
import numpy as np
import pytest

from skadm.data import (
    ArrayVolume,
    NiftiVolume,
    SliceStack,
    _gzip,
    brain_mask,
    make_phantom,
    write_maps,
)
from skadm.data._cache import CacheSource
from skadm.data._sources import ImageSource
from skadm.preprocessing import BrainCropper, IntensityNormalizer, SliceResizer

W, H, N = 20, 24, 5


def save_patient(folder, name, seed, shape=(W, H, N)):
    """Two contrasts and a mask; every third slice holds a lesion."""
    rng = np.random.default_rng(seed)
    affine = np.diag([2.0, 1.5, 3.0, 1.0])
    folder.mkdir(exist_ok=True)
    brain = np.zeros(shape, dtype=bool)
    brain[3:-3, 2:-4, 1:] = True
    for contrast in ("T1", "T2"):
        voxels = np.where(brain, rng.integers(1, 500, shape), 0).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, affine), folder / f"{name}_{contrast}.nii.gz")
    mask = np.zeros(shape, dtype=np.uint8)
    mask[6:9, 8:12, ::3] = 1
    nib.save(nib.Nifti1Image(mask, affine), folder / f"{name}_seg.nii.gz")
    return NiftiVolume(
        {contrast: folder / f"{name}_{contrast}.nii.gz" for contrast in ("T1", "T2")},
        folder / f"{name}_seg.nii.gz",
        patient=name,
    )


def prepare(stack, size=16):
    return SliceResizer(size).fit_transform(IntensityNormalizer().fit_transform(stack))


@pytest.fixture
def files(tmp_path):
    volumes = [save_patient(tmp_path / "scans", name, i) for i, name in enumerate("ABC")]
    return SliceStack.from_volumes(volumes)


@pytest.fixture
def stack(files):
    return prepare(files)


@pytest.fixture
def decoded(monkeypatch):
    """Names of the NIfTI volumes that have been decoded."""
    names, read = [], ImageSource._decode_images

    def count(source):
        names.append(source.name)
        return read(source)

    monkeypatch.setattr(ImageSource, "_decode_images", count)
    return names


def assert_equal(a, b):
    for one, other in zip(a.load(), b.load()):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(a.affines, b.affines)
    assert a.groups.tolist() == b.groups.tolist()
    assert a.contrasts == b.contrasts


# -- the cache ---------------------------------------------------------------------------


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_cached_slices_are_those_of_the_stack(stack, tmp_path, n_jobs):
    with joblib.parallel_config("threading"):
        cached = stack.cache(tmp_path / "new" / "cache", n_jobs=n_jobs)
    assert all(isinstance(volume.source, CacheSource) for volume in cached.volumes)
    assert_equal(cached, stack)
    order = [13, 2, 2, 9, 0]
    assert_equal(cached[order], stack[order])
    cached.verify()
    # Plain files that anything can read.
    (path,) = (tmp_path / "new" / "cache").glob("B-*.images.npy")
    np.testing.assert_array_equal(np.load(path), stack[N : 2 * N].X)


def test_each_volume_is_decoded_once_and_opening_decodes_none(stack, tmp_path, decoded):
    stack.cache(tmp_path / "cache")
    assert decoded == ["A", "B", "C"]
    again = stack.cache(tmp_path / "cache")
    again[[0, 7]].load()
    # Part of the stack is in the cache of the whole.
    stack[[6]].cache(tmp_path / "cache").load()
    assert decoded == ["A", "B", "C"]


def test_unlabelled_volumes_and_volumes_in_memory(tmp_path):
    images = np.random.default_rng(0).normal(size=(3, 1, 9, 10)).astype(np.float32)
    stack = SliceStack.from_volumes([ArrayVolume(images, patient="a/b", contrasts=["T1"])])
    cached = stack.cache(tmp_path)
    assert cached.y is None
    np.testing.assert_array_equal(cached.X, images)
    np.testing.assert_array_equal(stack.cache(tmp_path).X, images)
    other = SliceStack.from_volumes(
        [ArrayVolume(images + 1, patient="a/b", contrasts=["T1"])]
    )
    with pytest.raises(ValueError, match=r"volume\.a/b\.source\.images\.digest was"):
        other.cache(tmp_path)


def test_arrays_of_the_cache_cannot_be_changed(stack, tmp_path):
    images, labels = stack.cache(tmp_path / "cache").volumes[0].read()
    for array in (images, labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@pytest.mark.parametrize("kind", ["files", "memory", "in_memory"])
def test_pickles_as_paths_and_finds_the_way_back(files, tmp_path, kind):
    if kind == "memory":
        files = make_phantom(2, 4, size=40, random_state=0)
    cropped = BrainCropper(margin=2).fit_transform(files)
    stack = prepare(cropped.in_memory() if kind == "in_memory" else cropped)
    cached = stack.cache(tmp_path / "cache")
    assert len(pickle.dumps(cached)) < 4000 * len(cached.volumes)
    cached = pickle.loads(pickle.dumps(cached))
    maps = np.random.default_rng(0).normal(size=(len(stack), 16, 16))
    expected = write_maps(maps, stack, tmp_path / "expected")
    for a, b in zip(expected, write_maps(maps, cached, tmp_path / "cached")):
        assert a.read_bytes() == b.read_bytes()
        assert np.any(nib.load(a).dataobj)


def test_writing_maps_decodes_no_file_again(stack, tmp_path, decoded):
    cached, memory = stack.cache(tmp_path / "cache"), stack.in_memory()
    del decoded[:]
    maps = np.ones((len(stack), 16, 16))
    write_maps(maps, cached, tmp_path / "a")
    write_maps(maps, memory, tmp_path / "b")
    assert decoded == []
    stack = pickle.loads(pickle.dumps(stack))  # nothing is kept of it
    write_maps(maps, stack, tmp_path / "c")
    assert decoded == ["A", "B", "C"]


def test_steps_can_follow_the_cache(files, tmp_path):
    normalised = IntensityNormalizer().fit_transform(files)
    cached = normalised.cache(tmp_path / "cache")
    assert_equal(SliceResizer(16).fit_transform(cached), prepare(files))
    twice = SliceResizer(16).fit_transform(cached).cache(tmp_path / "second")
    assert_equal(twice, prepare(files))


def test_another_source_is_refused(files, stack, tmp_path, decoded):
    folder = tmp_path / "cache"
    stack.cache(folder)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    del decoded[:]
    mask = files.volumes[2].source.mask_path
    save_patient(tmp_path / "scans", "D", 3)
    bare = NiftiVolume({"T1": tmp_path / "scans" / "D_T1.nii.gz"}, mask, patient="D")
    cases = [
        (prepare(files, 12), r"volume\.A\.steps\[1\]\.size\[0\] was 16 and is 12"),
        (
            IntensityNormalizer().fit_transform(files),
            r"volume\.A\.steps was \[.*ZScore, .*Resize\] and is \[.*ZScore\]",
        ),
        (SliceStack.from_volumes([bare]), r"volume 'D' is not in it"),
    ]
    for other, message in cases:
        with pytest.raises(ValueError, match=rf"{folder} holds a cache.*{message}.*force"):
            other.cache(folder)
    os.utime(mask, ns=(1, 1))
    with pytest.raises(ValueError, match=r"volume\.C\..*mask_path\.changed was \d+ and is"):
        stack.cache(folder)
    assert decoded == []
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    # Built again, and nothing of the old one is left.
    other = prepare(files, 12)
    assert_equal(other.cache(folder, force=True), other)
    assert len(list(folder.iterdir())) == 3 * 4 + 1
    assert not {path.name for path in before} & {path.name for path in folder.glob("*.npy")}


def test_another_version_is_refused(stack, tmp_path, monkeypatch):
    stack.cache(tmp_path / "cache")
    monkeypatch.setattr("skadm.data._cache.__version__", "99")
    with pytest.raises(ValueError, match=r"version\[1\] was .* and is '99'"):
        stack.cache(tmp_path / "cache")


def test_only_a_folder_of_a_cache_is_written_to(stack, tmp_path, decoded):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    for force in (False, True):
        with pytest.raises(FileExistsError, match=r"mine holds thesis\.tex, but no cache"):
            stack.cache(tmp_path / "mine", force=force)
        with pytest.raises(NotADirectoryError, match=r"thesis\.tex is a file"):
            stack.cache(tmp_path / "mine" / "thesis.tex", force=force)
    assert decoded == []
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "index.json").write_text('{"format": 1')
    with pytest.raises(ValueError, match=r"index\.json is damaged"):
        stack.cache(tmp_path / "bad")
    assert_equal(stack.cache(tmp_path / "bad", force=True), stack)


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_a_damaged_file_is_named(stack, tmp_path, kind):
    cached = stack.cache(tmp_path / "cache")
    (path,) = (tmp_path / "cache").glob(f"B-*.{kind}.npy")
    intact = path.read_bytes()
    for damage in (intact[:-1], b"", b"x" + intact[1:]):
        path.write_bytes(damage)
        with pytest.raises(ValueError, match=rf"{path} is damaged.*Delete it"):
            cached.load()
        with pytest.raises(ValueError, match=rf"{path} is damaged"):
            cached.verify()
    path.write_bytes(intact[:-1])
    with pytest.raises(ValueError, match=rf"{path} is damaged"):
        stack.cache(tmp_path / "cache")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=rf"missing in the cache.*{path}"):
        cached.load()
    # As the message says: what is missing is built.
    assert_equal(stack.cache(tmp_path / "cache"), stack)
    assert path.read_bytes() == intact


def test_an_interrupted_build_resumes(stack, tmp_path, decoded):
    damaged = tmp_path / "scans" / "C_T2.nii.gz"
    intact, times = damaged.read_bytes(), damaged.stat()
    damaged.write_bytes(intact[:-20] + b"\0" * 20)
    os.utime(damaged, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(ValueError, match=r"C_T2\.nii\.gz.*truncated or damaged"):
        stack.cache(tmp_path / "cache")
    damaged.write_bytes(intact)
    os.utime(damaged, ns=(times.st_atime_ns, times.st_mtime_ns))
    del decoded[:]
    assert_equal(stack.cache(tmp_path / "cache"), stack)
    assert decoded == ["C"]


def test_a_full_disk_raises_and_keeps_finished_volumes(stack, tmp_path, monkeypatch):
    folder, save, room = tmp_path / "cache", np.save, 6
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=9))
        with pytest.raises(
            OSError, match=r"the cache needs another .* GiB, .* 0\.0 GiB free"
        ):
            stack.cache(folder)
    assert [path.name for path in folder.iterdir()] == ["index.json"]

    def full(file, array):
        nonlocal room
        room -= 1
        if room < 0:
            file.write(b"the beginning")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(file, array)

    with monkeypatch.context() as patch:
        patch.setattr("numpy.save", full)
        with pytest.raises(
            OSError, match=r"B-\w+\.labels\.npy cannot be written: No space"
        ):
            stack.cache(folder)
    assert sorted(path.name.split("-")[0] for path in folder.glob("*.npy")) == [*"AAAABB"]
    assert not list(folder.glob(".*"))
    assert_equal(stack.cache(folder), stack)


def _build(stack, folder):
    stack.cache(folder)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_build_leaves_nothing_unreadable(tmp_path):
    shape = (60, 60, 30)
    volumes = [save_patient(tmp_path / "scans", f"P{i}", i, shape) for i in range(6)]
    stack = SliceResizer(100).fit_transform(SliceStack.from_volumes(volumes))
    folder, expected = tmp_path / "cache", stack.load()
    start = time.perf_counter()
    _build(stack, tmp_path / "timed")
    duration = time.perf_counter() - start
    rng, context, killed = random.Random(0), multiprocessing.get_context("fork"), 0
    for round_ in range(8):
        process = context.Process(target=_build, args=(stack, folder))
        process.start()
        time.sleep(rng.uniform(0, duration / 2))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        if round_ == 3:
            for path in folder.glob("P*.npy"):
                path.unlink()  # so that there is something left to kill
        for path in folder.glob("P*.npy"):
            np.load(path)
    assert killed >= 2
    cached = stack.cache(folder)
    for found, wanted in zip(cached.load(), expected):
        np.testing.assert_array_equal(found, wanted)
    assert len(list(folder.iterdir())) == 4 * 6 + 1  # no temporary file is left


def test_a_volume_whose_name_looks_like_a_temporary_file_stays(tmp_path):
    """And what a killed process of this kind began is removed."""
    stack = SliceStack.from_volumes([save_patient(tmp_path, ".1.P", 0)])
    folder = tmp_path / "cache"
    stack.cache(folder)
    (images,) = folder.glob("*.images.npy")
    begun = images.with_name(f".4711.{images.name}")
    begun.write_bytes(b"half")
    other = save_patient(tmp_path, "Q", 1)
    images.unlink()  # so that something is built
    before = set(folder.iterdir()) - {begun}
    assert_equal(stack.cache(folder), stack)
    assert set(folder.iterdir()) == before | {images}
    with pytest.raises(ValueError, match="'Q' is not in it"):
        SliceStack.from_volumes([other]).cache(folder)


# -- reading in parts --------------------------------------------------------------------


def test_a_selection_maps_its_volumes_only_and_copies_its_slices_only(
    tmp_path, monkeypatch
):
    volumes = [
        ArrayVolume(np.full((40, 2, 80, 80), i + 1), patient=str(i), contrasts=["a", "b"])
        for i in range(3)
    ]
    cached = SliceStack.from_volumes(volumes).cache(tmp_path)
    del volumes
    read, names = CacheSource.decode, []
    monkeypatch.setattr(
        CacheSource,
        "decode",
        lambda source, labels: names.append(source.name) or read(source, labels),
    )
    cached[[100]].load()
    tracemalloc.start()
    try:
        X, _ = cached[[85, 3, 84]].load()
        one = cached[7]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert X[:, 0, 0, 0].tolist() == [3, 1, 3]
    assert one.max() == 1
    assert names == ["2", "0", "2", "0"]
    slice_bytes = 2 * 80 * 80 * 4
    assert 4 * slice_bytes < peak < 8 * slice_bytes  # a volume has 40


def test_access_does_not_grow_with_the_stack(tmp_path):
    """Sixteen slices of 100 volumes cost about what sixteen of 16 do."""
    image = np.ones((1, 1, 4, 4))
    volumes = [ArrayVolume(image, patient=str(i), contrasts=["a"]) for i in range(100)]
    cached = SliceStack.from_volumes(volumes).cache(tmp_path)
    small = cached[:16]

    def calls(stack):
        """Python functions entered: unlike seconds, the same on every machine."""
        count = 0

        def profile(frame, event, argument):
            nonlocal count
            count += event == "call"

        sys.setprofile(profile)
        try:
            stack[np.arange(15, -1, -1)].load()
        finally:
            sys.setprofile(None)
        return count

    calls(cached)
    assert calls(cached) == calls(small)


@pytest.mark.parametrize("cache", [False, True])
def test_chunks_are_the_stack_in_its_order(stack, tmp_path, cache):
    order = [3, 4, 0, 12, 11, 5, 6, 7, 1]
    selection = (stack.cache(tmp_path / "cache") if cache else stack)[order]
    expected, labels = stack[order].load()
    slice_bytes = expected[0].nbytes
    found = list(selection.chunks(2 * slice_bytes + 1))
    assert [part.places.tolist() for part in found] == [
        [0, 1],
        [2],
        [3, 4],
        [5, 6],
        [7],
        [8],
    ]
    for part in found:
        np.testing.assert_array_equal(part.images, expected[part.places])
        np.testing.assert_array_equal(part.brain, brain_mask(expected[part.places]))
        np.testing.assert_array_equal(part.labels, labels[part.places])
        np.testing.assert_array_equal(part.z, stack.z[order][part.places])
        assert {part.volume} == set(stack.volume_ids[order][part.places])
        assert {part.patient} == set(stack.groups[order][part.places])
        part.images[:] = 0  # they belong to who asked
        part.brain[:] = False
        part.labels[:] = -1
    np.testing.assert_array_equal(selection.X, expected)
    assert [len(one.places) for one in selection.chunks(1)] == [1] * len(order)
    assert list(stack[[]].chunks()) == []


def test_chunks_of_volumes_that_differ_in_size(tmp_path):
    volumes = [
        ArrayVolume(np.ones((2, 1, size, 5)), patient=str(size), contrasts=["T1"])
        for size in (4, 6)
    ]
    found = list(SliceStack.from_volumes(volumes).chunks())
    assert [part.images.shape for part in found] == [(2, 1, 4, 5), (2, 1, 6, 5)]


def test_normal_slices_are_those_without_an_anomaly(stack, tmp_path):
    normal = stack[::-1].normal()
    expected = np.flatnonzero(~(stack[::-1].y == 1).any(axis=(1, 2)))
    assert 0 < len(expected) < len(stack)
    assert_equal(normal, stack[::-1][expected])
    assert_equal(stack.cache(tmp_path / "cache")[::-1].normal(), normal)
    with pytest.raises(ValueError, match="no normal slice: each of the 2 slices"):
        stack[[3, 8]].normal()
    bare = ArrayVolume(np.ones((1, 1, 4, 4)), patient="a", contrasts=["T1"])
    with pytest.raises(ValueError, match="has no labels"):
        SliceStack.from_volumes([bare]).normal()


def test_metadata_of_a_stack_are_cached_but_not_pickled(stack):
    size = len(pickle.dumps(stack))
    for name in ("shape", "groups", "volume_ids", "affines", "voxel_sizes"):
        assert getattr(stack, name) is getattr(stack, name)
    with pytest.raises(ValueError, match="read-only"):
        stack.groups[0] = "X"
    assert len(pickle.dumps(stack)) == size
    assert joblib.hash(pickle.loads(pickle.dumps(stack)).groups) == joblib.hash(
        stack.groups
    )


# -- gzip --------------------------------------------------------------------------------


@pytest.mark.parametrize("with_isal", [True, False])
def test_gzip_of_all_kinds_and_damage(monkeypatch, with_isal):
    if with_isal:
        pytest.importorskip("isal")
    else:
        monkeypatch.setitem(sys.modules, "isal", None)
    codec = importlib.reload(_gzip)
    try:
        data = np.random.default_rng(0).bytes(5000) * 20
        assert gzip.decompress(codec.compress(data)) == data
        assert codec.compress(data) == codec.compress(data)
        one = gzip.compress(data)
        members = gzip.compress(data[:50]) + gzip.compress(data[50:]) + gzip.compress(b"")
        for file in (one, members, one + b"\0" * 8):
            assert codec.decompress(file) == data
        wrong = bytearray(one)
        wrong[len(one) // 2] ^= 255
        for damaged in (b"", b"no gzip", one[:-9], one[:200], bytes(wrong)):
            with pytest.raises(OSError, match="gzip"):
                codec.decompress(damaged)
    finally:
        monkeypatch.undo()
        importlib.reload(_gzip)
