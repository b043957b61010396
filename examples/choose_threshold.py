"""
Choose a threshold
==================

A score becomes a segmentation by a threshold, ``offset_``. There are four ways to set it,
which differ in what they need and in what they promise.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

from skadm import ConformalDetector, GaussianMixtureDetector
from skadm.data import make_phantom
from skadm.evaluation import patient_split
from skadm.metrics import anomaly_map, pixel_scores_at_threshold
from skadm.model_selection import set_offset_by_f1
from skadm.preprocessing import IntensityNormalizer

stack = make_phantom(n_patients=12, n_slices=16, size=64, random_state=0)
stack = IntensityNormalizer().fit_transform(stack).in_memory()
train, test = patient_split(stack.groups, random_state=0)
X, y = stack[test], stack[test].y

# %%
# A share of the training pixels
# ------------------------------
#
# ``contamination`` is the share of the (normal) training pixels that is called anomalous.
# It needs no label, and promises nothing about other patients.

detector = GaussianMixtureDetector(contamination=0.01, max_samples=20_000, random_state=0)
detector.fit(stack[train], stack[train].y)
thresholds = {"1 % of the training pixels": detector.offset_}
scores = detector.score_samples(X)

# %%
# Best F1 on labelled slices
# --------------------------
#
# As in the paper: on the abnormal slices of the training patients. It needs masks, and
# carries over to patients in whom lesions are as large and as unusual as in these.

abnormal = train & (stack.y == 1).any(axis=(1, 2))
set_offset_by_f1(detector, stack[abnormal], stack[abnormal].y)
thresholds["best F1 on validation"] = detector.offset_

# %%
# A false positive rate that is held
# ----------------------------------
#
# ``ConformalDetector`` keeps half of the patients to calibrate on. Of the normal pixels of
# a new patient at most the share ``contamination`` is flagged, on average over patients,
# whatever the detector is. It needs no mask of a lesion, but patients: with K of them for
# calibration no rate below 1 / (K + 1) can be held.

safe = ConformalDetector(detector, contamination=0.25, random_state=0)
safe.fit(stack[train], stack[train].y)
print(f"calibrated on {len(safe.calibration_groups_)} patients")
print(f"normal test pixels flagged: {(safe.predict(X) == -1)[y == 0].mean():.1%}")

# %%
# P-values say the same without a threshold: the share of normal pixels that are at least as
# unusual. A map of them means the same for every detector.

p_values = safe.p_values(X)
print(f"median p-value: normal {np.median(p_values[y == 0]):.2f}, ", end="")
print(f"lesion {np.median(p_values[y == 1]):.2f}")

# %%
# By hand
# -------
#
# ``offset_`` is a number on the scale of ``score_samples``, and can be set to anything;
# ``predict`` calls −1 what lies below it. (That of ``safe`` is on a scale of its own: it
# was trained on fewer patients.)

thresholds["by hand"] = -10.0
rows = {
    name: pixel_scores_at_threshold(y, scores, offset)
    for name, offset in thresholds.items()
}
rows["25 % false positives"] = pixel_scores_at_threshold(
    y, safe.score_samples(X), safe.offset_
)
for name, row in rows.items():
    print(f"{name:26} precision {row['precision']:.3f}, recall {row['recall']:.3f}")

# %%
anomaly = anomaly_map(scores)
figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
bins = np.linspace(0, np.quantile(anomaly[y >= 0], 0.999), 80)
for label, name in ((0, "normal"), (1, "lesion")):
    axes.hist(anomaly[y == label], bins, density=True, histtype="step", label=name)
for number, (name, offset) in enumerate(thresholds.items()):
    axes.axvline(-offset, color=f"C{2 + number}", linestyle="--", label=name)
axes.set(xlabel="anomaly", ylabel="density", yscale="log")
legend = axes.legend()
