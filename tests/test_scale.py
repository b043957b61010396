"""Cross-validation, grid search and cohorts in other processes: Dask and loky.

The cluster is a real one of this machine, on the loopback address. The same
cross-validation, search and maps are computed there and in this process.
`test_scaling_docs` starts Ray.
"""

import os
import re
from contextlib import ExitStack

import cloudpickle
import joblib
import numpy as np
import pytest
import torch
from joblib import parallel_config
from joblib._parallel_backends import ThreadingBackend
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline

import skadm
from skadm import PCADetector, presets
from skadm.cohort import score_cohort
from skadm.data import make_phantom, read_brats, write_maps
from skadm.preprocessing import IntensityNormalizer, SliceResizer

BACKENDS = {
    "loky": {"backend": "loky", "n_jobs": 2, "inner_max_num_threads": 1},
    "dask": {"backend": "dask"},
}
FOLDS = GroupKFold(2)

pytestmark = pytest.mark.slow


def write_scans(folder, *shape):
    """Write a phantom of this shape in the layout of BraTS."""
    stack = make_phantom(
        *shape, contrasts=("T2", "FLAIR"), lesion_fraction=1.0, random_state=0
    )
    X, y = stack.load()
    for name in np.unique(stack.volume_ids):
        mine = stack.volume_ids == name
        for contrast, maps in (("t2", X[:, 0]), ("flair", X[:, 1]), ("seg", y == 1)):
            write_maps(maps[mine], stack[mine], folder / name, suffix=f"_{contrast}")
    return folder


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    return write_scans(tmp_path_factory.mktemp("scans"), 4, 8, 48)


@pytest.fixture(scope="module")
def stack(scans):
    return SliceResizer(24).fit_transform(read_brats(scans))


@pytest.fixture(scope="module")
def model(scans, tmp_path_factory):
    """The file of a model with networks."""
    stack = read_brats(scans)
    detector = presets.make_detector(
        "ADMDetector", "quick", max_epochs=1, device="cpu", random_state=0
    )
    steps = make_pipeline(IntensityNormalizer(), SliceResizer(16))
    prepared = steps.fit_transform(stack)
    path = tmp_path_factory.mktemp("model") / "model.skadm"
    skadm.save(make_pipeline(*steps, detector.fit(prepared, prepared.y)), path)
    return path


@pytest.fixture(scope="module")
def backend(request):
    """Options of `parallel_config` for a cluster that is up."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        # What workers do when nobody has told them their number of threads.
        patch.delenv("OMP_NUM_THREADS", raising=False)
        if request.param == "dask":
            start_dask(stack)
        yield BACKENDS[request.param]


def start_dask(stack):
    distributed = pytest.importorskip("distributed", reason="pip install skadm[scale]")
    cluster = distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        protocol="tcp",
    )
    stack.enter_context(cluster)
    stack.enter_context(distributed.Client(cluster))


on_every_backend = pytest.mark.parametrize("backend", BACKENDS, indirect=True)


@on_every_backend
def test_scores_are_those_of_one_process(backend, stack):
    pipeline = make_pipeline(IntensityNormalizer(), PCADetector(random_state=0))
    search = GridSearchCV(
        pipeline, {"pcadetector__neighbourhood": [1, 3]}, cv=FOLDS, error_score="raise"
    )
    labels, groups = stack.y, stack.groups
    here = search.fit(stack, labels, groups=groups).cv_results_
    with parallel_config(**backend):
        there = search.fit(stack, labels, groups=groups).cv_results_
    names = [name for name in here if re.match(r"split\d_test", name)]
    assert len(names) == 2
    for name in names:
        np.testing.assert_allclose(there[name], here[name], rtol=1e-6)
    assert here["split0_test_score"].std() > 1e-4
    options = {"cv": FOLDS, "groups": groups, "error_score": "raise"}
    with parallel_config(**backend):
        scores = cross_val_score(search.best_estimator_, stack, labels, **options)
    expected = [here[name][search.best_index_] for name in names]
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


@on_every_backend
def test_maps_are_those_of_one_process(backend, model, scans, tmp_path):
    """Also where a file of one patient is damaged, and the model is read by its path."""
    stack = read_brats(scans, labels=False)
    damaged = stack.volumes[1].source.paths[0]
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-40])
    kinds = ("anomaly", "segmentation")
    try:
        here = score_cohort(model, stack, tmp_path / "here", kinds=kinds)
        with parallel_config(**backend):
            there = score_cohort(model, stack, tmp_path / "there", kinds=kinds)
    finally:
        damaged.write_bytes(whole)
    assert there.failures == here.failures
    assert list(here.failures) == ["phantom-001"]
    assert len(here.files) == 6
    assert [file.name for file in there.files] == [file.name for file in here.files]
    for one, other in zip(here.files, there.files):
        assert one.read_bytes() == other.read_bytes()


@on_every_backend
def test_workers_are_processes_of_one_thread(backend):
    asked = [*[os.getpid] * 3, *[torch.get_num_threads] * 3]
    with parallel_config(**backend):
        found = joblib.Parallel()(joblib.delayed(function)() for function in asked)
    assert os.getpid() not in found[:3]
    assert found[3:] == [1, 1, 1]


class Scales(ThreadingBackend):
    """Weighs what a task would be sent as."""

    weights: list[int] = []

    def submit(self, func, callback=None):
        self.weights.append(len(cloudpickle.dumps(func)))
        return super().submit(func, callback)


@pytest.fixture
def weights(monkeypatch):
    joblib.register_parallel_backend("scales", Scales)
    monkeypatch.setattr(Scales, "weights", [])
    return Scales.weights


class TestWeight:
    """What travels: paths and masks, no images."""

    def test_folds(self, stack, weights):
        detector = PCADetector(n_components=1, random_state=0)
        search = GridSearchCV(detector, {"n_components": [1]}, cv=FOLDS)
        labels, groups = stack.y, stack.groups
        with parallel_config("scales", n_jobs=2):
            search.fit(stack, labels, groups=groups)
            cross_val_score(detector, stack, labels, groups=groups, cv=FOLDS)
        assert len(weights) == 4
        assert max(weights) < labels.nbytes + 20_000 < stack.X.nbytes

    def test_volumes(self, model, scans, tmp_path, weights):
        stack = read_brats(scans, labels=False)
        with parallel_config("scales", n_jobs=2):
            assert score_cohort(model, stack, tmp_path).failures == {}
        assert len(weights) == 4
        assert max(weights) < 10_000 < stack[:8].X.nbytes

    def test_a_fold_of_a_lazy_stack(self, stack):
        train, _ = next(FOLDS.split(stack, groups=stack.groups))
        fold = IntensityNormalizer().fit_transform(stack)[train]
        assert len(cloudpickle.dumps(fold)) < 20_000 < len(cloudpickle.dumps(fold.X))
        again = cloudpickle.loads(cloudpickle.dumps(fold))
        np.testing.assert_array_equal(again.X, fold.X)
