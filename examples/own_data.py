"""
Your own data
=============

Scans in a layout of their own are read through a table, and what is wrong with them is said
before anything is computed.
"""

# %%
# What scans must be
# ------------------
#
# - All contrasts of a patient on one grid (co-registered and resampled), as NIfTI.
# - Skull-stripped, with every contrast exactly 0 outside the brain: a pixel whose contrasts
#   are all 0 is background, and no other is.
# - The same contrasts for all patients.
# - For training, slices that are known to be normal: healthy controls, or patients with
#   masks.
#
# Some files to begin with, named as a scanner might name them:

import csv
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

from skadm.data import make_phantom

place = tempfile.TemporaryDirectory()
folder = Path(place.name)
stack = make_phantom(3, 8, 32, contrasts=("T1", "FLAIR"), random_state=0)
rows = []
for number, volume in enumerate(stack.volumes):
    images, labels = volume.read()
    row = {"patient": f"case-{number}"}
    files = {**dict(zip(volume.contrasts, images.swapaxes(0, 1))), "mask": labels == 1}
    for name, voxels in files.items():
        row[name] = f"{number:03d}_{name}_ax.nii.gz"
        image = nib.Nifti1Image(voxels.T.astype(np.float32), np.diag([2, 2, 4, 1]))
        nib.save(image, folder / row[name])
    rows.append(row)

# %%
# A table
# -------
#
# A column ``patient``, one for each contrast with the path of its file, absolute or
# relative to the table, and ``mask`` where there are masks. Several scans of one patient
# are told apart by a column ``volume``.

table = folder / "scans.csv"
with table.open("w", newline="") as file:
    writer = csv.DictWriter(file, ["patient", "T1", "FLAIR", "mask"])
    writer.writeheader()
    writer.writerows(rows)
print(table.read_text())

# %%
# Phantom patients without a lesion have an empty mask, which is refused unless they are
# said to be healthy: an empty mask is, more often than not, a mistake.

from skadm.data import read_table

stack = read_table(table, allow_empty_masks=True)
stack

# %%
# What is wrong is said
# ---------------------
#
# A contrast on another grid:

shifted = folder / rows[1]["FLAIR"]
image = nib.load(shifted)
moved = image.affine.copy()
moved[:3, 3] += 5
nib.save(nib.Nifti1Image(np.asarray(image.dataobj), moved), shifted)
try:
    read_table(table, allow_empty_masks=True)
except ValueError as error:
    print(str(error).replace(str(folder), "."))

# %%
# Voxels are only decoded when they are needed. Before a long run, decode everything once:
# ``verify`` names every volume that cannot be read.

nib.save(image, shifted)
damaged = folder / rows[2]["T1"]
damaged.write_bytes(damaged.read_bytes()[:-2000])
stack = read_table(table, allow_empty_masks=True)
try:
    stack.verify()
except ValueError as error:
    print(str(error).replace(str(folder), "."))

# %%
# The patients that are well can be used meanwhile:

stack = read_table(table, patients=["case-0", "case-1"], allow_empty_masks=True)
stack.verify()
stack

# %%
# A look at them, with the outlines of the masks:

from skadm.plotting import plot_montage

figure = plot_montage(stack, contrasts=["T1", "FLAIR"])

# %%
# From here on all goes as in :ref:`sphx_glr_auto_examples_nifti_to_roc.py`. Arrays that are
# in memory already need no stack at all: every detector takes an array of shape (n_slices,
# n_contrasts, H, W), and ``ArrayVolume`` makes a stack of arrays.
