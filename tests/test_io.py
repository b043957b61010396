"""Files of models: they come back to the bit, and harm nobody who loads them."""

import io
import json
import os
import pickle
import struct
import threading
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline, make_pipeline

import skadm
import skadm.callbacks
from skadm import (
    Augmentation,
    ConformalDetector,
    EnsembleDetector,
    FlipAveragedDetector,
    IntensityDetector,
    PCADetector,
    PostprocessedDetector,
    SliceDetector,
    VolumeDetector,
    presets,
)
from skadm.data import make_phantom
from skadm.detectors import all_detectors
from skadm.image_level import volumes_of
from skadm.persistence import _archive
from skadm.pooling import LargestComponent, Quantile, TopKMean
from skadm.postprocessing import (
    BorderEroder,
    GaussianSmoother,
    MedianFilter,
    SmallComponentRemover,
)
from skadm.preprocessing import BrainCropper, IntensityNormalizer, SliceResizer


@pytest.fixture(scope="module")
def stack():
    phantom = make_phantom(n_patients=4, n_slices=6, size=24, random_state=0)
    return IntensityNormalizer().fit_transform(phantom).in_memory()


@pytest.fixture(scope="module")
def detector(stack):
    return PCADetector(neighbourhood=3, random_state=0).fit(stack, stack.y)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "model.skadm"


@pytest.fixture
def saved(detector, file):
    skadm.save(detector, file)
    return file


def saved_and_loaded(model, file):
    skadm.save(model, file)
    return skadm.load(file)


def quick(name):
    detector = presets.make_detector(name, "quick")
    given = {"random_state": 0, "device": "cpu", "max_epochs": 1, "max_samples": 500}
    names = detector.get_params()
    return detector.set_params(**{k: v for k, v in given.items() if k in names})


# -- back to the bit ---------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, _ in all_detectors()])
def test_every_detector_comes_back(name, stack, file):
    before = quick(name).fit(stack, stack.y)
    after = saved_and_loaded(before, file)
    assert type(after) is type(before)
    assert repr(after) == repr(before)
    assert vars(after).keys() == before.__getstate__().keys()
    np.testing.assert_array_equal(after.score_samples(stack), before.score_samples(stack))
    np.testing.assert_array_equal(after.predict(stack), before.predict(stack))
    assert after.contrasts_ == before.contrasts_  # a tuple, not a list


