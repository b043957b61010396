"""How often files are decoded, headers opened, and the brain looked for."""

import pickle
import sys
import threading
from collections import Counter

import nibabel as nib
import numpy as np
import pytest
import sklearn
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline

from skadm import (
    EnsembleDetector,
    FlipAveragedDetector,
    IntensityDetector,
    PCADetector,
    PostprocessedDetector,
)
from skadm._brain import brain_mask
from skadm.cli._data import lesions_outside_brain
from skadm.cohort import score_cohort
from skadm.data import NiftiVolume, _image_files, make_phantom, read_brats, write_maps
from skadm.data._recent import RecentArrays
from skadm.detectors import DAEDetector
from skadm.postprocessing import GaussianSmoother
from skadm.preprocessing import BrainCropper, IntensityNormalizer, SliceResizer

N_PATIENTS, N_CONTRASTS = 4, 4


@pytest.fixture
def folder(tmp_path):
    """Files of four patients, each with a lesion."""
    phantom = make_phantom(
        N_PATIENTS, n_slices=6, size=32, lesion_fraction=1.0, random_state=0
    )
    for volume in phantom.volumes:
        place = tmp_path / "scans" / volume.name
        place.mkdir(parents=True)
        images, labels = volume.read()
        files = dict(zip(volume.contrasts, images.swapaxes(0, 1)))
        files["seg"] = (labels == 1).astype(np.uint8)
        for name, voxels in files.items():
            image = nib.Nifti1Image(voxels.T, volume.affine)
            nib.save(image, place / f"{volume.name}_{name.lower()}.nii.gz")
    return tmp_path / "scans"


class Counts:
    """Counts calls by their code, so that it does not matter who imported a function."""

    def __enter__(self):
        self.brains, self.headers, self.decoded = 0, 0, Counter()
        sys.setprofile(self._look)
        return self

    def __exit__(self, *error):
        sys.setprofile(None)

    def _look(self, frame, event, argument):
        if event != "call":
            return
        if frame.f_code is brain_mask.__code__:
            self.brains += 1
        elif frame.f_code is _image_files._open.__code__:
            self.headers += 1
        elif frame.f_code is _image_files.read_slices.__code__:
            self.decoded[frame.f_locals["path"].name] += 1

    @property
    def images(self):
        return sum(n for name, n in self.decoded.items() if "_seg" not in name)

    @property
    def masks(self):
        return sum(n for name, n in self.decoded.items() if "_seg" in name)


def prepared(folder, **options):
    stack = read_brats(folder, **options)
    steps = make_pipeline(IntensityNormalizer(), BrainCropper(margin=0), SliceResizer(24))
    return steps.fit_transform(stack)


def pca(**parameters):
    return PCADetector(max_samples=300, random_state=0, **parameters)


