"""Scans, models and reports that the tests of reports share."""

import base64
import io

import nibabel as nib
import numpy as np
import pytest
from sklearn.pipeline import Pipeline, make_pipeline

import skadm
from skadm import ADMDetector, IntensityDetector
from skadm.cli import main
from skadm.data import make_phantom
from skadm.preprocessing import IntensityNormalizer, SliceResizer
from skadm.report import examine

pytest.importorskip("jinja2")
Image = pytest.importorskip("PIL.Image")


NASTY = "<img src=x onerror=alert(1)>&\"'"


@pytest.fixture(scope="module")
def stack():
    return make_phantom(3, 8, 32, lesion_fraction=1.0, random_state=0)


def fitted(stack, size, detector):
    """Preprocessing and a detector, as 'skadm fit' makes them."""
    steps = make_pipeline(IntensityNormalizer(), SliceResizer(size)).fit(stack)
    prepared = steps.transform(stack)
    return Pipeline([*steps.steps, ("detector", detector.fit(prepared, prepared.y))])


@pytest.fixture(scope="module")
def model(stack):
    """Intensity, which finds something whatever the training."""
    detector = IntensityDetector(prior={"FLAIR": 1, "T2": 1}, contamination=0.02)
    return fitted(stack, 24, detector)


@pytest.fixture(scope="module")
def adm(stack):
    detector = ADMDetector(width=2, n_blocks=0, max_epochs=1, device="cpu", random_state=0)
    return fitted(stack, 16, detector)


@pytest.fixture(scope="module")
def report(stack, model):
    return examine(stack.volumes[0], model)


def write_table(folder, stack, name="patients.csv", names=None):
    """Write volumes as files, and a table of them."""
    folder.mkdir(exist_ok=True)
    lines = [",".join(["patient", *stack.contrasts, "mask"])]
    for number, volume in enumerate(stack.volumes):
        images, labels = volume.read()
        channels = dict(zip(stack.contrasts, images.swapaxes(0, 1)))
        channels["mask"] = (labels == 1).astype(np.float32)
        files = []
        for channel, voxels in channels.items():
            file = f"{volume.name}-{channel}.nii"
            nib.save(nib.Nifti1Image(voxels.T, volume.grid.affine), folder / file)
            files.append(file)
        patient = volume.name if names is None else names[number]
        quoted = '"' + patient.replace('"', '""') + '"'
        lines.append(",".join([quoted, *files]))
    table = folder / name
    table.write_text("\n".join(lines) + "\n")
    return table


@pytest.fixture(scope="module")
def scans(stack, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    return write_table(folder, stack, names=[NASTY.replace("/", ""), "second", "third"])


@pytest.fixture(scope="module")
def model_file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.skadm"
    model.training_ = {"patients": ["third"], "seed": 0}
    skadm.save(model, path)
    return path


@pytest.fixture(scope="module")
def written(scans, model_file, tmp_path_factory):
    """What the command writes of two patients, with a third to compare with."""
    place = tmp_path_factory.mktemp("report")
    normal = make_phantom(2, 8, 32, lesion_fraction=1.0, random_state=5)
    controls = write_table(place / "controls", normal)
    out = place / "deep" / "out"
    arguments = ["--model", model_file, "--data", scans, "--out", out]
    arguments += ["--normal", controls, "--patients", NASTY, "second"]
    before = set(place.rglob("*"))
    assert main(["report", *map(str, arguments)]) == 0
    new = {path for path in place.rglob("*") if path.is_file()} - before
    assert new == {
        out / "index.html",
        out / "regions.csv",
        out / "patients" / f"{NASTY}.html",
        out / "patients" / "second.html",
    }
    return out


def decoded(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))