WRAPPED = {
    "pipeline": lambda d: make_pipeline(IntensityNormalizer(), SliceResizer(16), d),
    "cropped": lambda d: Pipeline([("crop", BrainCropper(2)), ("detector", d)]),
    "one filter": lambda d: PostprocessedDetector(d, GaussianSmoother(1)),
    "filters": lambda d: PostprocessedDetector(
        d, [("median", MedianFilter()), ("border", BorderEroder(1))]
    ),
    "ensemble": lambda d: EnsembleDetector(d, n_detectors=2, random_state=0),
    "flipped": lambda d: FlipAveragedDetector(d),
    "components": lambda d: PostprocessedDetector(d, SmallComponentRemover(2)),
    "conformal": lambda d: ConformalDetector(d, contamination=0.4, random_state=0),
    "quantile": lambda d: SliceDetector(d, Quantile(0.02)),
    "largest": lambda d: SliceDetector(d, LargestComponent()),
    "of a pipeline": lambda d: SliceDetector(make_pipeline(IntensityNormalizer(), d)),
    "conformal slices": lambda d: ConformalDetector(SliceDetector(d), contamination=0.4),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_what_wraps_a_detector_comes_back(name, stack, file):
    before = WRAPPED[name](PCADetector(random_state=0))
    # In a Pipeline only X is resized, and not the masks.
    before.fit(stack, None if name in ("pipeline", "cropped", "of a pipeline") else stack.y)
    after = saved_and_loaded(before, file)
    assert repr(after) == repr(before)
    for method in (
        "score_samples",
        "decision_function",
        "predict",
        "p_values",
        "uncertainty",
    ):
        if hasattr(before, method):
            np.testing.assert_array_equal(
                getattr(after, method)(stack), getattr(before, method)(stack)
            )


def test_volumes_come_back(stack, file):
    volumes = volumes_of(stack)
    before = VolumeDetector(PCADetector(), TopKMean(20)).fit(volumes)
    after = saved_and_loaded(before, file)
    np.testing.assert_array_equal(
        after.score_samples(volumes), before.score_samples(volumes)
    )


def test_frozen_detector_comes_back_and_is_written_once(stack, detector, file):
    before = PostprocessedDetector(FrozenEstimator(detector), GaussianSmoother(1))
    after = saved_and_loaded(before.fit(stack, stack.y), file)
    np.testing.assert_array_equal(after.score_samples(stack), before.score_samples(stack))
    assert isinstance(after.detector_, FrozenEstimator)
    with zipfile.ZipFile(file) as archive:
        n_arrays = sum(name.endswith(".npy") for name in archive.namelist())
    skadm.save(detector, file, force=True)
    with zipfile.ZipFile(file) as archive:
        assert sum(name.endswith(".npy") for name in archive.namelist()) == n_arrays


def test_values_keep_their_type(file):
    values = {
        "none": None,
        "true": True,
        "big": 10**30,
        "float": 0.1 + 0.2,
        "nan": float("nan"),
        "infinite": -float("inf"),
        "tuple": (1, [2, (3,)]),
        "numbers as keys": {0: "a", "b": 1.5},
        "a tag as key": {"$tuple": [1]},
        "float32": np.float32(0.1),
        "int64": np.int64(-5),
        "bool_": np.bool_(True),
        "text": np.array(["patient", "ä"]),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "scalar array": np.array(3),
        "empty": np.zeros((0, 4), np.int8),
    }
    before = IntensityDetector()
    before.values_ = values
    after = saved_and_loaded(before, file).values_
    assert after.keys() == values.keys()
    for name, value in values.items():
        assert type(after[name]) is type(value), name
        np.testing.assert_equal(after[name], value)
        if isinstance(value, np.ndarray):
            assert after[name].dtype == value.dtype
            assert after[name].flags.f_contiguous == value.flags.f_contiguous
    after["fortran"][0, 0] = 7  # and is no view of the file


def test_what_is_of_the_machine_stays_there(file, tmp_path):
    before = skadm.ADMDetector(
        memory=str(tmp_path), device=torch.device("cpu"), augmentation=Augmentation(flip=0)
    )
    before.set_callbacks(skadm.callbacks.ProgressLog())
    after = saved_and_loaded(before, file)
    assert after.memory is None
    assert after.device == "cpu"
    assert after.augmentation.flip == 0
    assert not hasattr(after, "_skl_callbacks")
    assert before.memory == str(tmp_path)  # the model itself is not changed


def test_numpy_reads_the_arrays(saved, detector):
    with np.load(saved, allow_pickle=False) as arrays:
        found = [arrays[name] for name in arrays.files if name.startswith("arrays/")]
    assert any(np.array_equal(array, detector.pca_.components_) for array in found)


# -- writing -----------------------------------------------------------------------------


def test_nothing_is_replaced_unless_forced(detector, saved):
    before = saved.read_bytes()
    with pytest.raises(FileExistsError, match="force=True"):
        skadm.save(IntensityDetector(), saved)
    assert saved.read_bytes() == before
    skadm.save(IntensityDetector(), saved, force=True)
    assert isinstance(skadm.load(saved), IntensityDetector)


def test_failed_save_leaves_what_was_there(detector, saved, monkeypatch):
    before = saved.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    with pytest.raises(OSError, match="No space left"):
        skadm.save(detector, saved, force=True)
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


def test_folders_are_no_files(detector, tmp_path):
    with pytest.raises(IsADirectoryError):
        skadm.save(detector, tmp_path)
    with pytest.raises(OSError, match="cannot be written"):
        skadm.save(detector, tmp_path / "nowhere" / "model.skadm")


class Own(IntensityDetector):
    """A class of a user's."""


class PCALookalike:
    """Not scikit-learn's."""


PCALookalike.__name__ = PCALookalike.__qualname__ = "PCA"


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (LinearRegression(), "weights_.deep[0] is a sklearn.linear_model._base.LinearReg"),
        (threading.Lock(), "weights_.deep[0] is a _thread.lock"),
        (np.array([{}], object), "weights_.deep[0] is an array of object"),
        ({1, 2}, "weights_.deep[0] is a builtins.set"),
        (np.random.RandomState(0), "numpy.random.mtrand.RandomState"),
        (np.zeros(2, [("a", int)]), "array of"),
        (PCALookalike(), "test_persistence.PCA"),
        (lambda: 0, "builtins.function"),
    ],
)
def test_unknown_types_are_refused_by_name_and_place(value, named, file):
    model = IntensityDetector()
    model.weights_ = {"deep": [value]}
    with pytest.raises(TypeError) as caught:
        skadm.save(model, file)
    assert named in str(caught.value)
    assert not file.exists()