DETECTORS = {
    "PCA": pca(),
    "intensity": IntensityDetector(sigma=1.0),
    "network": DAEDetector(width=4, n_levels=2, max_epochs=1, random_state=0),
    "flips": FlipAveragedDetector(pca()),
    "filtered flips": PostprocessedDetector(
        FlipAveragedDetector(pca()), GaussianSmoother(1.0, sigma_through=1.0)
    ),
    "ensemble": EnsembleDetector(pca(), n_detectors=2, random_state=0),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the seed has almost no effect")
@pytest.mark.parametrize("name", DETECTORS)
def test_every_file_is_decoded_once_and_the_brain_found_at_most_twice(
    folder, tmp_path, name
):
    with Counts() as fit:
        stack = prepared(folder)
        detector = DETECTORS[name].fit(stack, stack.y)
    assert set(fit.decoded.values()) == {1}
    assert (fit.images, fit.masks) == (N_PATIENTS * N_CONTRASTS, N_PATIENTS)
    # One to check the grids, one to decode.
    assert fit.headers == 2 * N_PATIENTS * (N_CONTRASTS + 1)

    with Counts() as score:
        stack = prepared(folder, patients=["phantom-001"])
        write_maps(detector.score_samples(stack), stack, tmp_path / "maps")
    assert score.brains <= 2
    assert (score.images, score.masks) == (N_CONTRASTS, 1)
    assert score.headers == 2 * (N_CONTRASTS + 1)

    with Counts() as cohort:
        stack = prepared(folder, patients=["phantom-001"])
        score_cohort(detector, stack, tmp_path, kinds=("anomaly", "segmentation"))
    assert cohort.brains <= 2
    assert (cohort.images, cohort.masks) == (N_CONTRASTS, 1)
    here, there = tmp_path / "maps", tmp_path
    np.testing.assert_allclose(
        -nib.load(here / "phantom-001_score.nii.gz").get_fdata(),
        nib.load(there / "phantom-001_anomaly.nii.gz").get_fdata()
        * (nib.load(here / "phantom-001_score.nii.gz").get_fdata() != 0),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.slow
def test_a_search_over_a_lazy_stack_decodes_every_file_once(folder):
    with Counts() as counts:
        stack = read_brats(folder)
        search = GridSearchCV(
            make_pipeline(IntensityNormalizer(), pca()),
            {"pcadetector__neighbourhood": [1, 3]},
            cv=GroupKFold(2),
            error_score="raise",
        )
        search.fit(stack, stack.y, groups=stack.groups)
    assert set(counts.decoded.values()) == {1}
    assert (counts.images, counts.masks) == (N_PATIENTS * N_CONTRASTS, N_PATIENTS)


@pytest.mark.slow
def test_looking_for_lesions_outside_the_brain_reads_no_more_than_the_stack(folder):
    with Counts() as counts:
        lesions_outside_brain(read_brats(folder))
    assert set(counts.decoded.values()) == {1}
    assert counts.brains == N_PATIENTS


@pytest.mark.slow
def test_labels_that_are_left_out_are_not_decoded(folder):
    stack = read_brats(folder)
    stack = pickle.loads(pickle.dumps(stack))
    with Counts() as counts:
        stack.without_labels().load()
        np.asarray(stack)
        pca().fit(stack[::2].without_labels())
    assert (counts.images, counts.masks) == (N_PATIENTS * N_CONTRASTS, 0)


# -- what is kept ------------------------------------------------------------------------


def decoded_again(stack):
    with Counts() as counts:
        stack.load()
    return counts.images


@pytest.mark.slow
def test_a_pickle_and_a_stack_that_is_gone_keep_nothing(folder):
    stack = read_brats(folder)
    size = len(pickle.dumps(stack))
    assert decoded_again(stack) == 16
    assert decoded_again(stack[::3].without_labels()) == 0
    assert decoded_again(IntensityNormalizer().fit_transform(stack)) == 0
    assert len(pickle.dumps(stack)) == size
    assert decoded_again(pickle.loads(pickle.dumps(stack))) == 16
    assert decoded_again(stack) == 0
    stack.volumes[1].source.release()
    assert decoded_again(stack) == 4
    assert decoded_again(read_brats(folder)) == 16  # other volumes of the same files


@pytest.mark.slow
def test_a_file_that_has_changed_is_decoded_again(folder):
    stack = read_brats(folder, patients=["phantom-000"])
    before = stack.X
    path = stack.volumes[0].source.paths[0]
    image = nib.load(path)
    voxels = np.asarray(image.dataobj)
    nib.save(nib.Nifti1Image(2 * voxels, image.affine), path)
    np.testing.assert_array_equal(stack.X[:, 0], 2 * before[:, 0])
    np.testing.assert_array_equal(stack.X[:, 1:], before[:, 1:])
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"phantom-000_t1\.nii\.gz: no such file"):
        stack.load()


def test_voxels_in_a_second_file_are_never_kept(tmp_path):
    voxels = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    file = tmp_path / "t1.hdr"
    nib.save(nib.Nifti1Pair(voxels, np.eye(4)), file)
    header = file.read_bytes()
    volume = NiftiVolume({"T1": file}, patient="P1")
    first = volume.read()[0]
    nib.save(nib.Nifti1Pair(3 * voxels, np.eye(4)), file)
    assert file.read_bytes() == header
    np.testing.assert_array_equal(volume.read()[0], 3 * first)


@pytest.mark.slow
def test_memory_is_bounded(folder):
    stack = read_brats(folder)
    volume_mib = stack[:6].X.nbytes * 1.1 / 2**20
    with sklearn.config_context(working_memory=2.5 * volume_mib):
        stack.load()
        # The last two are there, the first two are not.
        assert decoded_again(stack[12:]) == 0
        assert decoded_again(stack[:12]) == 8
        assert decoded_again(stack[:12]) == 0
    with sklearn.config_context(working_memory=0.5 * volume_mib):
        assert decoded_again(stack[:6]) == 0  # kept before
        assert decoded_again(stack[12:18]) == 4
        assert decoded_again(stack[12:18]) == 4


class Owner:
    pass


def test_threads_wait_for_the_one_that_decodes(tmp_path):
    path = tmp_path / "a.nii"
    path.write_bytes(b"voxels")
    kept, owner, started = RecentArrays(1.0), Owner(), threading.Barrier(5)
    n_decoded, results = [], []

    def decode():
        n_decoded.append(1)
        threading.Event().wait(0.05)
        return (np.arange(5.0),)

    def ask():
        started.wait()
        results.append(kept.get(owner, [path], decode)[0])

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(n_decoded) == 1
    assert all(result is results[0] for result in results)
    with pytest.raises(ValueError, match="read-only"):
        results[0][0] = 1


def test_what_failed_is_tried_again(tmp_path):
    path = tmp_path / "a.nii"
    path.write_bytes(b"voxels")
    kept, owner = RecentArrays(1.0), Owner()

    def fail():
        raise ValueError("damaged")

    for _ in range(2):
        with pytest.raises(ValueError, match="damaged"):
            kept.get(owner, [path], fail)
    assert kept.get(owner, [path], lambda: (np.ones(1),))[0] == 1
