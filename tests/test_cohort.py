"""Maps of many volumes: what is written, skipped and reported, and what it takes."""

import tracemalloc

import nibabel as nib
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

import skadm
from skadm import IntensityDetector, SliceDetector
from skadm.cohort import score_cohort, write_scores
from skadm.data import ArrayVolume, SliceStack, make_phantom, read_table, write_maps
from skadm.preprocessing import IntensityNormalizer, SliceResizer

CONTRASTS = ("FLAIR", "T2")


def write_files(folder, n_patients=3, size=24):
    """Write a phantom as NIfTI files with a table of them, and read it back lazily."""
    stack = make_phantom(n_patients, 5, size, contrasts=CONTRASTS, random_state=0)
    X, y = stack.load()
    for number, contrast in enumerate(CONTRASTS):
        write_maps(X[:, number], stack, folder, suffix=f"_{contrast}")
    write_maps(y == 1, stack, folder, suffix="_mask")
    columns = [*CONTRASTS, "mask"]
    lines = [",".join(["patient", *columns])]
    for volume in stack.volumes:
        files = [f"{volume.name}_{column}.nii.gz" for column in columns]
        lines.append(",".join([volume.name, *files]))
    (folder / "files.csv").write_text("\n".join(lines) + "\n")
    return read_table(folder / "files.csv", allow_empty_masks=True)


def fitted(stack, *steps, **parameters):
    parameters = {"prior": {"FLAIR": 1, "T2": 1}} | parameters
    return make_pipeline(*steps, IntensityDetector(**parameters)).fit(stack, stack.y)


@pytest.fixture
def stack(tmp_path):
    return write_files(tmp_path / "scans")


@pytest.fixture
def model(stack):
    return fitted(stack, IntensityNormalizer())


def voxels(path):
    return np.asarray(nib.load(path).dataobj).T


def test_maps_are_those_of_the_model(model, stack, tmp_path):
    out = tmp_path / "new" / "maps"
    found = score_cohort(model, stack, out, kinds=("anomaly", "segmentation"))
    assert (found.skipped, found.failures) == ([], {})
    assert sorted(found.files) == sorted(out.iterdir())
    scores, brain = model.score_samples(stack), (stack.X != 0).any(axis=1)
    for name in ("phantom-000", "phantom-001", "phantom-002"):
        mine = stack.volume_ids == name
        anomaly = voxels(out / f"{name}_anomaly.nii.gz")
        segmented = voxels(out / f"{name}_segmentation.nii.gz")
        np.testing.assert_allclose(
            anomaly[brain[mine]], -scores[mine][brain[mine]], rtol=1e-6
        )
        assert (anomaly[~brain[mine]] == np.float32(-model[-1].background_score_)).all()
        np.testing.assert_array_equal(segmented == 1, model.predict(stack)[mine] == -1)


@pytest.mark.slow
def test_detector_without_preprocessing(stack, tmp_path):
    detector = fitted(stack)[-1]
    score_cohort(detector, stack[:5], tmp_path / "a")
    write_scores(detector.score_samples(stack[:5]), stack[:5], tmp_path / "b", detector)
    name = "phantom-000_anomaly.nii.gz"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.slow
def test_only_slices_of_the_stack(model, stack, tmp_path):
    (file,) = score_cohort(model, stack[1:3], tmp_path / "maps").files
    anomaly = voxels(file)
    background = np.float32(-model[-1].background_score_)
    assert [np.any(plane != background) for plane in anomaly] == [0, 1, 1, 0, 0]


def test_volumes_of_several_sizes(tmp_path):
    small, large = (
        make_phantom(1, 4, size, contrasts=CONTRASTS, random_state=0).volumes[0].read()[0]
        for size in (24, 32)
    )
    volumes = [
        ArrayVolume(images, patient=name, contrasts=CONTRASTS)
        for name, images in (("small", small), ("large", large))
    ]
    stack = SliceStack.from_volumes(volumes)
    model = fitted(SliceStack.from_volumes(volumes[:1]), SliceResizer(16))
    files = score_cohort(model, stack, tmp_path / "maps").files
    assert [nib.load(file).shape for file in files] == [(24, 24, 4), (32, 32, 4)]


@pytest.mark.slow
def test_a_failure_does_not_stop_the_others(model, stack, tmp_path):
    damaged = stack.volumes[1].source.paths[0]
    damaged.write_bytes(damaged.read_bytes()[:-40])
    started = []
    found = score_cohort(
        model, stack, tmp_path / "maps", on_start=lambda *told: started.append(told)
    )
    names = ("phantom-000", "phantom-001", "phantom-002")
    assert started == [(name, number, 3) for number, name in enumerate(names, start=1)]
    assert list(found.failures) == ["phantom-001"]
    assert damaged.name in found.failures["phantom-001"]
    written = [file.name for file in found.files]
    assert written == ["phantom-000_anomaly.nii.gz", "phantom-002_anomaly.nii.gz"]
    assert sorted(file.name for file in (tmp_path / "maps").iterdir()) == written


