"""
From NIfTI files to a ROC curve
===============================

The whole way on files: a folder of patients in the layout of BraTS is read, a detector is
trained on some patients and tested on the others, and its maps are written as NIfTI files
on the patients' own grids. The files are made here, of the phantom; with your own, begin at
"Read".
"""

# %%
# Make files
# ----------
#
# One folder per patient with a file for each contrast, ``<any>_flair.nii.gz`` and so on,
# and ``<any>_seg.nii.gz``, whose labels above 0 are the lesion. Scans are skull-stripped:
# outside the brain every contrast is exactly 0.

import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

from skadm.data import make_phantom

place = tempfile.TemporaryDirectory()  # gone when the script ends
scans = Path(place.name) / "scans"
affine = np.diag([-2.0, -2.0, 3.0, 1.0])  # voxels of 2 × 2 × 3 mm

phantom = make_phantom(6, n_slices=16, size=64, lesion_fraction=1, random_state=0)
for volume in phantom.volumes:
    images, labels = volume.read()  # (n_slices, n_contrasts, H, W) and (n_slices, H, W)
    files = dict(zip(volume.contrasts, images.swapaxes(0, 1)))
    files["seg"] = (labels == 1).astype(np.uint8)
    folder = scans / volume.name
    folder.mkdir(parents=True)
    for name, voxels in files.items():
        path = folder / f"{volume.name}_{name.lower()}.nii.gz"
        nib.save(nib.Nifti1Image(voxels.T, affine), path)

for path in sorted(scans.glob("*/*"))[:5]:
    print(path.relative_to(scans))

# %%
# Read
# ----
#
# Headers and masks are checked now; voxels are decoded when they are needed. Contrasts on
# different grids, a missing file or a damaged header are errors that name the file.

from skadm.data import read_brats

stack = read_brats(scans)
stack

# %%
# Intensities become z-scores over the brain of each volume and contrast, slices get one
# size. Both are transformers: they can stand in a `Pipeline`, and their parameters in a
# grid.

from sklearn.pipeline import make_pipeline

from skadm.preprocessing import IntensityNormalizer, SliceResizer

prepare = make_pipeline(IntensityNormalizer(), SliceResizer(48))
prepared = prepare.fit_transform(stack).in_memory()

# %%
# Train
# -----
#
# Patients are split, never slices: two slices of one brain are alike. A detector trains on
# the normal slices of its patients, whatever else it is given.

from skadm import DAEDetector, IntensityDetector
from skadm.evaluation import evaluate_split, format_table, patient_split

train, test = patient_split(prepared.groups, test_fraction=1 / 3, random_state=0)
detectors = {
    "DAE": DAEDetector(width=8, max_epochs=40, learning_rate=5e-3, random_state=0),
    "FLAIR + T2, smoothed": IntensityDetector(prior={"FLAIR": 1, "T2": 1}, sigma=1),
}

# %%
# Test
# ----
#
# One call trains each detector, sets its threshold on the abnormal slices of the training
# patients, and measures all slices of the others.

found = evaluate_split(detectors, prepared, prepared.y, train=train, test=test, seed=0)
print(format_table(found.rows))

# %%
from skadm.plotting import plot_montage, plot_roc

y = prepared[test].y
figure = plot_roc({name: (y, maps) for name, maps in found.maps.items()})

# %%
figure = plot_montage(prepared[test], y, found.maps)

# %%
# Write
# -----
#
# Resizing is undone, so that a map lies on the grid and affine of the patient's own files
# and opens over them in any viewer. Scores mean normality; a viewer wants the anomaly
# bright.

from skadm.data import write_maps
from skadm.metrics import anomaly_map

anomaly = anomaly_map(found.maps["DAE"])
written = write_maps(anomaly, prepared[test], scans.parent / "maps", suffix="_anomaly")
for path in written:
    image = nib.load(path)
    print(path.name, image.shape, "same affine:", np.allclose(image.affine, affine))

# %%
# The same on the command line:
#
# .. code-block:: console
#
#    $ skadm demo --data scans --out results
