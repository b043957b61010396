"""
How sure is a map?
==================

A network starts from random weights and sees the slices in random order. Trained again with
another seed, it gives another map. ``EnsembleDetector`` trains a detector several times,
takes the mean of the maps, and tells where they disagree.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

from skadm import EnsembleDetector, EraserDetector
from skadm.data import make_phantom
from skadm.evaluation import patient_split
from skadm.metrics import anomaly_map, pixel_average_precision_score
from skadm.plotting import representative_slices
from skadm.preprocessing import IntensityNormalizer

stack = make_phantom(n_patients=6, n_slices=12, size=48, random_state=0)
stack = IntensityNormalizer().fit_transform(stack).in_memory()
train, test = patient_split(stack.groups, random_state=0)
X, y = stack[test], stack[test].y

# %%
# Mean of several trainings
# -------------------------
#
# Any detector with a ``random_state`` will do, also one within a ``PostprocessedDetector``.

member = EraserDetector(width=8, max_epochs=6, learning_rate=5e-3)
ensemble = EnsembleDetector(member, n_detectors=3, random_state=0)
ensemble.fit(stack[train], stack[train].y)

alone = [
    pixel_average_precision_score(y, each.score_samples(X)) for each in ensemble.detectors_
]
print("AP of each:", ", ".join(f"{each:.3f}" for each in alone))
scores = ensemble.score_samples(X)
print(f"AP of their mean: {pixel_average_precision_score(y, scores):.3f}")

# %%
# Where they disagree
# -------------------
#
# Each member's scores are measured in standard deviations of its training pixels, so that
# they can be compared. Their spread is the uncertainty that chance in the training causes.
# It does not hold what all members have in common: the same few patients, the same blind
# spots.

uncertainty = ensemble.uncertainty(X)
anomaly, brain = anomaly_map(scores), y >= 0
columns = {"FLAIR": X.X[:, X.contrasts.index("FLAIR")]}
columns |= {"anomaly": anomaly, "uncertainty": uncertainty}
shown = representative_slices(y, X.groups, n_slices=3)
figure, axes = plt.subplots(len(shown), len(columns), figsize=(7, 7), layout="constrained")
for row, number in zip(axes, shown):
    for axis, (name, maps) in zip(row, columns.items()):
        low, high = np.quantile(maps[brain], [0.01, 0.99])
        shades = "gray" if name == "FLAIR" else "inferno"
        masked = np.where(brain[number], maps[number], np.nan)
        image = axis.imshow(masked, shades, vmin=low, vmax=high)
        axis.contour(y[number] == 1, [0.5], colors="cyan", linewidths=1)
        axis.set_axis_off()
        if number == shown[0]:
            axis.set_title(name)
        if number == shown[-1]:
            figure.colorbar(image, ax=axes[:, list(columns).index(name)], location="bottom")

# %%
# Disagreement grows with the score, so that it is no measure of error by itself. Whether it
# is larger where the detector is wrong than in lesions of the same score, own data have to
# tell.

high = brain & (anomaly > np.quantile(anomaly[brain], 0.98))
for label, name in ((1, "lesions"), (0, "normal pixels")):
    own = uncertainty[high & (y == label)]
    print(
        f"median uncertainty of {name} among the 2 % most anomalous: {np.median(own):.2f}"
    )