def test_own_classes_are_saved_and_loaded_when_they_are_given(stack, file):
    before = Own().fit(stack, stack.y)
    with pytest.raises(TypeError, match="test_persistence.Own"):
        skadm.save(before, file)
    skadm.save(before, file, classes=[Own])
    with pytest.raises(ValueError, match="test_persistence.Own"):
        skadm.load(file)
    after = skadm.load(file, classes=[Own])
    assert type(after) is Own
    np.testing.assert_array_equal(after.score_samples(stack), before.score_samples(stack))


def test_circles_are_refused(file):
    model = IntensityDetector()
    model.loop_ = [model]
    with pytest.raises((RecursionError, TypeError)):
        skadm.save(model, file)
    assert not file.exists()


# -- the card ----------------------------------------------------------------------------


def test_card_tells_what_was_trained_on(stack, file):
    pipeline = make_pipeline(IntensityNormalizer(), PCADetector()).fit(stack)
    skadm.save(pipeline, file, metrics={"auc": np.float64(0.75), "ap": float("nan")})
    card = skadm.card(file)
    assert card["model"] == "IntensityNormalizer > PCADetector"
    assert card["contrasts"] == list(stack.contrasts)
    data = card["training_data"]
    X = stack.X
    with_brain = X[(X != 0).any(axis=(1, 2, 3))]
    assert data["slices"] == len(with_brain)
    assert data["patients"] == len(set(stack.groups.tolist()))
    assert data["brain_pixels"] == (X != 0).any(axis=1).sum()
    flair = with_brain[:, -1][(with_brain != 0).any(axis=1)]
    median = card["intensities"]["FLAIR"]["50%"]
    assert median == pytest.approx(np.median(flair), abs=0.05)
    assert card["metrics"] == {"auc": 0.75, "ap": "nan"}
    assert card["parts"][-1]["threshold"] == pipeline[-1].offset_
    assert card["versions"]["torch"]
    assert "Not a medical device" in card["intended_use"]


def test_card_reads_no_model(saved):
    rewrite(saved, {"model.json": b"broken", "arrays/0000.npy": b"broken"})
    assert skadm.card(saved)["model"] == "PCADetector"
    with pytest.raises(ValueError):
        skadm.load(saved)


def test_fingerprint_is_of_the_slices_trained_on(stack):
    def fingerprint(X, y):
        return PCADetector().fit(X, y).training_reference_.sha256

    X, y = stack.load()
    abnormal = (y == 1).any(axis=(1, 2))
    changed, ill = X.copy(), X.copy()
    changed[np.flatnonzero(~abnormal)[-1], 0, 12, 12] += 1
    ill[np.flatnonzero(abnormal)[0]] *= 2
    assert fingerprint(X, y) == fingerprint(stack, y) == fingerprint(ill, y)
    assert fingerprint(X, y) != fingerprint(changed, y)


# -- files of somebody else --------------------------------------------------------------


def rewrite(path, members, **options):
    """Replace members of a file, or add some."""
    with zipfile.ZipFile(path) as archive:
        kept = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in (kept | members).items():
            archive.writestr(name, content)


