"""Files of models: they come back to the bit, and harm nobody who loads them."""

import json
import os
import pickle
import struct
import sys
import threading
import tracemalloc
import warnings

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import SafetensorError, safe_open
from sklearn.decomposition import PCA
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline, make_pipeline

import skadm
import skadm.callbacks
from skadm import Augmentation, IntensityDetector, PCADetector, SliceDetector, presets
from skadm.data import make_phantom
from skadm.detectors import all_detectors
from skadm.image_level import volumes_of
from skadm.io import _file
from skadm.io._objects import known_classes
from skadm.neural import TorchDetector
from skadm.pooling import Pooling
from skadm.postprocessing import GaussianSmoother
from skadm.postprocessing._map_transformer import MapTransformer
from skadm.preprocessing import BrainCropper, IntensityNormalizer
from skadm.preprocessing._stack_transformer import StackTransformer

DETECTORS = dict(all_detectors())
CLASSES = known_classes()
WRAPPERS = [
    name
    for name, kind in CLASSES.items()
    if "detector" in getattr(kind, "_get_param_names", list)()
]
METHODS = ("score_samples", "decision_function", "predict", "p_values", "uncertainty")


PARTS = WRAPPERS + [
    name
    for name, kind in CLASSES.items()
    if issubclass(kind, MapTransformer | Pooling | StackTransformer)
    and kind is not StackTransformer
]


@pytest.fixture(scope="module")
def stack():
    phantom = make_phantom(n_patients=4, n_slices=6, size=24, random_state=0)
    return IntensityNormalizer().fit_transform(phantom).in_memory()


@pytest.fixture(scope="module")
def fitted(stack):
    """Every detector, by name, fitted when it is first asked for."""
    cache = {}

    def fit(name):
        if name not in cache:
            detector = presets.make_detector(name, "quick")
            quick = {
                "random_state": 0,
                "device": "cpu",
                "max_epochs": 1,
                "max_samples": 500,
                "width": 4,
                "restoration_steps": 2,
            }
            names = detector.get_params()
            detector.set_params(**{k: v for k, v in quick.items() if k in names})
            cache[name] = detector.fit(stack, stack.y)
        return cache[name]

    return fit