class TestExisting:
    """Files that are there already."""

    @pytest.mark.slow
    def test_raise(self, model, stack, tmp_path):
        score_cohort(model, stack[5:10], tmp_path)
        (tmp_path / "phantom-001_anomaly.nii.gz").write_text("mine")
        with pytest.raises(FileExistsError, match=r"phantom-001_anomaly\.nii\.gz exists"):
            score_cohort(model, stack, tmp_path, on_start=lambda *_: pytest.fail("begun"))
        assert (tmp_path / "phantom-001_anomaly.nii.gz").read_text() == "mine"

    @pytest.mark.slow
    def test_skip(self, model, stack, tmp_path):
        out = tmp_path / "maps"
        out.mkdir()
        (out / "phantom-000_anomaly.nii.gz").write_text("mine")
        (out / "phantom-000_segmentation.nii.gz").write_text("mine")
        (out / "phantom-001_anomaly.nii.gz").write_text("mine")
        kinds, started = ("anomaly", "segmentation"), []
        found = score_cohort(
            model,
            stack,
            out,
            kinds=kinds,
            existing="skip",
            on_start=lambda *told: started.append(told),
        )
        assert found.skipped == ["phantom-000"]
        assert started == [("phantom-001", 1, 2), ("phantom-002", 2, 2)]
        assert [file.name for file in found.files] == [
            "phantom-001_segmentation.nii.gz",
            "phantom-002_anomaly.nii.gz",
            "phantom-002_segmentation.nii.gz",
        ]
        assert (out / "phantom-001_anomaly.nii.gz").read_text() == "mine"
        again = score_cohort(model, stack, out, kinds=kinds, existing="skip")
        assert (len(again.skipped), again.files) == (3, [])

    @pytest.mark.slow
    def test_a_rerun_scores_what_failed(self, model, stack, tmp_path):
        path = stack.volumes[2].source.paths[0]
        whole = path.read_bytes()
        path.write_bytes(whole[:-40])
        assert "phantom-002" in score_cohort(model, stack, tmp_path / "maps").failures
        path.write_bytes(whole)
        found = score_cohort(model, stack, tmp_path / "maps", existing="skip")
        assert [file.name for file in found.files] == ["phantom-002_anomaly.nii.gz"]
        assert found.failures == {}

    @pytest.mark.slow
    def test_replace(self, model, stack, tmp_path):
        file = tmp_path / "phantom-000_anomaly.nii.gz"
        file.write_text("old")
        assert file in score_cohort(model, stack, tmp_path, existing="replace").files
        assert voxels(file).shape == (5, 24, 24)


@pytest.mark.slow
def test_model_of_a_file(model, stack, tmp_path, monkeypatch):
    """It is read once; a file that has changed is another model."""
    path = tmp_path / "model.skadm"
    loads, load = [], skadm.load
    monkeypatch.setattr("skadm.cohort.load", lambda file: loads.append(file) or load(file))
    for number, sigma in enumerate((0, 2), start=1):
        changed = fitted(stack, IntensityNormalizer(), sigma=sigma)
        skadm.save(changed, path, force=True)
        files = score_cohort(path, stack, tmp_path / "maps", existing="replace").files
        assert len(loads) == number
        expected = score_cohort(changed, stack, tmp_path / f"expected_{sigma}").files
        assert [file.read_bytes() for file in files] == [f.read_bytes() for f in expected]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_volumes(model, tmp_path):
    # Images large enough that a few kilobytes of bookkeeping for each volume do not count.
    stack = write_files(tmp_path / "many", 16, size=96)

    def peak(n_slices):
        tracemalloc.start()
        score_cohort(model, stack[:n_slices], tmp_path / f"maps_{n_slices}")
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(5)  # what the first call imports and keeps
    few, many = peak(10), peak(80)
    one_volume = stack[:5].X.nbytes
    assert many < few + one_volume


class TestRefusals:
    """All of them before any work."""

    @pytest.fixture(autouse=True)
    def no_work(self, monkeypatch):
        monkeypatch.setattr("skadm.cohort._score_volume", pytest.fail)

    @pytest.mark.slow
    def test_not_fitted(self, stack, tmp_path):
        with pytest.raises(NotFittedError):
            score_cohort(IntensityDetector(), stack, tmp_path)

    @pytest.mark.slow
    def test_not_a_detector_of_pixels(self, stack, tmp_path):
        with pytest.raises(ValueError, match="SliceDetector; expected a pixel detector"):
            score_cohort(SliceDetector(IntensityDetector()), stack, tmp_path)

    @pytest.mark.slow
    def test_no_such_model(self, stack, tmp_path):
        with pytest.raises(FileNotFoundError, match="none.skadm"):
            score_cohort(tmp_path / "none.skadm", stack, tmp_path)

    def test_other_contrasts(self, model, tmp_path):
        other = make_phantom(1, 4, 24, contrasts=("T1", "T2"), random_state=0)
        with pytest.raises(ValueError, match=r"\('T1', 'T2'\); expected"):
            score_cohort(model, other, tmp_path)

    @pytest.mark.parametrize("kinds", ["anomaly", (), ("anomaly", "score")])
    def test_kinds(self, model, stack, tmp_path, kinds):
        with pytest.raises(ValueError, match="expected a sequence of names out of"):
            score_cohort(model, stack, tmp_path, kinds=kinds)

    @pytest.mark.slow
    def test_existing(self, model, stack, tmp_path):
        with pytest.raises(ValueError, match="existing is 'keep'; expected one of"):
            score_cohort(model, stack, tmp_path, existing="keep")