def edit(path, change, name="model.json"):
    """Change the JSON in a file."""
    with zipfile.ZipFile(path) as archive:
        tree = json.loads(archive.read(name))
    rewrite(path, {name: json.dumps(change(tree)).encode()})


def refused(path, match, load=skadm.load):
    """A ValueError that says so, and no memory to speak of."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=match) as caught:
            load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value)
    assert peak < 30e6
    return str(caught.value)


class Malicious:
    """Unpickling it makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_pickle_as_a_model_is_not_run(protocol, file, tmp_path):
    proof = tmp_path / "proof"
    file.write_bytes(pickle.dumps(Malicious(proof), protocol))
    refused(file, "Pickles .* are not loaded")
    assert not proof.exists()
    pickle.loads(file.read_bytes())  # that it would have been
    assert proof.exists()


def test_pickle_inside_an_array_is_not_run(saved, tmp_path):
    proof = tmp_path / "proof"
    content = io.BytesIO()
    np.save(content, np.array([Malicious(proof)], object), allow_pickle=True)
    rewrite(saved, {"arrays/0000.npy": content.getvalue()})
    refused(saved, "type object; expected numbers or text")
    assert not proof.exists()


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.eval",
        "subprocess.Popen",
        "skadm.data.NiftiVolume",
        "sklearn.pipeline.FunctionTransformer",
        "skadm.pooling.Pooling",
        "sklearn.linear_model.LinearRegression",
        "antigravity.PCA",
        "PCA",
        "",
        None,
        ["os.system"],
    ],
)
def test_other_classes_are_refused_by_name(name, saved):
    import sys

    edit(saved, lambda tree: {"$object": [name, {}]})
    refused(saved, "is not among the classes that are loaded")
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda state: state | {"_networks": 1}, "differ in _networks"),
        (lambda state: state | {"score_samples": 1}, "differ in score_samples"),
        (lambda state: {k: v for k, v in state.items() if k != "sigma"}, "sigma"),
        (lambda state: [1], "has no attributes"),
    ],
)
def test_attributes_that_a_class_does_not_have(change, match, file):
    skadm.save(IntensityDetector(), file)
    edit(file, lambda tree: {"$object": [tree["$object"][0], change(tree["$object"][1])]})
    refused(file, match)


def test_cache_of_somebody_else_is_refused(file, tmp_path):
    skadm.save(skadm.ADMDetector(), file)

    def change(tree):
        tree["$object"][1]["memory"] = str(tmp_path)
        return tree

    edit(file, change)
    refused(file, "names memory")


@pytest.mark.parametrize(
    "tree",
    [
        "a text",
        [],
        {"$tuple": [1, 2]},
        {"$array": "card.json"},
        {"$array": "arrays/9999.npy"},
        {"$array": "../../etc/passwd"},
        {"$array": [1]},
        {"$scalar": ["O", 1]},
        {"$scalar": ["V10", 1]},
        {"$scalar": ["<U99999999", "a"]},
        {"$float": "1e"},
        {"$tuple": 5},
        {"$dict": [[[1], 2]]},
        {"$dict": [1]},
        {"$exec": "1"},
        {"$tuple": [], "more": 1},
        {"$object": ["skadm.preprocessing._crop.Box", [1]]},
        {"$object": []},
    ],
)
def test_trees_that_mean_nothing(tree, saved):
    edit(saved, lambda _: tree)
    refused(saved, "cannot be read as a model")


def test_nesting_without_end(saved):
    rewrite(saved, {"model.json": b"[" * 10**6 + b"]" * 10**6})
    refused(saved, "cannot be read as a model")


def test_json_larger_than_its_limit(saved):
    rewrite(saved, {"model.json": b'"' + b"a" * _archive.MAX_JSON_BYTES + b'"'})
    refused(saved, "model.json is more than")


@pytest.mark.parametrize("text", [b"NaN", b"Infinity", b"9" * 10_000, b"\xff", b""])
def test_what_is_no_json(text, saved):
    rewrite(saved, {"model.json": text})
    refused(saved, "cannot be read as a model")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_bomb_of_a_declared_size(method, saved):
    header = io.BytesIO()
    np.save(header, np.zeros(0))
    rewrite(saved, {"arrays/0000.npy": bytes(50_000_000)}, compression=method)
    assert saved.stat().st_size < 1e6
    refused(saved, "compressed or encrypted")
    refused(saved, "compressed or encrypted", skadm.card)