@pytest.fixture
def file(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.fixture
def saved(stack, file):
    skadm.save(PCADetector(neighbourhood=3, random_state=0).fit(stack, stack.y), file)
    return file


def saved_and_loaded(model, file):
    skadm.save(model, file, force=True)
    return skadm.load(file)


def assert_same(before, after, X):
    assert repr(after) == repr(before)
    assert vars(after).keys() | {"_sklearn_version"} >= before.__getstate__().keys()
    for method in METHODS:
        if hasattr(before, method):
            np.testing.assert_array_equal(
                getattr(after, method)(X), getattr(before, method)(X)
            )


# -- back to the bit ---------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_comes_back(name, fitted, stack, file):
    before = fitted(name)
    after = saved_and_loaded(before, file)
    assert_same(before, after, stack)
    assert type(after) is type(before)
    assert after.contrasts_ == before.contrasts_  # a tuple, not a list


def wrap(name, detector):
    given = {"PostprocessedDetector": {"postprocessing": [("s", GaussianSmoother(1))]}}
    model = CLASSES[name](detector, **given.get(name, {}))
    quick = {"contamination": 0.4, "random_state": 0, "n_detectors": 2}
    names = model.get_params(deep=False)
    return model.set_params(**{k: v for k, v in quick.items() if k in names})


def with_part(name):
    """A model with a wrapper, filter, pooling or transformer."""
    detector, kind = PCADetector(max_samples=50, random_state=0), CLASSES[name]
    if name in WRAPPERS:
        return wrap(name, detector)
    if issubclass(kind, MapTransformer):
        return skadm.PostprocessedDetector(detector, kind())
    if issubclass(kind, Pooling):
        return SliceDetector(detector, kind())
    return make_pipeline(kind(), wrap("FlipAveragedDetector", detector))


@pytest.mark.slow
@pytest.mark.parametrize("name", PARTS)
def test_every_part_comes_back(name, stack, file):
    X, y = (volumes_of(stack), None) if name == "VolumeDetector" else (stack, stack.y)
    before = with_part(name)
    if isinstance(before, Pipeline) or y is None:  # only X is resized, and not the masks
        before.fit([v.without_labels() for v in X] if y is None else X.without_labels())
    else:
        before.fit(X, y)
    assert_same(before, saved_and_loaded(before, file), X)


@pytest.mark.slow
def test_deep_nests_and_records_come_back(stack, file):
    model = PCADetector(random_state=0)
    for name in ("FlipAveragedDetector", "PostprocessedDetector", "SliceDetector"):
        model = wrap(name, make_pipeline(IntensityNormalizer(), model))
    model = Pipeline([("detector", wrap("ConformalDetector", model))])
    model.fit(stack, stack.y)
    model.training_ = {
        "baselines": {"FLAIR": IntensityDetector().fit(stack, stack.y)},
        "patients": sorted(set(stack.groups.tolist())),
    }
    after = saved_and_loaded(model, file)
    assert_same(model, after, stack)
    baselines = [each.training_["baselines"]["FLAIR"] for each in (model, after)]
    assert_same(*baselines, stack)
    assert after.training_["patients"] == model.training_["patients"]


@pytest.mark.slow
def test_frozen_detector_comes_back_and_is_written_once(fitted, stack, file):
    detector = fitted("PCADetector")
    before = skadm.PostprocessedDetector(FrozenEstimator(detector), GaussianSmoother(1))
    assert_same(before.fit(stack, stack.y), saved_and_loaded(before, file), stack)
    n_tensors = len(parts(file)[0])
    skadm.save(detector, file, force=True)
    # The wrapper has but a reference of the scores of its own.
    assert n_tensors == len(parts(file)[0]) + 2


NUMBERS = st.sampled_from(["?", "i1", "i8", "u1", "u4", "f2", "f4", "f8", ">f4", "U3"])
ARRAYS = hnp.arrays(
    NUMBERS,
    hnp.array_shapes(min_dims=0, min_side=0, max_side=3),
    elements={"allow_nan": False, "allow_infinity": False},
).flatmap(
    lambda array: st.sampled_from([array, array.T, array[::2] if array.ndim else array])
)
SCALARS = (
    st.sampled_from(["?", "i1", "u8", "f2", "f8"]).map(np.dtype).flatmap(hnp.from_dtype)
)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | SCALARS
VALUES = st.recursive(
    PLAIN | ARRAYS,
    lambda values: (
        st.lists(values, max_size=3)
        | st.lists(values, max_size=3).map(tuple)
        | st.dictionaries(st.text() | st.integers(), values, max_size=3)
        | st.dictionaries(st.sampled_from(["a.b", "a", "$tuple"]), values)
    ),
    max_leaves=8,
)


def assert_identical(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_identical(found[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for pair in zip(found, expected):
            assert_identical(*pair)
    elif isinstance(expected, np.ndarray | np.generic):
        assert found.dtype == expected.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found, expected, strict=found.dtype == expected.dtype)
        if isinstance(expected, np.ndarray) and expected.flags.forc:
            assert found.flags.writeable
            if expected.dtype.kind != "U":  # text has no sums that depend on the order
                assert found.flags.f_contiguous == expected.flags.f_contiguous
    else:
        assert found == expected or found != found


@pytest.mark.slow
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(VALUES)
def test_values_come_back_of_their_type(file, value):
    model = Pipeline([("detector", IntensityDetector())])
    model.training_ = {"value": value}
    assert_identical(saved_and_loaded(model, file).training_["value"], value)


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


def test_other_tools_read_the_file(saved):
    model = skadm.load(saved)
    with safe_open(saved, framework="pt") as tensors:
        names = set(tensors.keys())
        found = tensors.get_tensor("PCADetector.pca_.components_")
        content = json.loads(tensors.metadata()["skadm"])
    assert names == parts(saved)[0].keys() - {"__metadata__"}
    np.testing.assert_array_equal(found, model.pca_.components_)
    assert content["card"] == skadm.card(saved)


# -- writing -----------------------------------------------------------------------------


def test_nothing_is_replaced_unless_forced(saved):
    before = saved.read_bytes()
    with pytest.raises(FileExistsError, match="force=True"):
        skadm.save(IntensityDetector(), saved)
    assert saved.read_bytes() == before
    skadm.save(IntensityDetector(), saved, force=True)
    assert isinstance(skadm.load(saved), IntensityDetector)


def test_failed_save_keeps_the_old_file(saved, monkeypatch):
    before = saved.read_bytes()

    def full(*_):
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr(_file, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        skadm.save(IntensityDetector(), saved, force=True)
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


def test_file_has_the_permissions_of_any_other(saved):
    other = saved.with_name("other")
    other.touch()
    assert saved.stat().st_mode == other.stat().st_mode


def test_folders_are_no_files(tmp_path):
    with pytest.raises(IsADirectoryError):
        skadm.save(IntensityDetector(), tmp_path)
    with pytest.raises(OSError, match="cannot be written"):
        skadm.save(IntensityDetector(), tmp_path / "nowhere" / "model.safetensors")


class Derived(IntensityDetector):
    """A class of a user's."""


PCALookalike = type("PCA", (), {})


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (LinearRegression(), "training_.deep[0] is a sklearn.linear_model._base.LinearReg"),
        (threading.Lock(), "training_.deep[0] is a _thread.lock"),
        (np.array([{}], object), "training_.deep[0] is an array of object"),
        (np.zeros(2, complex), "array of complex128"),
        (np.zeros(2, [("a", int)]), "array of"),
        ({1, 2}, "training_.deep[0] is a builtins.set"),
        (np.random.RandomState(0), "numpy.random.mtrand.RandomState"),
        (PCALookalike(), "test_io.PCA"),
        (lambda: 0, "builtins.function"),
    ],
)
def test_unknown_types_are_refused_by_name_and_place(value, named, file):
    model = Pipeline([("detector", IntensityDetector())])
    model.training_ = {"deep": [value]}
    with pytest.raises(TypeError) as caught:
        skadm.save(model, file)
    assert named in str(caught.value)
    assert not file.exists()


def test_models_that_cannot_be_loaded_are_not_saved(fitted, file, monkeypatch):
    model = Pipeline([("detector", IntensityDetector())])
    model.training_ = [model]
    with pytest.raises(ValueError, match="refers to itself"):
        skadm.save(model, file)
    model.training_ = {"weights": np.array([1.0, np.nan])}
    with pytest.raises(ValueError, match=r"training_\.weights holds NaN"):
        skadm.save(model, file)
    for sigma in (-1, 1e8):  # the latter takes all memory when scoring
        with pytest.raises(ValueError, match="'sigma' parameter of IntensityDetector"):
            skadm.save(IntensityDetector(sigma=sigma), file)
    model.training_ = "a" * _file._MAX_HEADER_BYTES
    with pytest.raises(ValueError, match="4.0 MiB of other data"):
        skadm.save(model, file)
    assert not file.exists()


def test_users_classes_are_saved_and_loaded_when_they_are_given(stack, file):
    before = Derived().fit(stack, stack.y)
    with pytest.raises(TypeError, match="test_io.Derived"):
        skadm.save(before, file)
    skadm.save(before, file, classes=[Derived])
    with pytest.raises(ValueError, match="unknown class 'Derived'"):
        skadm.load(file)
    after = skadm.load(file, classes=[Derived])
    assert type(after) is Derived
    assert_same(before, after, stack)
    with pytest.raises(ValueError, match="two classes are named PCA"):
        skadm.load(file, classes=[PCALookalike])


# -- the card ----------------------------------------------------------------------------


def test_card_describes_the_training_data(stack, file):
    pipeline = make_pipeline(IntensityNormalizer(), PCADetector())
    pipeline.fit(stack.without_labels())
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


def parts(path):
    """Tensors and metadata of the header, and the bytes that follow."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def join(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def edit(path, change, part="model"):
    """Change card or model in place, or replace it by what `change` returns."""
    header, data = parts(path)
    content = json.loads(header["__metadata__"]["skadm"])
    if (replacement := change(content[part])) is not None:
        content[part] = replacement
    header["__metadata__"]["skadm"] = json.dumps(content)
    path.write_bytes(join(header, data))


def refused(path, match, load=skadm.load):
    """A ValueError that says so, and no memory to speak of."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=match) as caught:
            load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(f"{path} cannot be read as a model: ")
    assert peak < 30e6


def entry(dtype="F64", shape=(1,), at=(0, 8), name="x"):
    return {name: {"dtype": dtype, "shape": shape, "data_offsets": at}}


def with_metadata(text):
    return {"__metadata__": {"skadm": text}}


LIBRARY = "Error while deserializing header"  # by safetensors itself
HOSTILE = {
    "empty": (b"", "not written by skadm.save"),
    "short": (struct.pack("<Q", 2), "not written by skadm.save"),
    "pickle": (pickle.dumps({}), "Pickles .* are not loaded"),
    "old pickle": (pickle.dumps({}, protocol=0), "Pickles .* are not loaded"),
    "older version": (
        b"PK\x03\x04 and more",
        "older version of skadm.*Refit the model",
    ),
    "huge header": (
        struct.pack("<Q", 2**63) + b"{}",
        "has 9223372036854775808 bytes",
    ),
    "long header": (join(b"{" + b" " * 2**22), "expected at most 4194304"),
    "lying header": (struct.pack("<Q", 99) + b"{}", "at most the remaining 2"),
    "no JSON": (join(b"{nonsense"), "cannot be read"),
    "no UTF-8": (join(b'{"\xff": 1}'), "cannot be read"),
    "no metadata": (join({}), "expected a file saved by skadm"),
    "other metadata": (
        join({"__metadata__": {"format": "pt"}}),
        "expected a file saved by skadm",
    ),
    "metadata no text": (join({"__metadata__": {"skadm": 1}}), LIBRARY),
    "deep header": (join(b'{"a":' * 10**5), "cannot be read"),
    "deep model": (join(with_metadata("[" * 10**5 + "]" * 10**5)), "nested too deeply"),
    "twice": (join(b'{"__metadata__":{"a":"1","a":"2"}}'), "duplicate entries"),
    "twice within": (join(with_metadata('{"card":1,"card":2}')), "duplicate entries"),
    "NaN": (join(with_metadata('{"card": NaN}')), "holds NaN; expected a JSON number"),
    "infinite": (join(with_metadata('{"card": -Infinity}')), "holds -Infinity"),
    "overflow": (join(with_metadata('{"card": 1e999}')), "holds 1e999"),
    "digits": (
        join(with_metadata('{"card": -%s}' % ("9" * 5000))),
        "holds a number of 5000 digits; expected at most",
    ),
    "no card": (join(with_metadata("{}")), "has no format version"),
    "list": (join(with_metadata("[]")), "has no format version"),
    "beyond": (join(entry(at=(0, 8)), bytes(4)), LIBRARY),
    "trailing": (join(entry(at=(0, 8)), bytes(9)), LIBRARY),
    "hole": (join(entry() | entry(name="y", at=(16, 24)), bytes(24)), LIBRARY),
    "overlap": (join(entry() | entry(name="y"), bytes(8)), LIBRARY),
    "backwards": (join(entry(at=(8, 0)), bytes(8)), LIBRARY),
    "shape": (join(entry(shape=(10**12,)), bytes(8)), LIBRARY),
    "product": (join(entry(shape=(2**33, 2**33), at=(0, 0))), LIBRARY),
    "negative": (join(entry(shape=(-1,)), bytes(8)), LIBRARY),
    "dtype": (join(entry("O"), bytes(8)), LIBRARY),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(name, file):
    content, match = HOSTILE[name]
    file.write_bytes(content)
    for read in (skadm.load, skadm.card):
        refused(file, match, read)


@pytest.mark.parametrize(
    ("tree", "match"),
    [
        ("a text", "holds str; expected an estimator"),
        ([], "holds list; expected an estimator"),
        ({"$tuple": 5}, "cannot be read"),
        ({"$tuple": [], "more": 1}, "beside other keys"),
        ({"$dict": [[[1], 2]]}, "cannot be read"),
        ({"$float": "1e"}, "cannot be read"),
        ({"$exec": "1"}, "unknown tag '.exec'"),
        ({"$array": "nowhere"}, "cannot be read"),
        ({"$array": [1]}, "cannot be read"),
        ([{"$array": "x"}, {"$fortran": "x"}], "with two types"),
        ({"$text": "x"}, "invalid characters"),
        ({"$object": ["Box", {"top": 1}]}, "cannot be read"),
        ({"$object": ["PCADetector", [1]]}, "cannot be read"),
        ({"$object": []}, "cannot be read"),
        ({"$object": [["os"], {}]}, "cannot be read"),
        *(
            ({"$object": [name, {}]}, "the unknown class")
            for name in ("os.system", "eval", "Popen", "NiftiVolume", "FunctionTransformer")
        ),
        *(
            ({"$object": [name, {}]}, "the unknown class")
            for name in ("Pooling", "BaseDetector", "LinearRegression", "antigravity", "")
        ),
    ],
)
def test_trees_that_mean_no_model(tree, match, saved):
    header, _ = parts(saved)
    first = min(n for n in header if n.endswith("mean_"))
    edit(saved, lambda _: json.loads(json.dumps(tree).replace('"x"', json.dumps(first))))
    refused(saved, match)
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda state: state.update(_networks=1), "0.*: _networks"),
        (lambda state: state.update(score_samples=1), "0.*: score_samples"),
        (lambda state: state.pop("max_samples"), "0.*: max_samples"),
        (lambda state: state.update(n_components=-1), "'n_components' parameter"),
        (lambda state: state.update(neighbourhood=10**8), "mean_ of a PCA has shape"),
        (lambda state: state.update(offset_={"$float": "nan"}), "offset_ .* is nan"),
        (lambda state: state.update(offset_="high"), "offset_ .* is not a number"),
        (
            lambda state: state.update(n_features_in_=3),
            "has 4 contrast names .* expected 3",
        ),
        (lambda state: state.update(contrasts_=["FLAIR"]), "has 1 contrast names"),
        (lambda state: state.pop("training_reference_"), "training_reference_"),
    ],
)
def test_attributes_that_a_detector_cannot_have(change, match, saved):
    edit(saved, lambda tree: change(tree["$object"][1]) and None)
    refused(saved, match)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [n for n in DETECTORS if issubclass(DETECTORS[n], TorchDetector)]
)
def test_parameters_of_huge_networks_are_refused(name, fitted, file):
    detector = fitted(name)
    for parameter in (
        "width",
        "n_levels",
        "n_blocks",
        "n_networks",
        "latent_dim",
        "n_components",
    ):
        if parameter not in detector.get_params():
            continue
        skadm.save(detector, file, force=True)
        huge = {parameter: 10**8}
        edit(file, lambda tree, huge=huge: tree["$object"][1].update(huge))
        refused(file, "larger networks than the weights|'n_levels' parameter|have shape")


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_arrays_that_do_not_fit_the_parameters_are_refused(name, fitted, file):
    """As many bytes, another shape."""
    skadm.save(fitted(name), file)
    header, data = parts(file)
    learned = [
        n
        for n in header
        if n.startswith(f"{name}.weights_")
        or n.endswith((".mean_", ".components_", ".means_", "cholesky_", "quantiles"))
    ]
    assert len(learned) > 1
    for tensor in learned[:: len(learned) // 2 or 1]:
        changed = {**header[tensor], "shape": [*header[tensor]["shape"], 1]}
        file.write_bytes(join(header | {tensor: changed}, data))
        refused(file, "shape")


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_weights_that_are_no_numbers_are_refused(name, value, fitted, file):
    skadm.save(fitted(name), file)
    header, data = parts(file)
    learned = ("weights_", "components_", "means_", "axis_")
    entries = [header[n] for n in header if any(word in n for word in learned)]
    last = next(entry for entry in entries if entry["dtype"].startswith("F"))
    end = last["data_offsets"][1]
    number = np.full(1, value, {"F32": "<f4", "F64": "<f8"}[last["dtype"]]).tobytes()
    file.write_bytes(join(header, data[: end - len(number)] + number + data[end:]))
    refused(file, "holds NaN or infinity")


@pytest.mark.parametrize(
    ("name", "tensor"), [("EnsembleDetector", "scales_"), ("ConformalDetector", "_below")]
)
def test_inconsistent_arrays_are_refused(name, tensor, stack, file):
    model = wrap(name, PCADetector(max_samples=50)).fit(stack, stack.y)
    if name == "EnsembleDetector":
        model.scales_ = np.append(model.scales_, 1.0)
    else:
        model.calibration_._below = np.append(model.calibration_._below, 1.0)
    skadm.save(model, file)
    refused(file, f"{tensor} of a .* has shape .*; expected")


def test_truth_that_is_neither_is_refused(file):
    model = Pipeline([("detector", IntensityDetector())])
    model.training_ = np.array([True])
    skadm.save(model, file)
    header, _ = parts(file)
    file.write_bytes(join(header, b"\2"))
    refused(file, "invalid booleans")


def test_tensors_that_the_model_does_not_use_are_refused(saved):
    header, data = parts(saved)
    extra = entry(at=(len(data), len(data) + 8), name="hidden")
    saved.write_bytes(join(header | extra, data + bytes(8)))
    refused(saved, "unexpected entry 'hidden'")


def test_cache_of_somebody_else_is_refused(file, tmp_path):
    skadm.save(skadm.ADMDetector(), file)
    edit(file, lambda tree: tree["$object"][1].update(memory=str(tmp_path)))
    refused(file, "local folder memory")


def test_box_outside_of_the_slices_is_refused(stack, file):
    skadm.save(BrainCropper().fit(stack), file)
    edit(file, lambda tree: tree["$object"][1]["box_"]["$object"][1].update(bottom=10**9))
    refused(file, "exceeds the slices")


def test_truncated_files(saved):
    content = saved.read_bytes()
    for length in {0, 1, 8, 9, 100, len(content) // 2, len(content) - 1}:
        saved.write_bytes(content[:length])
        refused(saved, "cannot be read as a model")
        refused(saved, "cannot be read as a model", skadm.card)


def test_damaged_headers_are_found_or_harmless(saved):
    """Whatever byte is changed: an error of one kind, or a model."""
    content, rng = saved.read_bytes(), np.random.default_rng(0)
    messages = set()
    n_header = len(content) - len(parts(saved)[1])
    for place in rng.integers(n_header, size=200):
        changed = bytearray(content)
        changed[place] ^= rng.integers(1, 256)
        saved.write_bytes(changed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other versions
            try:
                skadm.load(saved)
            except ValueError as error:
                messages.add(str(error).split(":")[0])
    assert messages == {f"{saved} cannot be read as a model"}


def test_limit_of_the_file(saved):
    size = saved.stat().st_size
    assert isinstance(skadm.load(saved, max_bytes=size), PCADetector)
    with pytest.raises(ValueError, match=f"{size} bytes; expected at most {size - 1}"):
        skadm.load(saved, max_bytes=size - 1)


def test_memory_is_that_of_the_file(file):
    model = Pipeline([("detector", IntensityDetector())])
    model.training_ = np.arange(2_000_000.0)
    skadm.save(model, file)
    del model
    tracemalloc.start()
    skadm.load(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert file.stat().st_size <= peak < file.stat().st_size + 3e6


def test_no_such_file(file):
    for read in (skadm.load, skadm.card):
        with pytest.raises(FileNotFoundError, match=file.name):
            read(file)


# -- versions ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "match"),
    [
        (99, r"format 99, written by skadm 9\.0; .* install a newer version"),
        (1, r"format 1, .* refit the model"),
        *((value, "has no format version") for value in ("2", True, 0, None)),
    ],
)
def test_other_formats_are_refused(number, match, saved):
    edit(saved, lambda card: card.update(format=number, skadm="9.0"), "card")
    for read in (skadm.load, skadm.card):
        refused(saved, match, read)


def test_other_versions_warn(saved):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        skadm.load(saved)
    edit(saved, lambda card: card.update(skadm="0.0.1"), "card")
    with pytest.warns(UserWarning, match="saved by skadm 0.0.1, but this is"):
        skadm.load(saved)


def test_scikit_learn_warns_of_other_versions(saved):
    def change(tree):
        tree["$object"][1]["pca_"]["$object"][1]["_sklearn_version"] = "1.0"

    edit(saved, change)
    with pytest.warns(InconsistentVersionWarning, match="PCA"):
        assert isinstance(skadm.load(saved).pca_, PCA)