def patched(path, signature, offset, fmt, value):
    """Overwrite a field of each zip record of a kind."""
    content = bytearray(path.read_bytes())
    place = content.find(signature)
    assert place >= 0
    while place >= 0:
        struct.pack_into(fmt, content, place + offset, value)
        place = content.find(signature, place + 1)
    path.write_bytes(content)


def test_bomb_of_another_size_than_declared(saved):
    """Compressed, but the directory says stored and small."""
    rewrite(saved, {"model.json": bytes(50_000_000)}, compression=zipfile.ZIP_DEFLATED)
    directory, method, compressed, plain = b"PK\x01\x02", 10, 20, 24
    patched(saved, directory, method, "<H", 0)
    patched(saved, directory, compressed, "<L", 100)
    patched(saved, directory, plain, "<L", 100)
    refused(saved, "cannot be read as a model")


def test_sizes_beyond_the_file(saved):
    for offset in (20, 24):
        patched(saved, b"PK\x01\x02", offset, "<L", 2**30)
    refused(saved, "more than the file")


def test_members_that_share_their_bytes(saved):
    """Many entries of the directory for one member: each is small, all are not."""
    rewrite(saved, {f"arrays/{n:04}.npy": bytes(10_000) for n in range(1000, 1050)})
    with zipfile.ZipFile(saved) as archive:
        first = archive.getinfo("arrays/1000.npy").header_offset
        directory = archive.start_dir
    content = bytearray(saved.read_bytes())
    end = content[-22:]
    entries = content[directory:-22]
    place = entries.find(b"PK\x01\x02")
    while place >= 0:
        struct.pack_into("<L", entries, place + 42, first)
        place = entries.find(b"PK\x01\x02", place + 1)
    struct.pack_into("<L", end, 16, first + 20_000)
    saved.write_bytes(content[: first + 20_000] + entries + end)
    refused(saved, "more than the file")


def test_directory_that_is_too_long(saved):
    patched(saved, b"PK\x05\x06", 10, "<H", 60_000)
    refused(saved, "lists 60000 members")
    patched(saved, b"PK\x05\x06", 10, "<H", 5)
    patched(saved, b"PK\x05\x06", 12, "<L", 2**31)
    refused(saved, "members in 2147483648 bytes")


def test_zip64_is_refused(saved):
    content = saved.read_bytes()
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1)
    saved.write_bytes(content[:-22] + locator + content[-22:])
    refused(saved, "lists")


def npy(descr, shape, data=b""):
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (npy("<f8", (10**12,)), "announces float64 of shape"),
        (npy("<f8", (2**33, 2**31)), "announces float64 of shape"),
        (npy("<f8", (-1,), bytes(8)), "announces float64 of shape"),
        (npy("<f8", (-1, -1), bytes(8)), "announces float64 of shape"),
        (npy("<f8", (0, 10**40)), "cannot be read"),
        (npy("<f8", (2,), bytes(24)), "16 bytes; found 24"),
        (npy("<U0", (10**15,)), "expected numbers or text"),
        (npy("|O", (1,), b"cos\nsystem\n"), "type object"),
        (npy("<U250000000", (1,)), "announces"),
        (npy([("a", "<f8")], (1,), bytes(8)), "expected numbers or text"),
        (npy(("<f8", (10**9,)), (1,)), "cannot be read"),
        (npy("<f8", "().__class__"), "cannot be read"),
        (npy("<f8", (1,), bytes(8)).replace(b"\x01\x00", b"\x03\x00", 1), "version 1.0"),
        (b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535, "cannot be read"),
        (b"\x93NUM", "cannot be read"),
        (b"", "cannot be read"),
    ],
)
def test_arrays_that_are_not_what_they_announce(content, match, saved):
    edit(saved, lambda _: {"$array": "arrays/0000.npy"})
    rewrite(saved, {"arrays/0000.npy": content})
    refused(saved, match)


@pytest.mark.parametrize(
    "name",
    ["../evil.npy", "/etc/passwd", "arrays/../../x.npy", "arrays/12345.npy", "C:\\x", "a"],
)
def test_members_of_other_names(name, saved):
    before = sorted(saved.parent.parent.rglob("*"))
    rewrite(saved, {name: b"x"})
    refused(saved, "which a model has not")
    assert sorted(saved.parent.parent.rglob("*")) == before


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_of_the_same_name(saved):
    with zipfile.ZipFile(saved, "a") as archive:
        archive.writestr("card.json", b"{}")
    refused(saved, "or twice")


def test_truncated_files(saved):
    content = saved.read_bytes()
    for length in {0, 1, 4, 21, 22, 100, len(content) // 2, len(content) - 1}:
        saved.write_bytes(content[:length])
        refused(saved, "cannot be read as a model")


def test_damaged_bytes_are_found_or_harmless(saved):
    """Whatever byte is changed: an error of one kind, or a model."""
    content, rng = saved.read_bytes(), np.random.default_rng(0)
    n_refused = 0
    for place in rng.integers(len(content), size=300):
        changed = bytearray(content)
        changed[place] ^= rng.integers(1, 256)
        saved.write_bytes(changed)
        try:
            skadm.load(saved)
        except ValueError:
            n_refused += 1
    assert n_refused > 250  # CRC-32 of each member


def test_limit_of_the_file(saved):
    size = saved.stat().st_size
    assert isinstance(skadm.load(saved, max_bytes=size), PCADetector)
    with pytest.raises(ValueError, match=f"{size} bytes; expected at most {size - 1}"):
        skadm.load(saved, max_bytes=size - 1)


def test_memory_is_that_of_the_file(file):
    model = IntensityDetector()
    model.large_ = np.arange(2_000_000.0)
    skadm.save(model, file)
    del model
    tracemalloc.start()
    skadm.load(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert file.stat().st_size <= peak < file.stat().st_size + 3e6


def test_memory_of_the_structure_has_its_limit(saved, monkeypatch):
    """0.5 GiB with all of MAX_JSON_BYTES, and a 32nd of it here."""
    monkeypatch.setattr(_archive, "MAX_JSON_BYTES", 2**17)
    nested = b"[" * 50 + b"]" * 50
    many = b",".join([nested] * (_archive.MAX_JSON_BYTES // 101 - 1))
    rewrite(saved, {"model.json": b"[" + many + b"]"})
    tracemalloc.start()
    with pytest.raises(ValueError, match="holds list; expected an estimator"):
        skadm.load(saved)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 2**20 < peak < 2**29 // 32


def test_no_such_file(file):
    for read in (skadm.load, skadm.card):
        with pytest.raises(FileNotFoundError, match="model.skadm"):
            read(file)


# -- versions ----------------------------------------------------------------------------


def test_newer_format_is_refused(saved):
    edit(saved, lambda card: card | {"format": 2, "skadm": "9.0"}, "card.json")
    for read in (skadm.load, skadm.card):
        refused(saved, r"format 2, written by skadm 9\.0; .* install a newer one", read)


@pytest.mark.parametrize("card", [{}, {"format": "1"}, {"format": True}, {"format": 0}, []])
def test_card_without_a_format(card, saved):
    edit(saved, lambda _: card, "card.json")
    refused(saved, "does not say which format")


def test_other_versions_are_told(saved):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        skadm.load(saved)
    edit(saved, lambda card: card | {"skadm": "0.0.1"}, "card.json")
    with pytest.warns(UserWarning, match="saved by skadm 0.0.1, and this is"):
        skadm.load(saved)


def test_scikit_learn_tells_of_its_versions(detector, saved):
    def change(tree):
        pca = tree["$object"][1]["pca_"]["$object"][1]
        assert pca["_sklearn_version"]
        pca["_sklearn_version"] = "1.0"
        return tree

    edit(saved, change)
    with pytest.warns(InconsistentVersionWarning, match="PCA"):
        assert isinstance(skadm.load(saved).pca_, PCA)
